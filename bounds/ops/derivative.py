"""Derivatives of scalar functions as operators: Clarke's, where there are kinks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import singledispatch
from typing import ClassVar

import torch
from torch import Tensor

from bounds.errors import Unsupported
from bounds.interval import Interval
from bounds.kinds import Pointwise, Tensors
from bounds.ops.relu import PReLU
from bounds.ops.segments import Segments
from bounds.ops.sshape import Sigmoid, Tanh
from bounds.ops.stairs import Stairs
from bounds.ops.trig import Cos, MinusSin, Sin
from bounds.piecewise import Piecewise
from bounds.rounding import U64, down, up


@dataclass(frozen=True)
class Derivative(Pointwise):
    """The derivative of a function of pieces; at a break between two slopes the one of the left piece.

    Its image holds all slopes between those of the pieces that meet at a break, if that lies in the interval:
    Clarke's generalised derivative. f' is constant on linear pieces and monotone on others.
    """

    of: Piecewise

    @property
    def name(self) -> str:
        return f"Derivative of {self.of.name}"

    @property
    def ulps(self) -> int:
        return 8 + self.of.loose

    @property
    def floor(self) -> int:
        return 8 + self.of.loose

    @property
    def breaks(self) -> tuple[float, ...]:
        """Those of the function."""
        return self.of.breaks

    def bind(self, params: Tensors) -> Pointwise:
        bound = self.of.bind(params)
        return Derivative(bound) if isinstance(bound, Piecewise) else self

    def function(self, z: Tensor) -> Tensor:
        ends = (*self.of.breaks, math.inf)
        result = self._at(z, 0)
        for piece, start in enumerate(ends[:-1], start=1):
            result = torch.where(z > start, self._at(z, piece), result)
        return result

    def image(self, x: Interval, rounded: bool) -> Interval:
        lower, upper = torch.full_like(x.lower, math.inf), torch.full_like(x.lower, -math.inf)
        for low, high, _, meets in self._ranges(x, rounded):
            lower = torch.where(meets, torch.minimum(lower, low), lower)
            upper = torch.where(meets, torch.maximum(upper, high), upper)
        found = Interval(lower, upper).closed()
        # A value that overflowed is no bound on its own side.
        largest = torch.finfo(lower.dtype).max
        lower, upper = found.lower.clamp(max=largest), found.upper.clamp(min=-largest)
        nowhere = self.of.steep(x)
        if nowhere is not None:
            lower, upper = lower.masked_fill(nowhere, -math.inf), upper.masked_fill(nowhere, math.inf)
        return Interval(lower, upper)

    def contact(self, x: Interval, slope: Tensor, side: int) -> tuple[Tensor, Tensor]:
        best, where = torch.full_like(slope, math.inf), x.centre
        for low, high, ends, meets in self._ranges(x, rounded=False):
            for z in (ends.lower, ends.upper):
                gap = (low if side > 0 else -high) - side * slope * z
                better = meets & (gap < best)
                best, where = torch.where(better, gap, best), torch.where(better, z, where)
        return where, best

    def intercept(self, x: Interval, slope: Tensor, side: int, rounded: bool) -> Tensor:
        """Exact on linear pieces; elsewhere f' and the line count by their ranges on the piece."""
        best = torch.full_like(slope, math.inf)
        for low, high, ends, meets in self._ranges(x, rounded):
            least = low if side > 0 else -high
            line = torch.maximum(side * slope * ends.lower, side * slope * ends.upper)
            gap = least - line
            if rounded:
                gap = down(gap - 4 * U64 * (least.abs() + line.abs()))
            best = torch.where(meets, torch.minimum(best, gap), best)
        nowhere = self.of.steep(x)
        if nowhere is not None:
            best = best.masked_fill(nowhere, -math.inf)
        return torch.nan_to_num(best, nan=-math.inf, posinf=-math.inf, neginf=-math.inf) * side

    def slopes(self, x: Interval) -> tuple[Tensor, Tensor]:
        """Flat lines where f' is curved."""
        if any(self.of.curvature):
            return torch.zeros_like(x.lower), torch.zeros_like(x.lower)
        return super().slopes(x)

    def undecided(self, x: Interval) -> Tensor:
        image = self.image(x, rounded=False)
        return (image.lower < image.upper) & (x.lower < x.upper)

    def _at(self, z: Tensor, piece: int) -> Tensor:
        """f' on a piece; on a linear one from two points of it."""
        if self.of.curvature[piece]:
            return self.of.derivative(z)
        first, second, f, g = self._chord(z, piece)
        return (g - f) / (second - first)

    def _chord(self, z: Tensor, piece: int) -> tuple[float, float, Tensor, Tensor]:
        ends = (-math.inf, *self.of.breaks, math.inf)
        first, second = ends[piece : piece + 2]
        if math.isinf(first):
            first = second - 1.0 if math.isfinite(second) else 0.0
        if math.isinf(second):  # beyond the break, where f may jump
            first, second = first + 1.0, first + 2.0
        f, g = (self.of.function(torch.full_like(z, p)) for p in (first, second))
        return first, second, f, g

    def _ranges(self, x: Interval, rounded: bool) -> Iterator[tuple[Tensor, Tensor, Interval, Tensor]]:
        """Per piece: range of f' on its share of the interval, that share, and where the two meet."""
        ends = (-math.inf, *self.of.breaks, math.inf)
        for piece, (start, end) in enumerate(itertools.pairwise(ends)):
            share = Interval(x.lower.clamp(start, end), x.upper.clamp(start, end))
            meets = (x.lower <= end) & (x.upper >= start)
            if self.of.curvature[piece]:
                low, high = self._curved_range(share, start, end)
                below, above = self.error(low, U64), self.error(high, U64)
            else:
                first, second, f, g = self._chord(x.lower, piece)
                low = high = (g - f) / (second - first)
                spread = self.of.error(f, U64) + self.of.error(g, U64)
                below = above = 2 * spread / (second - first) + 8 * U64 * low.abs()
            if rounded:
                # What is exact stays so: a slope of zero has no sign.
                low = torch.where(below > 0, down(low - below), low)
                high = torch.where(above > 0, up(high + above), high)
            yield low, high, share, meets

    def _curved_range(self, share: Interval, start: float, end: float) -> tuple[Tensor, Tensor]:
        """f' at both ends; at a break both there and just inside, since f' may jump or be infinite there."""
        inner = torch.where(share.lower == start, up(share.lower), share.lower)
        outer = torch.where(share.upper == end, down(share.upper), share.upper)
        values = torch.stack([self.of.derivative(z) for z in (share.lower, share.upper, inner, outer)])
        return values.amin(0), values.amax(0)


