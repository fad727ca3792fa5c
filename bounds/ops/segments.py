"""Piecewise linear functions that may jump: thresholds and shrinkages."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.kinds import Piece, Pointwise
from bounds.ops.registry import Call, Value, as_model, from_onnx, from_torch, unary
from bounds.piecewise import chosen, joined
from bounds.rounding import down, up


@dataclass(frozen=True)
class Segments(Pointwise):
    """Pieces ``slope z + shift`` between breaks. At a break both limits count, which is sound."""

    @property
    def ulps(self) -> int:
        return 1

    @property
    @abstractmethod
    def breaks(self) -> tuple[float, ...]:
        """Where one piece ends and the next begins, ascending."""

    @property
    @abstractmethod
    def segments(self) -> tuple[tuple[float, float | Tensor], ...]:
        """Slope and shift of each piece; one more than ``breaks``."""

    def image(self, x: Interval, rounded: bool) -> Interval:
        _, values, meets = self._corners(x.closed())  # comparisons would hide what is not a number
        lower = torch.where(meets, values, math.inf).amin(0)
        upper = torch.where(meets, values, -math.inf).amax(0)
        return Interval(down(lower), up(upper)) if rounded else Interval(lower, upper)

    def contact(self, x: Interval, slope: Tensor, side: int) -> tuple[Tensor, Tensor]:
        points, values, meets = self._corners(x)
        gaps = self.gap(slope, points, values, side, rounded=False)
        return chosen(points, torch.where(meets, gaps, math.inf))

    def intercept(self, x: Interval, slope: Tensor, side: int, rounded: bool) -> Tensor:
        points, values, meets = self._corners(x)
        gaps = self.gap(slope, points, values, side, rounded)
        best = torch.where(meets, gaps, math.inf).amin(0)
        return torch.nan_to_num(best, nan=-math.inf, posinf=-math.inf, neginf=-math.inf) * side

    def pieces(self, x: Interval) -> Sequence[Piece]:
        return joined(self.breaks, self.segments, x)

    def undecided(self, x: Interval) -> Tensor:
        inside = torch.zeros_like(x.lower, dtype=torch.bool)
        for point in self.breaks:
            inside |= (x.lower <= point) & (x.upper >= point) & (x.lower < x.upper)
        return inside

    def slopes(self, x: Interval) -> tuple[Tensor, Tensor]:
        width = x.upper - x.lower
        straight = (self.function(x.upper) - self.function(x.lower)) / torch.where(width > 0, width, 1.0)
        return self.searched(x, self.undecided(x), straight, straight)

    def _corners(self, x: Interval) -> tuple[Tensor, Tensor, Tensor]:
        """The ends of every piece's share of the interval, the piece's values there, and where they count."""
        points, values, meets = [], [], []
        ends = itertools.pairwise((-math.inf, *self.breaks, math.inf))
        for (start, end), (slope, shift) in zip(ends, self.segments, strict=True):
            for z in (x.lower.clamp(start, end), x.upper.clamp(start, end)):
                points.append(z)
                values.append((slope * z if slope else torch.zeros_like(z)) + shift)
                meets.append((x.lower <= end) & (x.upper >= start))
        return torch.stack(points), torch.stack(values), torch.stack(meets)


@dataclass(frozen=True)
class Threshold(Segments):
    """``z`` where z > threshold, ``below`` elsewhere."""

    threshold: float
    below: float

    @property
    def breaks(self) -> tuple[float, ...]:
        return (self.threshold,)

    @property
    def segments(self) -> tuple[tuple[float, float], ...]:
        return ((0.0, self.below), (1.0, 0.0))

    def function(self, z: Tensor) -> Tensor:
        return torch.where(z > self.threshold, z, self.below)


@dataclass(frozen=True)
class Shrink(Segments):
    """``z - bias`` where z > width, ``z + bias`` where z < -width, 0 between; width >= 0."""

    width: float
    bias: float

    @property
    def breaks(self) -> tuple[float, ...]:
        return (-self.width, self.width)

    @property
    def segments(self) -> tuple[tuple[float, float], ...]:
        return ((1.0, self.bias), (0.0, 0.0), (1.0, -self.bias))

    def function(self, z: Tensor) -> Tensor:
        return torch.where(z > self.width, z - self.bias, torch.where(z < -self.width, z + self.bias, 0.0))


@from_torch("aten::threshold")
def _threshold(call: Call) -> Value:
    at, below = (as_model(call, call.number(name)) for name in ("threshold", "value"))
    return call.apply(Threshold(at, below), unary(call))


@from_onnx("ThresholdedRelu")
def _thresholded_relu(call: Call) -> Value:
    return call.apply(Threshold(as_model(call, call.number("alpha", 1.0)), 0.0), unary(call))


@from_onnx("Shrink")
def _onnx_shrink(call: Call) -> Value:
    width, bias = (as_model(call, call.number(*item)) for item in (("lambd", 0.5), ("bias", 0.0)))
    if width < 0:
        raise call.unsupported(f"the negative width {width}")
    return call.apply(Shrink(width, bias), unary(call))
