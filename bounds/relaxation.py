"""Two lines around a scalar function on an interval; the slopes are advice, the intercepts are proved.

For any slope ``a`` whatsoever, ``f(z) >= a z + c`` on [l, u] with ``c = min (f(z) - a z)``. On a linear or
concave piece that minimum is at an end. On a convex piece the tangent of ``f(z) - a z`` at any point ``t``
lies below it, so that its own minimum over the piece is a valid (and at f'(t) = a an exact) value. Nothing
about ``a`` or ``t`` has to be trusted; only ``c`` is computed with care. The upper line is the lower line
of ``-f``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.kinds import Pointwise
from bounds.rounding import U64, down, up


@dataclass(frozen=True, eq=False)
class Lines:
    """``lower_slope z + lower_intercept <= f(z) <= upper_slope z + upper_intercept``, per element."""

    lower_slope: Tensor
    lower_intercept: Tensor
    upper_slope: Tensor
    upper_intercept: Tensor

    def of(self, samples: Tensor) -> Lines:
        """The lines of some samples, which may repeat."""
        return Lines(
            self.lower_slope[samples],
            self.lower_intercept[samples],
            self.upper_slope[samples],
            self.upper_intercept[samples],
        )

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
        intercept(op, x, lower_slope, +1, rounded),
        upper_slope,
        intercept(op, x, upper_slope, -1, rounded),
    )


def intercept(op: Pointwise, x: Interval, slope: Tensor, side: int, rounded: bool) -> Tensor:
    """The best intercept of a line of a given slope: below f for ``side`` = +1, above it for -1."""
    best = torch.full_like(slope, torch.inf)
    ends = (-torch.inf, *op.breaks, torch.inf)
    for piece, curvature in enumerate(op.curvature):
        low, high = x.lower.clamp(ends[piece], ends[piece + 1]), x.upper.clamp(ends[piece], ends[piece + 1])
        if curvature * side > 0:
            value = _tangent_minimum(op, slope, piece, side, low, high, rounded)
        else:
            value = torch.minimum(*(_gap(op, slope, z, side, rounded) for z in (low, high)))
        meets = (x.lower <= ends[piece + 1]) & (x.upper >= ends[piece])
        best = torch.minimum(best, torch.where(meets, value, torch.inf))
    return best * side


def image(op: Pointwise, x: Interval, rounded: bool) -> Interval:
    """The range of a nondecreasing function; rounded outward by its error where ``rounded``."""
    lower, upper = op.function(x.lower), op.function(x.upper)
    if rounded and op.ulps:
        error = 2 * op.ulps * U64
        lower, upper = down(lower - error * lower.abs()), up(upper + error * upper.abs())
    return Interval(lower, upper)


def _gap(op: Pointwise, slope: Tensor, z: Tensor, side: int, rounded: bool) -> Tensor:
    """``side * (f(z) - slope z)``, rounded down where asked."""
    f, line = op.function(z), slope * z
    gap = (f - line) * side
    if rounded:
        gap = down(gap - (2 * op.ulps + 4) * U64 * (f.abs() + line.abs()))
    return gap


def _tangent_minimum(
    op: Pointwise, slope: Tensor, piece: int, side: int, low: Tensor, high: Tensor, rounded: bool
) -> Tensor:
    """A lower bound of ``side * (f(z) - slope z)`` over a piece where that is convex."""
    t = torch.minimum(torch.maximum(op.tangent_at(slope, piece), low), high)
    derivative = (op.derivative(t) - slope) * side
    error = 32 * U64 * (1 + slope.abs()) if rounded else 0.0
    at_low = (derivative + error) * (low - t)
    at_high = (derivative - error) * (high - t)
    drop = torch.minimum(at_low, at_high).clamp(max=0)
    value = _gap(op, slope, t, side, rounded)
    return down(value + down(drop * (1 + 2.0**-40))) if rounded else value + drop
