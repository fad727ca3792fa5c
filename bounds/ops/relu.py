"""Piecewise linear functions with one or two kinks: ReLU, leaky and parametric ReLU, absolute value, clip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bounds.errors import InvalidGraph
from bounds.interval import Around, Interval
from bounds.kinds import Piece, Pointwise, Tensors
from bounds.ops.registry import Call, Value, as_model, as_parameter, from_onnx, from_torch, unary
from bounds.piecewise import Piecewise, chosen, joined
from bounds.rounding import down, up

_LEAST = 2.0**-126  # where an interval is but zero
_LOST = 4  # units that the rounding of the function around a centre may take
_FAINT = 2.0**-1005


@dataclass(frozen=True)
class LeakyReLU(Piecewise):
    """``z`` where z > 0, ``negative_slope * z`` elsewhere; any slope."""

    negative_slope: float = 0.0

    @property
    def breaks(self) -> tuple[float, ...]:
        return (0.0,)

    @property
    def curvature(self) -> tuple[int, ...]:
        return (0, 0)

    @property
    def extrema(self) -> tuple[float, ...]:
        return (0.0,) if self.negative_slope < 0 else ()

    @property
    def pivot(self) -> tuple[float, float] | None:
        return (self.negative_slope, 1.0) if self.negative_slope < 1 else None

    @property
    def ulps(self) -> int:
        return 1 if self.negative_slope else 0

    def function(self, z: Tensor) -> Tensor:
        return torch.where(z > 0, z, z * self.negative_slope) if self.negative_slope else z.relu()

    def image(self, x: Interval, rounded: bool) -> Interval:
        if self.negative_slope:
            return super().image(x, rounded)
        return Interval(self.function(x.lower), self.function(x.upper))

    def around(self, x: Around, rounded: bool, spent: bool) -> Around | None:
        """ReLU of the upper end t is that of the result, and no less than its width: min(w, t).

        Rounding may move each end by some units of t <= |c| + w / 2. What is left of an upper end that is
        fainter than what the interval has to spare is zero. As half of w is exact, the centre t - w / 2 is
        at least t / 2, rounded or not.
        """
        if self.negative_slope or x.spare < 2 * _LOST:
            return None
        if spent:
            top = x.centre.add_(x.width, alpha=0.5)
            top = torch.threshold_(top, _FAINT, 0.0) if rounded else top.relu_()
            width = torch.minimum(top, x.width, out=x.width)
            return Around(top.sub_(width, alpha=0.5), width, x.spare - _LOST, positive=True)
        top = x.centre.add(x.width, alpha=0.5)
        top = torch.threshold_(top, _FAINT, 0.0) if rounded else top.relu()
        width = torch.minimum(top, x.width)
        return Around(top.sub(width, alpha=0.5), width, x.spare - _LOST, positive=True)

    def intercept(self, x: Interval, slope: Tensor, side: int, rounded: bool) -> Tensor:
        """The gap is piecewise linear: smallest at an end or, where that is inside, at the kink."""
        if side > 0 and not self.negative_slope and torch.equal(slope, slope.clamp(0, 1)):
            return torch.zeros_like(slope + x.lower)  # lines through the origin, wherever the interval lies
        gaps = (self.gap(slope, z, self.function(z), side, rounded) for z in (x.lower, x.upper))
        ends = torch.minimum(*gaps)
        if not self.negative_slope:  # slopes of 0 and 1 leave no gap at a kink outside either
            return ends.clamp(max=0) * side
        return torch.where((x.lower < 0) & (x.upper > 0), ends.clamp(max=0), ends) * side

    def slopes(self, x: Interval) -> tuple[Tensor, Tensor]:
        """The chord, and on the other side the piece over the larger part, which leaves the smaller area."""
        if not self.negative_slope:  # a choice by a mask without pattern would take ten times as long
            rise = x.upper.relu()
            chord = rise / (rise + (-x.lower).relu()).clamp(min=_LEAST)
            return (x.upper > -x.lower).to(chord), chord
        low, high = self.function(x.lower), self.function(x.upper)
        unstable = self.undecided(x)
        chord = (high - low) / torch.where(unstable, x.upper - x.lower, 1.0)
        piece = torch.where(x.upper > -x.lower, 1.0, self.negative_slope).to(chord)
        stable = torch.where(x.lower >= 0, 1.0, self.negative_slope).to(chord)
        touching, across = torch.where(unstable, piece, stable), torch.where(unstable, chord, stable)
        return (touching, across) if self.negative_slope <= 1 else (across, touching)


@dataclass(frozen=True)
class Abs(LeakyReLU):
    """``|z|``."""

    negative_slope: float = -1.0

    @property
    def ulps(self) -> int:
        return 0

    def function(self, z: Tensor) -> Tensor:
        return z.abs()


@dataclass(frozen=True)
class PReLU(Pointwise):
    """``z`` where z > 0, ``slope * z`` elsewhere; params: slope, broadcast over the sample's shape.

    ``slope`` is None until the node's parameter is bound.
    """

    slope: Tensor | None = field(default=None, compare=False, repr=False)

    @property
    def ulps(self) -> int:
        return 1

    @property
    def breaks(self) -> tuple[float, ...]:
        """The kink."""
        return (0.0,)

    @property
    def segments(self) -> tuple[tuple[float | Tensor, float], ...]:
        """Slope and shift on both sides of it."""
        return ((self._slope, 0.0), (1.0, 0.0))

    def bind(self, params: Tensors) -> PReLU:
        return PReLU(params[0])

    def function(self, z: Tensor) -> Tensor:
        return torch.where(z > 0, z, z * self._slope)

    def image(self, x: Interval, rounded: bool) -> Interval:
        ends = self.function(x.lower), self.function(x.upper)
        lower, upper = torch.minimum(*ends), torch.maximum(*ends)
        inside = (x.lower < 0) & (x.upper > 0)
        lower = torch.where(inside, lower.clamp(max=0), lower)
        return Interval(down(lower), up(upper)) if rounded else Interval(lower, upper)

    def contact(self, x: Interval, slope: Tensor, side: int) -> tuple[Tensor, Tensor]:
        points = torch.stack(self._points(x))
        gaps = self.gap(slope, points, self.function(points), side, rounded=False)
        return chosen(points, gaps)

    def intercept(self, x: Interval, slope: Tensor, side: int, rounded: bool) -> Tensor:
        points = torch.stack(self._points(x))
        best = self.gap(slope, points, self.function(points), side, rounded).amin(0)
        return torch.nan_to_num(best, nan=-math.inf, posinf=-math.inf, neginf=-math.inf) * side

    def pieces(self, x: Interval) -> Sequence[Piece]:
        return joined(self.breaks, self.segments, x)

    def undecided(self, x: Interval) -> Tensor:
        return (x.lower < 0) & (x.upper > 0) & (self._slope != 1)

    def slopes(self, x: Interval) -> tuple[Tensor, Tensor]:
        """As for a leaky ReLU of each element's own slope."""
        unstable = (x.lower < 0) & (x.upper > 0)
        rise = self.function(x.upper) - self.function(x.lower)
        chord = rise / torch.where(unstable, x.upper - x.lower, 1.0)
        piece = torch.where(x.upper > -x.lower, 1.0, self._slope)
        stable = torch.where(x.lower >= 0, 1.0, self._slope)
        touching, across = torch.where(unstable, piece, stable), torch.where(unstable, chord, stable)
        convex = self._slope <= 1
        return torch.where(convex, touching, across), torch.where(convex, across, touching)

    def _points(self, x: Interval) -> tuple[Tensor, Tensor, Tensor]:
        """The ends and the kink, or the end nearest to it."""
        return x.lower, torch.minimum(x.lower.clamp(min=0), x.upper), x.upper

    @property
    def _slope(self) -> Tensor:
        if self.slope is None:
            raise InvalidGraph("a PReLU without its slopes; bind the node's parameters first")
        return self.slope


