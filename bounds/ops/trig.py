"""Sine and cosine."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.kinds import Pointwise
from bounds.ops.registry import register_function
from bounds.piecewise import chosen
from bounds.rounding import U64, down

_PERIOD = 2 * math.pi
_FARTHEST = 1e6  # from here on nothing is said but that values lie in [-1, 1]
# A computed point that should be a critical one is off by at most so many units of (1 + |z|) u.
_OFF = 16


@dataclass(frozen=True)
class Wave(Pointwise):
    """A sine wave of period 2 pi.

    The gap to a line of slope a has a minimum once per period, where f' = a and f bends the right way. It is
    monotone in the number of the period, so that the first and the last of these points in an interval and
    its ends decide. f is flat there to the line, so that a point off by d changes the gap by less than
    (1 + |a|) d.
    """

    @property
    def ulps(self) -> int:
        return 4

    @property
    def floor(self) -> int:
        return 2

    @abstractmethod
    def derivative(self, z: Tensor) -> Tensor:
        """f'(z)."""

    @abstractmethod
    def _half_turns(self, z: Tensor) -> Tensor:
        """How many zeros of f lie between a fixed one and z."""

    @abstractmethod
    def _critical(self, slope: Tensor, side: int) -> Tensor:
        """A point where f' = slope and side * f is convex; NaN for a slope beyond [-1, 1]."""

    def image(self, x: Interval, rounded: bool) -> Interval:
        ends = self.function(x.lower), self.function(x.upper)
        lower, upper = torch.minimum(*ends), torch.maximum(*ends)
        if rounded:
            lower, upper = lower - self.error(lower, U64), upper + self.error(upper, U64)
        flat = torch.zeros_like(x.lower)
        for side in (+1, -1):
            _, _, inside = self._inside(x, flat, side)
            if side > 0:
                lower = torch.where(inside, -1.0, lower)
            else:
                upper = torch.where(inside, 1.0, upper)
        far = self._far(x)
        lower, upper = lower.masked_fill(far, -1.0), upper.masked_fill(far, 1.0)
        return Interval(lower.clamp(-1, 1), upper.clamp(-1, 1))

    def contact(self, x: Interval, slope: Tensor, side: int) -> tuple[Tensor, Tensor]:
        points = self._points(x, slope, side)
        gaps = self.gap(slope, points, self.function(points), side, rounded=False)
        return chosen(points, gaps)

    def intercept(self, x: Interval, slope: Tensor, side: int, rounded: bool) -> Tensor:
        points = self._points(x, slope, side)
        gaps = self.gap(slope, points, self.function(points), side, rounded)
        if rounded:
            off = _OFF * U64 * (1 + points[2:].abs()) * (1 + slope.abs())
            gaps = torch.cat([gaps[:2], down(gaps[2:] - off)])
        far = -1 - slope.abs() * x.magnitude * (1 + 8 * U64)
        best = torch.where(self._far(x), down(far) if rounded else far, gaps.amin(0))
        return torch.nan_to_num(best, nan=-math.inf, posinf=-math.inf, neginf=-math.inf) * side

    def undecided(self, x: Interval) -> Tensor:
        return x.lower < x.upper

    def slopes(self, x: Interval) -> tuple[Tensor, Tensor]:
        """Chord and tangent at the middle where the interval lies between two zeros of f; zero if far out."""
        far, width = self._far(x), x.upper - x.lower
        chord = (self.function(x.upper) - self.function(x.lower)) / torch.where(width > 0, width, 1.0)
        tangent, concave = self.derivative(x.centre), self.function(x.centre) > 0
        lower, upper = torch.where(concave, chord, tangent), torch.where(concave, tangent, chord)
        across = self._half_turns(x.lower) != self._half_turns(x.upper)
        lower, upper = self.searched(x, across & ~far, lower, upper)
        still = far | (width == 0)
        return lower.masked_fill(still, 0.0), upper.masked_fill(still, 0.0)

    def slope_range(self, x: Interval) -> tuple[Tensor, Tensor]:
        """-1 and 1."""
        return torch.full_like(x.lower, -1.0), torch.full_like(x.lower, 1.0)

    def _far(self, x: Interval) -> Tensor:
        return ~(x.magnitude < _FARTHEST)

    def _points(self, x: Interval, slope: Tensor, side: int) -> Tensor:
        """The ends, and the first and the last critical point or ends in their place; (4, *shape)."""
        first, last, inside = self._inside(x, slope, side)
        inner = (torch.where(inside, z, x.lower).clamp(x.lower, x.upper) for z in (first, last))
        return torch.stack([x.lower, x.upper, *inner])

    def _inside(self, x: Interval, slope: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
        """The first and the last critical point in the interval, and whether there are any.

        One that lies outside by no more than rounding counts as inside.
        """
        critical = self._critical(slope, side)
        slack = 2 * _OFF * torch.finfo(x.lower.dtype).eps * (1 + x.magnitude)
        first = torch.ceil((x.lower - slack - critical) / _PERIOD)
        last = torch.floor((x.upper + slack - critical) / _PERIOD)
        return critical + first * _PERIOD, critical + last * _PERIOD, first <= last


@dataclass(frozen=True)
class Sin(Wave):
    """Sine."""

    def function(self, z: Tensor) -> Tensor:
        return torch.sin(z)

    def _critical(self, slope: Tensor, side: int) -> Tensor:
        return -side * torch.acos(slope)

    def derivative(self, z: Tensor) -> Tensor:
        return torch.cos(z)

    def _half_turns(self, z: Tensor) -> Tensor:
        return torch.floor(z / math.pi)


@dataclass(frozen=True)
class MinusSin(Wave):
    """The derivative of the cosine."""

    def function(self, z: Tensor) -> Tensor:
        return -torch.sin(z)

    def _half_turns(self, z: Tensor) -> Tensor:
        return torch.floor(z / math.pi)

    def _critical(self, slope: Tensor, side: int) -> Tensor:
        return side * torch.acos(-slope)

    def derivative(self, z: Tensor) -> Tensor:
        return -torch.cos(z)


@dataclass(frozen=True)
class Cos(Wave):
    """Cosine."""

    def function(self, z: Tensor) -> Tensor:
        return torch.cos(z)

    def derivative(self, z: Tensor) -> Tensor:
        return -torch.sin(z)

    def _half_turns(self, z: Tensor) -> Tensor:
        return torch.floor(z / math.pi - 0.5)

    def _critical(self, slope: Tensor, side: int) -> Tensor:
        return math.pi + torch.asin(slope) if side > 0 else -torch.asin(slope)


register_function(Sin(), "sin", "Sin")
register_function(Cos(), "cos", "Cos")
