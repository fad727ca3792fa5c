"""Functions that split into pieces, each convex, concave or linear.

For any slope ``a`` whatsoever, ``f(z) >= a z + c`` on [l, u] with ``c = min (f(z) - a z)``. On a linear or
concave piece that minimum is at an end. On a convex piece the tangent of ``f(z) - a z`` at any point ``t``
lies below it, so that its own minimum over the piece is a valid (and at f'(t) = a an exact) value. Nothing
about ``a`` or ``t`` has to be trusted; only ``c`` is computed with care. The upper line is the lower line
of ``-f``.
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.kinds import Piece, Pointwise
from bounds.rounding import U64, down, up


@dataclass(frozen=True)
class Piecewise(Pointwise):
    """Continuous where it is defined; states its pieces, its derivative and where that has a given value."""

    # Where a break is no float number: error of the claims about the pieces beside it, in units of
    # (1 + |slope|) times the unit roundoff.
    loose: ClassVar[int] = 0

    @property
    @abstractmethod
    def breaks(self) -> tuple[float, ...]:
        """Where one piece ends and the next begins, ascending."""

    @property
    @abstractmethod
    def curvature(self) -> tuple[int, ...]:
        """Per piece: +1 convex, -1 concave, 0 linear; one more than ``breaks``."""

    @property
    def extrema(self) -> tuple[float, ...]:
        """Where f turns from rising to falling or back."""
        return ()

    def derivative(self, z: Tensor) -> Tensor:
        """f'(z) on curved pieces, to within 16 u (1 + |f'|); never called for piecewise linear functions."""
        raise NotImplementedError

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        """A point of a curved piece whose derivative is about ``slope``; it need not be exact."""
        raise NotImplementedError

    def outside(self, x: Interval) -> Tensor | None:
        """Where f is not defined on the whole interval; None for functions defined everywhere."""
        return None

    def steep(self, x: Interval) -> Tensor | None:
        """Where f has no derivative that bounds its differences on the whole interval; None for nowhere."""
        return self.outside(x)

    def image(self, x: Interval, rounded: bool) -> Interval:
        ends = [self.function(x.lower), self.function(x.upper)]
        lower, upper = torch.minimum(*ends), torch.maximum(*ends)
        for point in self.extrema:
            value = self.function(torch.full_like(x.lower, point))
            inside = (x.lower < point) & (point < x.upper)
            lower = torch.where(inside, torch.minimum(lower, value), lower)
            upper = torch.where(inside, torch.maximum(upper, value), upper)
        if rounded and (self.ulps or self.floor or self.loose):
            lower = down(lower - self.error(lower, U64) - self.loose * U64)
            upper = up(upper + self.error(upper, U64) + self.loose * U64)
        # A value that overflowed is no bound on its own side.
        largest = torch.finfo(lower.dtype).max
        lower, upper = lower.clamp(max=largest), upper.clamp(min=-largest)
        nowhere = self.outside(x)
        if nowhere is not None:
            lower, upper = lower.masked_fill(nowhere, -math.inf), upper.masked_fill(nowhere, math.inf)
        return Interval(lower, upper)

    def contact(self, x: Interval, slope: Tensor, side: int) -> tuple[Tensor, Tensor]:
        best, where = torch.full_like(slope, math.inf), x.centre
        for piece, low, high, meets in self._pieces(x):
            points = [low, high]
            if self.curvature[piece] * side > 0:
                points = [self._tangent_point(slope, piece, low, high)]
            for z in points:
                gap = self.gap(slope, z, self.function(z), side, rounded=False)
                better = (gap < best) & meets
                best, where = torch.where(better, gap, best), torch.where(better, z, where)
        return where, best

    def intercept(self, x: Interval, slope: Tensor, side: int, rounded: bool) -> Tensor:
        best = torch.full_like(slope, math.inf)
        for piece, low, high, meets in self._pieces(x):
            if self.curvature[piece] * side > 0:
                value = self._tangent_minimum(slope, piece, side, low, high, rounded)
            else:
                ends = (self.gap(slope, z, self.function(z), side, rounded) for z in (low, high))
                value = torch.minimum(*ends)
            best = torch.minimum(best, torch.where(meets, value, math.inf))
        if rounded and self.loose:
            best = down(best - self.loose * U64 * (1 + slope.abs()))
        nowhere = self.outside(x)
        if nowhere is not None:
            best = best.masked_fill(nowhere, -math.inf)
        # Overflow proves nothing: neither what is not a number nor a gap of plus infinity.
        return torch.nan_to_num(best, nan=-math.inf, posinf=-math.inf, neginf=-math.inf) * side

    @property
    def whole(self) -> int:
        """+1 if f as a whole is convex, -1 if concave, with a derivative on linear pieces, too; else 0."""
        return 0

    def slopes(self, x: Interval) -> tuple[Tensor, Tensor]:
        """Chord and tangent at the middle where f is bent one way over the interval; a search elsewhere."""
        width = x.upper - x.lower
        chord = (self.function(x.upper) - self.function(x.lower)) / torch.where(width > 0, width, 1.0)
        lower = upper = chord
        ends = (-math.inf, math.inf) if self.whole else (-math.inf, *self.breaks, math.inf)
        settled = torch.zeros_like(chord, dtype=torch.bool)
        for (start, end), bend in zip(
            itertools.pairwise(ends), (self.whole,) if self.whole else self.curvature, strict=True
        ):
            within = (x.lower >= start) & (x.upper <= end)
            settled |= within
            within &= width > 0
            if bend:
                tangent = self.derivative(x.centre.clamp(start, end))
                lower = torch.where(within, tangent, lower) if bend > 0 else lower
                upper = torch.where(within, tangent, upper) if bend < 0 else upper
        lower, upper = self.searched(x, ~settled, lower, upper)
        return _finite(lower), _finite(upper)

    def slope_range(self, x: Interval) -> tuple[Tensor, Tensor]:
        """The derivative's extremes, which on each curved piece it takes at an end."""
        least, greatest = torch.full_like(x.lower, math.inf), torch.full_like(x.lower, -math.inf)
        for piece, low, high, _ in self._pieces(x):
            wide = high > low
            if self.curvature[piece]:
                found = [self.derivative(low), self.derivative(high)]
            else:
                found = [(self.function(high) - self.function(low)) / torch.where(wide, high - low, 1.0)]
            for slope in found:
                least = torch.where(wide, torch.minimum(least, slope), least)
                greatest = torch.where(wide, torch.maximum(greatest, slope), greatest)
        return least, greatest

    def pieces(self, x: Interval) -> Sequence[Piece]:
        if any(self.curvature):
            return ()
        segments = []
        for start, end in itertools.pairwise((-math.inf, *self.breaks, math.inf)):
            first = start if math.isfinite(start) else (end - 1 if math.isfinite(end) else 0.0)
            second = end if math.isfinite(end) else first + 1
            f, g = (self.function(torch.full_like(x.lower, z)) for z in (first, second))
            slope = (g - f) / (second - first)
            segments.append((slope, f - slope * first))
        return joined(self.breaks, segments, x)

    def split(self, x: Interval) -> Tensor:
        """At the kink inside that is nearest to the middle, where all pieces are linear."""
        point = x.centre
        if any(self.curvature):
            return point
        for kink in self.breaks:
            inside = (x.lower < kink) & (kink < x.upper)
            kinks = torch.full_like(point, kink)
            nearer = (point == x.centre) | ((kinks - x.centre).abs() < (point - x.centre).abs())
            point = torch.where(inside & nearer, kinks, point)
        return point

    def undecided(self, x: Interval) -> Tensor:
        if any(self.curvature):
            return x.lower < x.upper
        inside = torch.zeros_like(x.lower, dtype=torch.bool)
        for point in self.breaks:
            inside |= (x.lower < point) & (x.upper > point)
        return inside

    def _pieces(self, x: Interval) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
        """Each piece with its share of the interval, and where the two meet."""
        ends = (-math.inf, *self.breaks, math.inf)
        for piece, (start, end) in enumerate(itertools.pairwise(ends)):
            meets = (x.lower <= end) & (x.upper >= start)
            yield piece, x.lower.clamp(start, end), x.upper.clamp(start, end), meets

    def _tangent_point(self, slope: Tensor, piece: int, low: Tensor, high: Tensor) -> Tensor:
        t = self.tangent_at(slope, piece)
        return torch.minimum(torch.maximum(torch.where(t.isnan(), low, t), low), high)

    def _tangent_minimum(
        self, slope: Tensor, piece: int, side: int, low: Tensor, high: Tensor, rounded: bool
    ) -> Tensor:
        """A lower bound of ``side * (f(z) - slope z)`` over a piece where that is convex."""
        t = self._tangent_point(slope, piece, low, high)
        slant = self.derivative(t)
        derivative = (slant - slope) * side
        error = 32 * U64 * (1 + slope.abs() + slant.abs()) if rounded else 0.0
        # Where the tangent point is an end, the derivative there may be infinite without harm.
        at_low = torch.where(t > low, (derivative + error) * (low - t), 0.0)
        at_high = torch.where(t < high, (derivative - error) * (high - t), 0.0)
        drop = torch.minimum(at_low, at_high).clamp(max=0)
        value = self.gap(slope, t, self.function(t), side, rounded)
        return down(value + down(drop * (1 + 2.0**-40))) if rounded else value + drop


def joined(
    breaks: Sequence[float], segments: Sequence[tuple[float | Tensor, float | Tensor]], x: Interval
) -> Sequence[Piece]:
    """Pieces from where they meet, and the slope and shift of each."""
    ends = itertools.pairwise((-math.inf, *breaks, math.inf))
    zero = torch.zeros_like(x.lower)
    return tuple(
        Piece(zero + start, zero + end, zero + slope, zero + shift)
        for (start, end), (slope, shift) in zip(ends, segments, strict=True)
    )


def _finite(slope: Tensor) -> Tensor:
    return torch.nan_to_num(slope, nan=0.0, posinf=0.0, neginf=0.0)


def chosen(points: Tensor, gaps: Tensor) -> tuple[Tensor, Tensor]:
    """Of several points along axis 0 the one with the smallest gap, and that gap; NaN where any is."""
    point, least = points[0], gaps[0]
    for other, gap in zip(points[1:], gaps[1:], strict=True):  # argmin is ten times slower
        point, least = torch.where(gap < least, other, point), torch.minimum(least, gap)
    return point, least
