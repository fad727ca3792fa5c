"""S-shaped functions, convex below zero and concave above: sigmoid and tanh."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.kinds import Pointwise
from bounds.ops.registry import Call, Value, from_onnx, from_torch

_BISECTIONS = 24


@dataclass(frozen=True)
class SShape(Pointwise):
    """An odd-symmetric step around zero: f(-z) + f(z) is constant."""

    @property
    def ulps(self) -> int:
        return 4

    @property
    def breaks(self) -> tuple[float, ...]:
        return (0.0,)

    @property
    def curvature(self) -> tuple[int, ...]:
        return (1, -1)

    @abstractmethod
    def _derivative_inverse(self, slope: Tensor) -> Tensor:
        """The point z >= 0 with f'(z) = slope, for slope in (0, f'(0)]."""

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        point = self._derivative_inverse(slope)
        return -point if piece == 0 else point

    def slopes(self, x: Interval) -> tuple[Tensor, Tensor]:
        mirrored = Interval(-x.upper, -x.lower)
        return self._upper_slope(mirrored), self._upper_slope(x)

    def _upper_slope(self, x: Interval) -> Tensor:
        """The chord where it lies above f; else the tangent from the lower end, or at the middle if l >= 0.

        f'(u) >= chord says that f reaches u from below the chord. Zhang et al. (2018), section 3.2.
        """
        low, high = self.function(x.lower), self.function(x.upper)
        middle = self.derivative((x.lower + x.upper) / 2)
        wide = x.upper > x.lower
        chord = torch.where(wide, (high - low) / torch.where(wide, x.upper - x.lower, 1.0), middle)
        left, right = torch.zeros_like(x.upper), x.upper.clamp(min=0)
        for _ in range(_BISECTIONS):
            point = (left + right) / 2
            steep = self.derivative(point) * (point - x.lower) > self.function(point) - low
            left, right = torch.where(steep, point, left), torch.where(steep, right, point)
        tangent = torch.where(x.lower >= 0, middle, self.derivative(left))
        return torch.where(self.derivative(x.upper) >= chord, chord, tangent)


@dataclass(frozen=True)
class Sigmoid(SShape):
    """``1 / (1 + exp(-z))``."""

    def function(self, z: Tensor) -> Tensor:
        return torch.sigmoid(z)

    def derivative(self, z: Tensor) -> Tensor:
        return torch.sigmoid(z) * torch.sigmoid(-z)

    def _derivative_inverse(self, slope: Tensor) -> Tensor:
        root = (1 - 4 * slope.clamp(0, 0.25)).sqrt()
        return torch.log((1 + root) / (1 - root).clamp_min(torch.finfo(slope.dtype).tiny))


@dataclass(frozen=True)
class Tanh(SShape):
    """Hyperbolic tangent."""

    def function(self, z: Tensor) -> Tensor:
        return torch.tanh(z)

    def derivative(self, z: Tensor) -> Tensor:
        return 1 - torch.tanh(z) ** 2

    def _derivative_inverse(self, slope: Tensor) -> Tensor:
        return torch.atanh((1 - slope.clamp(0, 1)).sqrt().clamp(max=1 - torch.finfo(slope.dtype).eps))


@from_torch("aten::sigmoid")
@from_onnx("Sigmoid")
def _sigmoid(call: Call) -> Value:
    return call.apply(Sigmoid(), call.ref("0" if "0" in call.args else "self"))


@from_torch("aten::tanh")
@from_onnx("Tanh")
def _tanh(call: Call) -> Value:
    return call.apply(Tanh(), call.ref("0" if "0" in call.args else "self"))
