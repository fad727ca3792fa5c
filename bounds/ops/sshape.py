"""Odd-symmetric functions bent one way below zero and the other way above: sigmoid, tanh, erf, tan."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.ops.registry import register_function
from bounds.piecewise import Piecewise


@dataclass(frozen=True)
class SShape(Piecewise):
    """Convex below zero, concave above; f(-z) + f(z) is constant."""

    @property
    def ulps(self) -> int:
        return 4

    @property
    def floor(self) -> int:
        return 2

    @property
    def breaks(self) -> tuple[float, ...]:
        return (0.0,)

    @property
    def curvature(self) -> tuple[int, ...]:
        return (1, -1)

    @abstractmethod
    def _derivative_inverse(self, slope: Tensor) -> Tensor:
        """The point z >= 0 with f'(z) = slope, for a slope that f' takes."""

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


@dataclass(frozen=True)
class Softsign(SShape):
    """``z / (1 + |z|)``."""

    def function(self, z: Tensor) -> Tensor:
        return z / (1 + z.abs())

    def derivative(self, z: Tensor) -> Tensor:
        return (1 + z.abs()) ** -2

    def _derivative_inverse(self, slope: Tensor) -> Tensor:
        return slope.clamp(0, 1).rsqrt() - 1


@dataclass(frozen=True)
class Atan(SShape):
    """Inverse tangent."""

    def function(self, z: Tensor) -> Tensor:
        return torch.atan(z)

    def derivative(self, z: Tensor) -> Tensor:
        return 1 / (1 + z * z)

    def _derivative_inverse(self, slope: Tensor) -> Tensor:
        return (1 / slope.clamp(0, 1) - 1).sqrt()


@dataclass(frozen=True)
class Asinh(SShape):
    """Inverse hyperbolic sine."""

    def function(self, z: Tensor) -> Tensor:
        return torch.asinh(z)

    def derivative(self, z: Tensor) -> Tensor:
        return 1 / torch.hypot(z, torch.ones_like(z))

    def _derivative_inverse(self, slope: Tensor) -> Tensor:
        return (slope.clamp(0, 1) ** -2 - 1).sqrt()


@dataclass(frozen=True)
class Erf(SShape):
    """The error function."""

    def function(self, z: Tensor) -> Tensor:
        return torch.erf(z)

    def derivative(self, z: Tensor) -> Tensor:
        return torch.exp(-z * z) * (2 / math.sqrt(math.pi))

    def _derivative_inverse(self, slope: Tensor) -> Tensor:
        return (-torch.log(slope.clamp_min(0) * (math.sqrt(math.pi) / 2))).clamp_min(0).sqrt()


@dataclass(frozen=True)
class Flared(SShape):
    """Concave below zero, convex above."""

    @property
    def curvature(self) -> tuple[int, ...]:
        return (-1, 1)


@dataclass(frozen=True)
class Sinh(Flared):
    """Hyperbolic sine."""

    def function(self, z: Tensor) -> Tensor:
        return torch.sinh(z)

    def derivative(self, z: Tensor) -> Tensor:
        return torch.cosh(z)

    def _derivative_inverse(self, slope: Tensor) -> Tensor:
        return torch.acosh(slope.clamp_min(1))


@dataclass(frozen=True)
class Tanhshrink(Flared):
    """``z - tanh(z)``."""

    def function(self, z: Tensor) -> Tensor:
        return z - torch.tanh(z)

    def derivative(self, z: Tensor) -> Tensor:
        return torch.tanh(z) ** 2

    def _derivative_inverse(self, slope: Tensor) -> Tensor:
        return torch.atanh(slope.clamp(0, 1).sqrt().clamp(max=1 - torch.finfo(slope.dtype).eps))


@dataclass(frozen=True)
class Tan(Flared):
    """Tangent, bounded on intervals within (-pi/2, pi/2)."""

    def outside(self, x: Interval) -> Tensor:
        # The float pi/2 lies below pi/2.
        return (x.lower < -math.pi / 2) | (x.upper > math.pi / 2)

    def function(self, z: Tensor) -> Tensor:
        return torch.tan(z)

    def derivative(self, z: Tensor) -> Tensor:
        return 1 + torch.tan(z) ** 2

    def _derivative_inverse(self, slope: Tensor) -> Tensor:
        return torch.atan((slope - 1).clamp_min(0).sqrt())


for _op, _torch, _onnx in (
    (Sigmoid(), "sigmoid", "Sigmoid"),
    (Sigmoid(), "special_expit", None),
    (Tanh(), "tanh", "Tanh"),
    (Softsign(), None, "Softsign"),
    (Atan(), "atan", "Atan"),
    (Asinh(), "asinh", "Asinh"),
    (Erf(), "erf", "Erf"),
    (Sinh(), "sinh", "Sinh"),
    (Tan(), "tan", "Tan"),
):
    register_function(_op, _torch, _onnx)