@dataclass(frozen=True)
class Bell(Piecewise):
    """``height * s (1 - s)`` with ``s = sigmoid(sharpness * z)``, both powers of two.

    The derivative of the sigmoid is ``Bell(1, 1)``, that of tanh ``Bell(4, 2)``.
    """

    loose: ClassVar[int] = 1
    height: float
    sharpness: float

    @property
    def ulps(self) -> int:
        return 12

    @property
    def floor(self) -> int:
        return 1

    @property
    def breaks(self) -> tuple[float, ...]:
        inflection = math.log(2 + math.sqrt(3)) / self.sharpness
        return (-inflection, inflection)

    @property
    def curvature(self) -> tuple[int, ...]:
        return (1, -1, 1)

    @property
    def extrema(self) -> tuple[float, ...]:
        return (0.0,)

    def function(self, z: Tensor) -> Tensor:
        z = self.sharpness * z
        return self.height * torch.sigmoid(z) * torch.sigmoid(-z)

    def image(self, x: Interval, rounded: bool) -> Interval:
        y = super().image(x, rounded)
        return Interval(y.lower.clamp(min=0.0), y.upper)

    def derivative(self, z: Tensor) -> Tensor:
        return -self.sharpness * self.function(z) * torch.tanh(self.sharpness * z / 2)

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        """With t = s - 1/2 the slope is ``2 t^3 - t / 2``: one root of a cubic per piece."""
        scaled = slope / (self.height * self.sharpness)
        angle = torch.arccos((6 * math.sqrt(3) * scaled).clamp(-1, 1)) / 3
        turn = (2, 1, 0)[piece]
        s = torch.cos(angle - 2 * math.pi * turn / 3) / math.sqrt(3) + 0.5
        tiny = torch.finfo(s.dtype).eps
        return torch.logit(s.clamp(tiny, 1 - tiny)) / self.sharpness


