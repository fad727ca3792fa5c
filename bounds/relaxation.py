"""Two lines around a scalar function on an interval; the slopes are advice, the intercepts are proved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.kinds import Pointwise


@dataclass(frozen=True, eq=False)
class Lines:
    """``lower_slope z + lower_intercept <= f(z) <= upper_slope z + upper_intercept``, per element."""

    lower_slope: Tensor
    lower_intercept: Tensor
    upper_slope: Tensor
    upper_intercept: Tensor

    @cached_property
    def steeper(self) -> Tensor:
        """By how much the upper line is steeper."""
        return self.upper_slope - self.lower_slope

    @cached_property
    def higher(self) -> Tensor:
        """By how much the upper line is higher at zero."""
        return self.upper_intercept - self.lower_intercept

    @cached_property
    def lifted(self) -> bool:
        """Whether any lower line misses the origin."""
        return bool(self.lower_intercept.any())

    @cached_property
    def stacked(self) -> Tensor:
        """Lower slope, ``steeper``, ``higher`` and, if ``lifted``, the lower intercept, along axis 1."""
        lift = [self.lower_intercept] if self.lifted else []
        return torch.cat([self.lower_slope, self.steeper, self.higher, *lift], dim=1)

    def each(self, change: Callable[[Tensor], Tensor]) -> Lines:
        """With every tensor changed."""
        return Lines(*(change(getattr(self, f.name)) for f in fields(Lines)))

    def of(self, samples: Tensor) -> Lines:
        """The lines of some samples, which may repeat."""
        return self.each(lambda x: x[samples])

    @property
    def slope_magnitude(self) -> Tensor:
        """The larger absolute slope."""
        return torch.maximum(self.lower_slope.abs(), self.upper_slope.abs())

    @property
    def intercept_magnitude(self) -> Tensor:
        """The larger absolute intercept."""
        return torch.maximum(self.lower_intercept.abs(), self.upper_intercept.abs())


def lines(op: Pointwise, x: Interval, rounded: bool) -> Lines:
    """The operator's lines over an interval; with ``rounded`` the intercepts are rounded outward."""
    lower_slope, upper_slope = op.slopes(x)
    return Lines(
        lower_slope,
        op.intercept(x, lower_slope, +1, rounded),
        upper_slope,
        op.intercept(x, upper_slope, -1, rounded),
    )
