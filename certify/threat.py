"""Threat models: frozen values that say what an adversary may do to an input, in input units."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

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
class Budgeted(Threat):
    """Base of threats with one budget ``eps``, where a larger budget reaches every input of a smaller one.

    unit: what eps counts. norm: whose balls these are, None where it is no norm.
    """

    eps: float

    unit: ClassVar[str] = "input units"
    norm: ClassVar[float | None] = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise UsageError(f"eps is {self.eps}; give a finite number >= 0 in {self.unit}")

    def at(self, eps: float) -> Self:
        return replace(self, eps=eps)


@dataclass(frozen=True)
class _Lp(Budgeted):
    """A ball of radius ``eps`` in input units; raises ``UsageError`` for eps < 0, NaN or Inf."""

    norm: ClassVar[float] = math.inf

    def around(self, x: Tensor, valid: tuple[float, float] | None = None) -> bounds.Ball:
        return bounds.Ball(x, self.eps, norm=self.norm, clip=valid)


@dataclass(frozen=True)
class Linf(_Lp):
    """Every element may change by at most ``eps``."""

    norm: ClassVar[float] = math.inf


@dataclass(frozen=True)
class L2(_Lp):
    """The Euclidean norm of the change is at most ``eps``."""

    norm: ClassVar[float] = 2


@dataclass(frozen=True)
class L1(_Lp):
    """The sum of absolute changes is at most ``eps``."""

    norm: ClassVar[float] = 1


@dataclass(frozen=True)
class _Counted(Budgeted):
    """Some part of the input may become anything valid; eps counts, so it is a whole number.

    Raises ``UsageError`` for another eps; ``around`` does for a model without an input range.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eps != int(self.eps):
            raise UsageError(f"eps is {self.eps}; {type(self).__name__} takes a whole number of {self.unit}")
        object.__setattr__(self, "eps", int(self.eps))  # 1 and 1.0 have one repr

    def _range(self, valid: tuple[float, float] | None) -> tuple[float, float]:
        if valid is None:
            raise UsageError(
                f"{self!r} lets inputs become anything valid, and the model has no input range; "
                "load it with input_range=(low, high)"
            )
        return valid


@dataclass(frozen=True)
class L0(_Counted):
    """At most ``eps`` elements may change, to any valid value."""

    unit: ClassVar[str] = "elements"
    norm: ClassVar[float] = 0

    def around(self, x: Tensor, valid: tuple[float, float] | None = None) -> bounds.L0Ball:
        return bounds.L0Ball(x, self._range(valid), int(self.eps))


@dataclass(frozen=True)
class Pixels(_Counted):
    """At most ``eps`` pixels may change, each in all its channels (the first axis), to any valid values."""

    unit: ClassVar[str] = "pixels"

    def around(self, x: Tensor, valid: tuple[float, float] | None = None) -> bounds.L0Ball:
        _check_image(self, x)
        return bounds.L0Ball(x, self._range(valid), int(self.eps), pixels=True)


@dataclass(frozen=True)
class Patch(_Counted):
    """A square of ``eps`` x ``eps`` pixels, anywhere in the image, may become anything valid.

    Where the image is smaller, the square is cut to it.
    """

    unit: ClassVar[str] = "pixels a side"

    def around(self, x: Tensor, valid: tuple[float, float] | None = None) -> bounds.InputSet:
        _check_image(self, x)
        clip, side = self._range(valid), int(self.eps)
        if side == 0:
            return bounds.L0Ball(x, clip, 0)
        return bounds.Patch(x, clip, (min(side, x.shape[-2]), min(side, x.shape[-1])))


def _check_image(threat: Threat, x: Tensor) -> None:
    if x.dim() < 3:
        raise UsageError(f"{threat!r} is about images, not inputs of shape {tuple(x.shape[1:])}; try L0")


THREATS: dict[str, type[Budgeted]] = {
    "linf": Linf,
    "l2": L2,
    "l1": L1,
    "l0": L0,
    "pixels": Pixels,
    "patch": Patch,
}


def named(threat: Threat) -> tuple[str, float]:
    """A threat's name in ``THREATS`` and its budget; raises ``UsageError`` for one that has none."""
    for name, kind in THREATS.items():
        if isinstance(threat, kind):
            return name, threat.eps
    raise UsageError(f"{threat!r} has no name and budget; known are {', '.join(THREATS)}")