@dataclass(frozen=True)
class Clip(Piecewise):
    """``min(max(z, low), high)``; one of the two may be infinite, low < high."""

    low: float
    high: float

    @property
    def breaks(self) -> tuple[float, ...]:
        return tuple(b for b in (self.low, self.high) if math.isfinite(b))

    @property
    def curvature(self) -> tuple[int, ...]:
        return (0,) * (len(self.breaks) + 1)

    def function(self, z: Tensor) -> Tensor:
        return z.clamp(self.low, self.high)

    def slopes(self, x: Interval) -> tuple[Tensor, Tensor]:
        """Chords, but through the kink or flat where the interval passes it, whichever leaves less area."""
        low, high = self.function(x.lower), self.function(x.upper)
        chord = (high - low) / torch.where(x.upper > x.lower, x.upper - x.lower, 1.0)
        lower = upper = chord
        if math.isfinite(self.high):
            through = torch.where(
                x.upper - self.high < self.high - x.lower, (self.high - low) / (self.high - x.lower), 0.0
            )
            upper = torch.where(x.upper > self.high, through, chord)
        if math.isfinite(self.low):
            through = torch.where(
                self.low - x.lower < x.upper - self.low, (high - self.low) / (x.upper - self.low), 0.0
            )
            lower = torch.where(x.lower < self.low, through, chord)
        return lower, upper


