"""S-shaped functions, convex below zero and concave above: sigmoid and tanh."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.ops.registry import Call, Value, from_onnx, from_torch
from bounds.piecewise import Piecewise


@dataclass(frozen=True)
class SShape(Piecewise):
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
