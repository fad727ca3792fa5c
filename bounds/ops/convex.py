"""Functions with one bend: exp, log, roots, reciprocals, powers, softplus."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.graph import Ref
from bounds.interval import Interval
from bounds.ops.registry import Call, Value, from_onnx, from_torch
from bounds.piecewise import Piecewise


@dataclass(frozen=True)
class Bent(Piecewise):
    """Convex or concave as a whole, which ``bend`` tells."""

    @property
    def ulps(self) -> int:
        return 4

    @property
    def breaks(self) -> tuple[float, ...]:
        return ()

    @property
    @abstractmethod
    def bend(self) -> int:
        """+1 convex, -1 concave."""

    @property
    def curvature(self) -> tuple[int, ...]:
        return (self.bend,)

    def slopes(self, x: Interval) -> tuple[Tensor, Tensor]:
        """The tangent at the middle, which leaves the least area, and the chord."""
        low, high = self.function(x.lower), self.function(x.upper)
        tangent = self.derivative(x.centre).nan_to_num(0, 0, 0)
        wide = x.upper > x.lower
        chord = torch.where(wide, (high - low) / torch.where(wide, x.upper - x.lower, 1.0), tangent)
        chord = chord.nan_to_num(0, 0, 0)
        return (tangent, chord) if self.bend > 0 else (chord, tangent)


@dataclass(frozen=True)
class Exp(Bent):
    """``exp(z)``."""

    @property
    def bend(self) -> int:
        return 1

    def function(self, z: Tensor) -> Tensor:
        return torch.exp(z)

    def derivative(self, z: Tensor) -> Tensor:
        return torch.exp(z)

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        return torch.log(slope.clamp_min(torch.finfo(slope.dtype).tiny))


@dataclass(frozen=True)
class Log(Bent):
    """The natural logarithm, for z > 0."""

    @property
    def bend(self) -> int:
        return -1

    @property
    def floor(self) -> int:
        return 1

    def outside(self, x: Interval) -> Tensor | None:
        return x.lower <= 0

    def function(self, z: Tensor) -> Tensor:
        return torch.log(z)

    def derivative(self, z: Tensor) -> Tensor:
        return 1 / z

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        return 1 / slope.clamp_min(torch.finfo(slope.dtype).tiny)


@dataclass(frozen=True)
class Sqrt(Bent):
    """The square root, for z >= 0."""

    @property
    def bend(self) -> int:
        return -1

    def outside(self, x: Interval) -> Tensor | None:
        return x.lower < 0

    def function(self, z: Tensor) -> Tensor:
        return torch.sqrt(z)

    def derivative(self, z: Tensor) -> Tensor:
        return 0.5 / torch.sqrt(z)

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        return 0.25 / slope.clamp_min(1e-18) ** 2


@dataclass(frozen=True)
class Rsqrt(Bent):
    """One over the square root, for z > 0."""

    @property
    def bend(self) -> int:
        return 1

    def outside(self, x: Interval) -> Tensor | None:
        return x.lower <= 0

    def function(self, z: Tensor) -> Tensor:
        return torch.rsqrt(z)

    def derivative(self, z: Tensor) -> Tensor:
        return -0.5 * torch.rsqrt(z) / z

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        return (-2 * slope).clamp_min(1e-18) ** (-2 / 3)


@dataclass(frozen=True)
class Reciprocal(Piecewise):
    """``1 / z``, for intervals without zero."""

    @property
    def ulps(self) -> int:
        return 1

    @property
    def breaks(self) -> tuple[float, ...]:
        return (0.0,)

    @property
    def curvature(self) -> tuple[int, ...]:
        return (-1, 1)

    def outside(self, x: Interval) -> Tensor | None:
        return (x.lower <= 0) & (x.upper >= 0)

    def function(self, z: Tensor) -> Tensor:
        return torch.reciprocal(z)

    def derivative(self, z: Tensor) -> Tensor:
        return -(torch.reciprocal(z) ** 2)

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        root = (-slope).clamp_min(torch.finfo(slope.dtype).tiny) ** -0.5
        return root if piece == 1 else -root


@dataclass(frozen=True)
class Power(Piecewise):
    """``z ** exponent`` for an integer exponent >= 2, or a fractional one > 0 on z >= 0."""

    exponent: float

    @property
    def ulps(self) -> int:
        return 1 if self.exponent == 2 else 8

    @property
    def _whole(self) -> bool:
        return self.exponent == int(self.exponent)

    @property
    def _even(self) -> bool:
        return self.exponent % 2 == 0

    @property
    def monotone(self) -> bool:
        return not self._even

    @property
    def breaks(self) -> tuple[float, ...]:
        return (0.0,) if self._whole else ()

    @property
    def curvature(self) -> tuple[int, ...]:
        if self._whole:
            return (1, 1) if self._even else (-1, 1)
        return (1,) if self.exponent > 1 else (-1,)

    def outside(self, x: Interval) -> Tensor | None:
        return None if self._whole else x.lower < 0

    def function(self, z: Tensor) -> Tensor:
        return z * z if self.exponent == 2 else torch.pow(z, self.exponent)

    def derivative(self, z: Tensor) -> Tensor:
        return self.exponent * torch.pow(z, self.exponent - 1)

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        negative = self._whole and piece == 0
        size = -slope if negative and self._even else slope
        tiny = torch.finfo(slope.dtype).tiny
        root = (size.clamp_min(tiny) / self.exponent) ** (1 / (self.exponent - 1))
        return -root if negative else root


@dataclass(frozen=True)
class Softplus(Bent):
    """``log(1 + exp(beta z)) / beta``, also where libraries return z for large beta z."""

    beta: float = 1.0

    @property
    def bend(self) -> int:
        return 1

    @property
    def floor(self) -> int:
        return 2

    def function(self, z: Tensor) -> Tensor:
        return torch.logaddexp(self.beta * z, torch.zeros_like(z)) / self.beta

    def derivative(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.beta * z)

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        tiny = torch.finfo(slope.dtype).tiny
        return torch.log(slope.clamp_min(tiny) / (1 - slope).clamp_min(tiny)) / self.beta


def _x(call: Call) -> str:
    return "0" if "0" in call.args else "self"


@from_torch("aten::exp")
@from_onnx("Exp")
def _exp(call: Call) -> Value:
    return call.apply(Exp(), call.ref(_x(call)))


@from_torch("aten::log")
@from_onnx("Log")
def _log(call: Call) -> Value:
    return call.apply(Log(), call.ref(_x(call)))


@from_torch("aten::sqrt")
@from_onnx("Sqrt")
def _sqrt(call: Call) -> Value:
    return call.apply(Sqrt(), call.ref(_x(call)))


@from_torch("aten::rsqrt")
def _rsqrt(call: Call) -> Value:
    return call.apply(Rsqrt(), call.ref(_x(call)))


@from_torch("aten::reciprocal")
@from_onnx("Reciprocal")
def _reciprocal(call: Call) -> Value:
    return call.apply(Reciprocal(), call.ref(_x(call)))


@from_torch("aten::softplus")
def _softplus(call: Call) -> Value:
    return call.apply(Softplus(call.number("beta", 1.0)), call.ref("self"))


@from_onnx("Softplus")
def _onnx_softplus(call: Call) -> Value:
    return call.apply(Softplus(), call.ref("0"))


@from_torch("aten::square")
def _square(call: Call) -> Value:
    return call.apply(Power(2.0), call.ref("self"))


@from_torch("aten::pow")
@from_onnx("Pow")
def _pow(call: Call) -> Value:
    exponent = call.number("1" if "1" in call.args else "exponent")
    return powered(call, call.ref(_x(call)), float(torch.tensor(exponent, dtype=call.dtype)))


def powered(call: Call, x: Ref, exponent: float) -> Value:
    """``x ** exponent``; the cases with operators of their own, and one over the others."""
    if exponent == 0:
        raise call.unsupported("a power of zero, which is a constant")
    if exponent < 0:
        if exponent == -0.5:
            return call.apply(Rsqrt(), x)
        y = powered(call, x, -exponent)
        return call.apply(Reciprocal(), y) if isinstance(y, Ref) else y
    if exponent == 1:
        return x
    return call.apply(Sqrt() if exponent == 0.5 else Power(exponent), x)