@from_torch("aten::relu")
@from_onnx("Relu")
def _relu(call: Call) -> Value:
    return call.apply(LeakyReLU(), unary(call))


@from_torch("aten::abs")
@from_onnx("Abs")
def _abs(call: Call) -> Value:
    return call.apply(Abs(), unary(call))


@from_torch("aten::leaky_relu")
def _leaky(call: Call) -> Value:
    return _leaky_relu(call, call.number("negative_slope", 0.01))


@from_onnx("LeakyRelu")
def _onnx_leaky(call: Call) -> Value:
    return _leaky_relu(call, call.number("alpha", 0.01))


@from_torch("aten::prelu")
def _prelu(call: Call) -> Value:
    x, slope = call.ref("self"), call.constant("weight")
    # One slope for all, or one per channel, the axis behind the batch.
    slope = slope.view(-1, *[1] * (len(x.shape) - 1)) if slope.numel() > 1 else slope.view(())
    return call.apply(PReLU(), x, params=(as_parameter(call, slope, x.shape),))


@from_onnx("PRelu")
def _onnx_prelu(call: Call) -> Value:
    x = call.ref("0")
    return call.apply(PReLU(), x, params=(as_parameter(call, call.constant("1"), x.shape),))


def _leaky_relu(call: Call, slope: float) -> Value:
    return call.apply(LeakyReLU(as_model(call, slope)), unary(call))


@from_torch("aten::clamp", "aten::clip", "aten::clamp_min", "aten::clamp_max", "aten::hardtanh")
def _clamp(call: Call) -> Value:
    hardtanh = call.operator == "aten::hardtanh"
    low, high = ("min_val", "max_val") if hardtanh else ("min", "max")
    return _clip(call, call.number(low, -math.inf), call.number(high, math.inf))


@from_torch("aten::relu6")
def _relu6(call: Call) -> Value:
    return _clip(call, 0.0, 6.0)


@from_onnx("Clip")
def _onnx_clip(call: Call) -> Value:
    low = call.number("1" if call.get("1") is not None else "min", -math.inf)
    high = call.number("2" if call.get("2") is not None else "max", math.inf)
    return _clip(call, low, high)


def _clip(call: Call, low: float, high: float) -> Value:
    low, high = (as_model(call, v) for v in (low, high))
    if not low < high:
        raise call.unsupported(f"clip bounds {low} and {high} in the wrong order")
    if math.isinf(low) and math.isinf(high):
        return unary(call)
    if abs(low) > 3e38 and abs(high) > 3e38:
        return unary(call)
    return call.apply(Clip(low, high), unary(call))
