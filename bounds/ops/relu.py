"""Monotone piecewise linear functions with one or two kinks: ReLU, leaky ReLU, clip."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.ops.registry import Call, Value, from_onnx, from_torch
from bounds.piecewise import Piecewise


@dataclass(frozen=True)
class LeakyReLU(Piecewise):
    """``z`` where z > 0, ``negative_slope * z`` elsewhere; 0 <= negative_slope <= 1."""

    negative_slope: float = 0.0

    @property
    def breaks(self) -> tuple[float, ...]:
        return (0.0,)

    @property
    def curvature(self) -> tuple[int, ...]:
        return (0, 0)

    @property
    def pivot(self) -> tuple[float, float] | None:
        return (self.negative_slope, 1.0)

    @property
    def ulps(self) -> int:
        return 1 if self.negative_slope else 0

    def function(self, z: Tensor) -> Tensor:
        return torch.where(z > 0, z, z * self.negative_slope) if self.negative_slope else z.clamp(min=0)

    def image(self, x: Interval, rounded: bool) -> Interval:
        if self.negative_slope:
            return super().image(x, rounded)
        return Interval(self.function(x.lower), self.function(x.upper))

    def intercept(self, x: Interval, slope: Tensor, side: int, rounded: bool) -> Tensor:
        """The gap is piecewise linear: smallest at an end or, where that is inside, at the kink."""
        ends = torch.minimum(*(self._gap(slope, z, side, rounded) for z in (x.lower, x.upper)))
        return torch.where((x.lower < 0) & (x.upper > 0), ends.clamp(max=0), ends) * side

    def slopes(self, x: Interval) -> tuple[Tensor, Tensor]:
        """Upper: the chord. Lower: the steeper or the flatter piece, whichever leaves the smaller area."""
        low, high = self.function(x.lower), self.function(x.upper)
        unstable = self.undecided(x)
        chord = (high - low) / torch.where(unstable, x.upper - x.lower, 1.0)
        steep = torch.where(x.upper > -x.lower, 1.0, self.negative_slope).to(chord)
        stable = torch.where(x.lower >= 0, 1.0, self.negative_slope).to(chord)
        return torch.where(unstable, steep, stable), torch.where(unstable, chord, stable)


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


def _input(call: Call) -> str:
    return "0" if "0" in call.args else "self" if "self" in call.args else "input"


@from_torch("aten::relu")
@from_onnx("Relu")
def _relu(call: Call) -> Value:
    return call.apply(LeakyReLU(), call.ref(_input(call)))


@from_torch("aten::leaky_relu")
def _leaky(call: Call) -> Value:
    return _leaky_relu(call, call.number("negative_slope", 0.01))


@from_onnx("LeakyRelu")
def _onnx_leaky(call: Call) -> Value:
    return _leaky_relu(call, call.number("alpha", 0.01))


def _leaky_relu(call: Call, slope: float) -> Value:
    if not 0 <= slope <= 1:
        raise call.unsupported(f"a negative slope of {slope}", "use a slope in [0, 1]")
    rounded = float(torch.tensor(slope, dtype=call.dtype))
    return call.apply(LeakyReLU(rounded), call.ref(_input(call)))


@from_torch("aten::clamp", "aten::clamp_min", "aten::hardtanh")
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
    low, high = (float(torch.tensor(v, dtype=call.dtype)) for v in (low, high))
    if not low < high:
        raise call.unsupported(f"clip bounds {low} and {high} in the wrong order")
    if math.isinf(low) and math.isinf(high):
        return call.ref(_input(call))
    if abs(low) > 3e38 and abs(high) > 3e38:
        return call.ref(_input(call))
    return call.apply(Clip(low, high), call.ref(_input(call)))
