"""Functions made of one exponential or logarithm: exp and log families, ELU, CELU, softplus, cosh."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.ops.registry import Call, Value, as_model, from_onnx, from_torch, register_function, unary
from bounds.piecewise import Piecewise
from bounds.rounding import U64


@dataclass(frozen=True)
class Bent(Piecewise):
    """Convex or concave as a whole, with a derivative everywhere that it is defined."""

    @property
    def ulps(self) -> int:
        return 4

    @property
    def breaks(self) -> tuple[float, ...]:
        return ()

    @property
    def curvature(self) -> tuple[int, ...]:
        return (1,)


@dataclass(frozen=True)
class Exp(Bent):
    """``exp(z)``."""

    def function(self, z: Tensor) -> Tensor:
        return torch.exp(z)

    def derivative(self, z: Tensor) -> Tensor:
        return torch.exp(z)

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        return torch.log(slope)


@dataclass(frozen=True)
class Expm1(Bent):
    """``exp(z) - 1``."""

    def function(self, z: Tensor) -> Tensor:
        return torch.expm1(z)

    def derivative(self, z: Tensor) -> Tensor:
        return torch.exp(z)

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        return torch.log(slope)


@dataclass(frozen=True)
class Exp2(Bent):
    """Two to the power of z."""

    def function(self, z: Tensor) -> Tensor:
        return torch.exp2(z)

    def derivative(self, z: Tensor) -> Tensor:
        return torch.exp2(z) * math.log(2)

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        return torch.log2(slope / math.log(2))


@dataclass(frozen=True)
class Exponential(Bent):
    """``base ** z`` for a base > 0 other than 1."""

    base: float

    @property
    def ulps(self) -> int:
        """float32 rounds some bases by u and so powers by z u, where |z rate| < 104 unless they overflow."""
        rounds = float(torch.tensor(self.base, dtype=torch.float32)) != self.base
        return 4 + (math.ceil(54 / abs(self._rate)) if rounds else 0)

    @property
    def _rate(self) -> float:
        return math.log(self.base)

    def function(self, z: Tensor) -> Tensor:
        return torch.pow(self.base, z)

    def derivative(self, z: Tensor) -> Tensor:
        return torch.pow(self.base, z) * self._rate

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        return torch.log(slope / self._rate) / self._rate


@dataclass(frozen=True)
class Cosh(Bent):
    """Hyperbolic cosine."""

    @property
    def extrema(self) -> tuple[float, ...]:
        return (0.0,)

    def function(self, z: Tensor) -> Tensor:
        return torch.cosh(z)

    def derivative(self, z: Tensor) -> Tensor:
        return torch.sinh(z)

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        return torch.asinh(slope)


@dataclass(frozen=True)
class Log(Bent):
    """Natural logarithm, on z > 0."""

    @property
    def curvature(self) -> tuple[int, ...]:
        return (-1,)

    def outside(self, x: Interval) -> Tensor | None:
        return ~(x.lower > 0)

    def function(self, z: Tensor) -> Tensor:
        return torch.log(z)

    def derivative(self, z: Tensor) -> Tensor:
        return 1 / z

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        return 1 / slope.clamp_min(0)


@dataclass(frozen=True)
class Log2(Log):
    """Logarithm to the base of two, on z > 0."""

    def function(self, z: Tensor) -> Tensor:
        return torch.log2(z)

    def derivative(self, z: Tensor) -> Tensor:
        return 1 / (z * math.log(2))

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        return 1 / (slope.clamp_min(0) * math.log(2))


@dataclass(frozen=True)
class Log1p(Log):
    """``log(1 + z)``, on z > -1."""

    def outside(self, x: Interval) -> Tensor | None:
        return ~(x.lower > -1)

    def function(self, z: Tensor) -> Tensor:
        return torch.log1p(z)

    def derivative(self, z: Tensor) -> Tensor:
        return 1 / (1 + z)

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        return 1 / slope.clamp_min(0) - 1


@dataclass(frozen=True)
class LogSigmoid(Bent):
    """``log(1 / (1 + exp(-z)))``."""

    @property
    def floor(self) -> int:
        return 1

    @property
    def curvature(self) -> tuple[int, ...]:
        return (-1,)

    def function(self, z: Tensor) -> Tensor:
        return z.clamp(max=0) - torch.log1p(torch.exp(-z.abs()))

    def derivative(self, z: Tensor) -> Tensor:
        return torch.sigmoid(-z)

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        return -torch.logit(slope.clamp(0, 1))


@dataclass(frozen=True)
class ELU(Piecewise):
    """``scale * z`` where z > 0, ``scale * alpha * (exp(z / rate) - 1)`` elsewhere; all three positive.

    ELU (Clevert et al. 2016); with a scale SELU (Klambauer et al. 2017); with rate = alpha CELU (Barron
    2017).
    """

    alpha: float = 1.0
    scale: float = 1.0
    rate: float = 1.0

    @property
    def ulps(self) -> int:
        return 6

    @property
    def floor(self) -> int:
        return math.ceil(2 * self.alpha * self.scale)  # executions may compute exp(z) - 1 literally

    @property
    def breaks(self) -> tuple[float, ...]:
        return (0.0,)

    @property
    def curvature(self) -> tuple[int, ...]:
        return (1, 0)

    @property
    def whole(self) -> int:
        return 1 if self.alpha <= self.rate else 0

    def function(self, z: Tensor) -> Tensor:
        below = torch.expm1(z.clamp(max=0) / self.rate) * (self.scale * self.alpha)
        return torch.where(z > 0, z * self.scale, below)

    def derivative(self, z: Tensor) -> Tensor:
        # On the linear piece only a tangent for the lower line asks for it.
        below = torch.exp(z.clamp(max=0) / self.rate) * (self.scale * self.alpha / self.rate)
        return torch.where(z > 0, self.scale, below)

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        return torch.log(slope * (self.rate / (self.scale * self.alpha))) * self.rate


@dataclass(frozen=True)
class Softplus(Piecewise):
    """``log(1 + exp(beta z)) / beta``, but z itself where ``beta z > threshold``; beta > 0.

    The second formula is part of the function as networks are run: there it drops by exp(-threshold) / beta.
    """

    beta: float = 1.0
    threshold: float = math.inf

    @property
    def ulps(self) -> int:
        return 6

    @property
    def floor(self) -> int:
        return math.ceil(2 / self.beta)

    @property
    def breaks(self) -> tuple[float, ...]:
        return (self.threshold / self.beta,) if math.isfinite(self.threshold) else ()

    @property
    def curvature(self) -> tuple[int, ...]:
        return (1, 0) if math.isfinite(self.threshold) else (1,)

    def function(self, z: Tensor) -> Tensor:
        scaled = z * self.beta
        smooth = (scaled.clamp(min=0) + torch.log1p(torch.exp(-scaled.abs()))) / self.beta
        return torch.where(scaled > self.threshold, z, smooth)

    def derivative(self, z: Tensor) -> Tensor:
        return torch.sigmoid(z * self.beta)

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        return torch.logit(slope.clamp(0, 1)) / self.beta

    def image(self, x: Interval, rounded: bool) -> Interval:
        y = super().image(x, rounded)
        across, below, above = self._jump(x)
        lower = torch.where(across, torch.minimum(y.lower, above - self.error(above, U64)), y.lower)
        upper = torch.where(across, torch.maximum(y.upper, below + self.error(below, U64)), y.upper)
        return Interval(lower, upper)

    def intercept(self, x: Interval, slope: Tensor, side: int, rounded: bool) -> Tensor:
        best = super().intercept(x, slope, side, rounded) * side
        across, *limits = self._jump(x)
        for f in limits if self.breaks else ():
            at = torch.full_like(f, self.breaks[0])
            gap = self.gap(slope, at, f, side, rounded)
            best = torch.where(across, torch.minimum(best, gap), best)
        return best * side

    def steep(self, x: Interval) -> Tensor | None:
        return self._jump(x)[0] if self.breaks else None

    def _jump(self, x: Interval) -> tuple[Tensor, Tensor, Tensor]:
        """Where f may jump inside the interval, and its limits from the left and from the right."""
        at = torch.full_like(x.lower, self.breaks[0] if self.breaks else math.inf)
        across = (x.lower <= at * (1 + 2.0**-50)) & (x.upper >= at * (1 - 2.0**-50)) & at.isfinite()
        return across, at + math.log1p(math.exp(-self.threshold)) / self.beta, at


for _op, _torch, _onnx in (
    (Exp(), "exp", "Exp"),
    (Expm1(), "expm1", None),
    (Exp2(), "exp2", None),
    (Cosh(), "cosh", "Cosh"),
    (Log(), "log", "Log"),
    (Log2(), "log2", None),
    (Log1p(), "log1p", None),
    (LogSigmoid(), "log_sigmoid", None),
    (Softplus(), None, "Softplus"),
):
    register_function(_op, _torch, _onnx)


@from_torch("aten::softplus")
def _softplus(call: Call) -> Value:
    beta, threshold = as_model(call, call.number("beta", 1)), as_model(call, call.number("threshold", 20))
    if not beta > 0:
        raise call.unsupported(f"beta {beta}", "use a positive one")
    return call.apply(Softplus(beta, threshold), unary(call))


@from_torch("aten::elu")
def _elu(call: Call) -> Value:
    return _bent(call, call.number("alpha", 1), call.number("scale", 1), 1 / call.number("input_scale", 1))


@from_onnx("Elu")
def _onnx_elu(call: Call) -> Value:
    return _bent(call, call.number("alpha", 1), 1.0, 1.0)


@from_torch("aten::celu")
@from_onnx("Celu")
def _celu(call: Call) -> Value:
    alpha = call.number("alpha", 1)
    return _bent(call, alpha, 1.0, alpha)


@from_torch("aten::selu")
@from_onnx("Selu")
def _selu(call: Call) -> Value:
    alpha, gamma = call.number("alpha", 1.6732632423543772), call.number("gamma", 1.0507009873554805)
    return _bent(call, alpha, gamma, 1.0)


def _bent(call: Call, alpha: float, scale: float, rate: float) -> Value:
    alpha, scale, rate = (as_model(call, v) for v in (alpha, scale, rate))
    if not (alpha > 0 and scale > 0 and rate > 0):
        raise call.unsupported(f"alpha {alpha}, scale {scale}, rate {rate}", "use positive ones")
    return call.apply(ELU(alpha, scale, rate), unary(call))
