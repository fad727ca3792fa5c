"""Threat models: frozen values that say what an adversary may do to an input, in input units."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

import bounds
from certify.errors import UsageError


@dataclass(frozen=True)
class Threat(ABC):
    """Base of all threats. ``around(x, valid)`` is the set of inputs that the adversary may reach."""

    @abstractmethod
    def around(self, x: Tensor, valid: tuple[float, float] | None = None) -> bounds.InputSet:
        """The reachable set around each sample, intersected with the ``valid`` input range; batched."""

    @abstractmethod
    def at(self, eps: float) -> Threat:
        """The same threat with another budget."""


@dataclass(frozen=True)
class _Lp(Threat):
    """A ball of radius ``eps`` in input units; raises ``UsageError`` for eps < 0, NaN or Inf."""

    eps: float

    norm = math.inf

    def __post_init__(self) -> None:
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise UsageError(f"eps is {self.eps}; give a finite number >= 0 in input units")

    def around(self, x: Tensor, valid: tuple[float, float] | None = None) -> bounds.Ball:
        return bounds.Ball(x, self.eps, norm=self.norm, clip=valid)

    def at(self, eps: float) -> Threat:
        return type(self)(eps)


@dataclass(frozen=True)
class Linf(_Lp):
    """Every element may change by at most ``eps``."""

    norm = math.inf


@dataclass(frozen=True)
class L2(_Lp):
    """The Euclidean norm of the change is at most ``eps``."""

    norm = 2


@dataclass(frozen=True)
class L1(_Lp):
    """The sum of absolute changes is at most ``eps``."""

    norm = 1


THREATS: dict[str, type[_Lp]] = {"linf": Linf, "l2": L2, "l1": L1}