@dataclass(frozen=True)
class Slopes(Segments):
    """The slopes of a function of linear pieces that does not jump; at a break those of both pieces."""

    of: Segments | PReLU

    @property
    def name(self) -> str:
        return f"Derivative of {self.of.name}"

    @property
    def ulps(self) -> int:
        return 0

    @property
    def breaks(self) -> tuple[float, ...]:
        return self.of.breaks

    @property
    def segments(self) -> tuple[tuple[float, float | Tensor], ...]:
        return tuple((0.0, slope) for slope, _ in self.of.segments)

    def bind(self, params: Tensors) -> Slopes:
        return Slopes(self.of.bind(params)) if isinstance(self.of, PReLU) else self

    def function(self, z: Tensor) -> Tensor:
        first, *others = (slope for _, slope in self.segments)
        result = torch.zeros_like(z) + first
        for start, slope in zip(self.breaks, others, strict=True):
            result = torch.where(z > start, slope, result)
        return result.to(z)

    def image(self, x: Interval, rounded: bool) -> Interval:
        """Without rounding: a slope of zero has no sign."""
        return super().image(x, rounded=False)

    def slopes(self, x: Interval) -> tuple[Tensor, Tensor]:
        """Searched for everywhere, since the function may differ from element to element."""
        lower, upper = Pointwise.slopes(self, x)
        flat = ~self.undecided(x)
        return lower.masked_fill(flat, 0.0), upper.masked_fill(flat, 0.0)


@singledispatch
def derivative(op: Pointwise) -> Pointwise:
    """The derivative of a scalar function as an operator; raises ``Unsupported`` where there is none yet."""
    raise Unsupported(
        f"operator {op.name} has no derivative to bound; rewrite the model with functions made of convex, "
        "concave and linear pieces"
    )


@derivative.register
def _(op: Piecewise) -> Pointwise:
    return Derivative(op)


@derivative.register
def _(op: Sigmoid) -> Pointwise:
    return Bell(1.0, 1.0)


@derivative.register
def _(op: Tanh) -> Pointwise:
    return Bell(4.0, 2.0)


@derivative.register
def _(op: Sin) -> Pointwise:
    return Cos()


@derivative.register
def _(op: Cos) -> Pointwise:
    return MinusSin()


@derivative.register
def _(op: PReLU) -> Pointwise:
    return Slopes(op)


@derivative.register
def _(op: Segments) -> Pointwise:
    for at, pieces in zip(op.breaks, itertools.pairwise(op.segments), strict=True):
        left, right = (Fraction(slope) * Fraction(at) + Fraction(float(shift)) for slope, shift in pieces)
        if left != right:
            raise _jumping(op, f" at {at:g}")
    return Slopes(op)


@derivative.register(Slopes)
@derivative.register(Stairs)
def _(op: Pointwise) -> Pointwise:
    raise _jumping(op, "")


def _jumping(op: Pointwise, where: str) -> Unsupported:
    return Unsupported(
        f"operator {op.name} jumps{where}, so that no derivative bounds its differences; replace it by a "
        "continuous function"
    )
