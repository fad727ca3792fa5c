"""Norm balls, and changes of a few elements or pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

import bounds
from certify.threat.base import Budgeted, Counted, check_image, finite_range


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
class L0(Counted):
    """At most ``eps`` elements may change, to any valid value."""

    unit: ClassVar[str] = "elements"
    norm: ClassVar[float] = 0

    def around(self, x: Tensor, valid: tuple[float, float] | None = None) -> bounds.L0Ball:
        return bounds.L0Ball(x, finite_range(self, valid), int(self.eps))


@dataclass(frozen=True)
class Pixels(Counted):
    """At most ``eps`` pixels may change, each in all its channels (the first axis), to any valid values."""

    unit: ClassVar[str] = "pixels"

    def around(self, x: Tensor, valid: tuple[float, float] | None = None) -> bounds.L0Ball:
        check_image(self, x)
        return bounds.L0Ball(x, finite_range(self, valid), int(self.eps), pixels=True)
