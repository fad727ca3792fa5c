"""Inputs multiplied by a gate of themselves: GELU, SiLU, Mish, hard swish; and the hard sigmoid."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bounds.ops.elementwise import Divide, Scale, Shift
from bounds.ops.registry import Call, Value, from_onnx, from_torch, register_function, unary
from bounds.ops.relu import Clip
from bounds.ops.tabulated import Tabulated
from bounds.piecewise import Piecewise

_SQRT_2, _SQRT_2_PI = math.sqrt(2), math.sqrt(2 * math.pi)
# sqrt(2 / pi) and the cubic coefficient of the tanh form of GELU
_RATE, _CUBIC = math.sqrt(2 / math.pi), 0.044715
_FAR = 40.0  # beyond it a sigmoid of either sign is one


@dataclass(frozen=True)
class Gate(Tabulated):
    """Concave, convex around its one minimum, concave; close to zero on the left and to z on the right."""

    loose: ClassVar[int] = 1  # minimum and inflection points are no floats; f is flat or straight there

    @property
    def ulps(self) -> int:
        return 8

    @property
    def floor(self) -> int:
        return 8  # executions compute 1 + erf or 1 + tanh literally

    @property
    @abstractmethod
    def _minimum(self) -> float:
        """Where f is least, to the nearest float."""

    @property
    @abstractmethod
    def _inflections(self) -> tuple[float, float]:
        """Where it turns convex and concave again, to the nearest floats."""

    @property
    def breaks(self) -> tuple[float, ...]:
        return self._inflections

    @property
    def curvature(self) -> tuple[int, ...]:
        return (-1, 1, -1)

    @property
    def extrema(self) -> tuple[float, ...]:
        return (self._minimum,)


@dataclass(frozen=True)
class GELU(Gate):
    """``z Phi(z)``, Phi the normal distribution (Hendrycks and Gimpel 2016)."""

    reach: ClassVar[float] = 10.0
    _minimum: ClassVar[float] = -0.7517915246935645
    _inflections: ClassVar[tuple[float, float]] = (-_SQRT_2, _SQRT_2)

    def function(self, z: Tensor) -> Tensor:
        return F.gelu(z)

    def derivative(self, z: Tensor) -> Tensor:
        return 0.5 * torch.erfc(-z / _SQRT_2) + z * torch.exp(-0.5 * z * z) / _SQRT_2_PI


@dataclass(frozen=True)
class ErfGate(Gate):
    """``z (1 + erf(z / width))``, width > 0: twice GELU, written out with a float in place of sqrt 2."""

    width: float

    @property
    def reach(self) -> float:
        return 7 * self.width

    @property
    def floor(self) -> int:
        return math.ceil(16 * max(1.0, self.width))

    @property
    def _minimum(self) -> float:
        return -0.7517915246935645 / _SQRT_2 * self.width

    @property
    def _inflections(self) -> tuple[float, float]:
        return (-self.width, self.width)

    def function(self, z: Tensor) -> Tensor:
        return z * (1 + torch.erf(z / self.width))

    def derivative(self, z: Tensor) -> Tensor:
        y = z / self.width
        return torch.erfc(-y) + y * torch.exp(-y * y) * (2 / math.sqrt(math.pi))


@dataclass(frozen=True)
class TanhGELU(Gate):
    """``z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) / 2``."""

    reach: ClassVar[float] = 10.0
    _minimum: ClassVar[float] = -0.7524614220710163
    _inflections: ClassVar[tuple[float, float]] = (-1.4185040087908283, 1.4185040087908283)

    def function(self, z: Tensor) -> Tensor:
        return F.gelu(z, approximate="tanh")

    def derivative(self, z: Tensor) -> Tensor:
        near = z.clamp(-_FAR, _FAR)
        inner = _RATE * near * (1 + _CUBIC * near * near)
        rate = _RATE * (1 + 3 * _CUBIC * near * near)
        return torch.sigmoid(2 * inner) + 0.5 * near * rate / torch.cosh(inner) ** 2


@dataclass(frozen=True)
class SiLU(Gate):
    """``z sigmoid(z)``, also called swish."""

    reach: ClassVar[float] = _FAR
    _minimum: ClassVar[float] = -1.2784645427610738
    _inflections: ClassVar[tuple[float, float]] = (-2.3993572805154677, 2.3993572805154677)

    def function(self, z: Tensor) -> Tensor:
        return F.silu(z)

    def derivative(self, z: Tensor) -> Tensor:
        return torch.sigmoid(z) * (1 + z * torch.sigmoid(-z))


@dataclass(frozen=True)
class Mish(Gate):
    """``z tanh(softplus(z))`` (Misra 2020)."""

    reach: ClassVar[float] = _FAR
    _minimum: ClassVar[float] = -1.1924312145154955
    _inflections: ClassVar[tuple[float, float]] = (-2.2563763963607931, 1.4905711794854285)

    def function(self, z: Tensor) -> Tensor:
        return F.mish(z)

    def derivative(self, z: Tensor) -> Tensor:
        near = z.clamp(max=_FAR)
        e = torch.exp(near)
        n = e * (e + 2)  # tanh(softplus(z)) = n / (n + 2), its square 1 - 4 (n + 1) / (n + 2)^2
        return n / (n + 2) + near * torch.sigmoid(near) * (4 * (n + 1) / (n + 2) / (n + 2))


@dataclass(frozen=True)
class HardSwish(Piecewise):
    """``z min(max(z + 3, 0), 6) / 6``."""

    @property
    def ulps(self) -> int:
        return 4

    @property
    def breaks(self) -> tuple[float, ...]:
        return (-3.0, 3.0)

    @property
    def curvature(self) -> tuple[int, ...]:
        return (0, 1, 0)

    @property
    def extrema(self) -> tuple[float, ...]:
        return (-1.5,)

    def function(self, z: Tensor) -> Tensor:
        return z * (z + 3).clamp(0, 6) / 6

    def derivative(self, z: Tensor) -> Tensor:
        return (2 * z + 3) / 6

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        return 3 * slope - 1.5


for _op, _torch, _onnx in (
    (SiLU(), "silu", None),
    (Mish(), "mish", "Mish"),
    (HardSwish(), "hardswish", "HardSwish"),
):
    register_function(_op, _torch, _onnx)


@from_torch("aten::gelu")
@from_onnx("Gelu")
def _gelu(call: Call) -> Value:
    approximate = call.get("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise call.unsupported(f"approximate={approximate!r}")
    return call.apply(GELU() if approximate == "none" else TanhGELU(), unary(call))


@from_torch("aten::hardsigmoid")
def _hardsigmoid(call: Call) -> Value:
    """``relu6(x + 3) / 6`` of the parts it is defined by."""
    three, six = (torch.tensor(v, dtype=call.dtype) for v in (3.0, 6.0))
    shifted = call.apply(Shift(), unary(call), params=(three,))
    return call.apply(Divide(), call.apply(Clip(0.0, 6.0), shifted), params=(six,))


@from_onnx("HardSigmoid")
def _onnx_hardsigmoid(call: Call) -> Value:
    slope, shift = (
        torch.tensor(call.number(k, v), dtype=call.dtype) for k, v in (("alpha", 0.2), ("beta", 0.5))
    )
    scaled = call.apply(Scale(), unary(call), params=(slope,))
    return call.apply(Clip(0.0, 1.0), call.apply(Shift(), scaled, params=(shift,)))
