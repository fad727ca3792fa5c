"""Powers with a constant exponent: square, square root, reciprocal and all others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.graph import Ref
from bounds.interval import Interval
from bounds.ops.registry import Call, Value, as_model, from_onnx, from_torch, register_function, unary
from bounds.piecewise import Piecewise

_ROOTS = {0.5: torch.sqrt, -0.5: torch.rsqrt, -1.0: torch.reciprocal, 2.0: torch.square}


@dataclass(frozen=True)
class Power(Piecewise):
    """``z ** exponent`` for an exponent other than 0 and 1.

    Defined on z >= 0 where the exponent is fractional, and off zero where it is negative.
    """

    exponent: float

    @property
    def ulps(self) -> int:
        return 4

    @property
    def floor(self) -> int:
        return 1 if self.exponent < -1 else 0  # executions that invert a power lose it where it overflows

    @property
    def _integer(self) -> bool:
        return self.exponent == math.floor(self.exponent)

    @property
    def _even(self) -> bool:
        return self._integer and self.exponent % 2 == 0

    @property
    def _round(self) -> bool:
        """Whether it is convex as a whole, with its minimum at zero."""
        return self._even and self.exponent > 0

    @property
    def breaks(self) -> tuple[float, ...]:
        return (0.0,) if self._integer and not self._round else ()

    @property
    def extrema(self) -> tuple[float, ...]:
        return (0.0,) if self._round else ()

    @property
    def curvature(self) -> tuple[int, ...]:
        above = -1 if 0 < self.exponent < 1 else 1
        return (above if self._even else -above, above) if self.breaks else (above,)

    def outside(self, x: Interval) -> Tensor | None:
        if self._integer:
            return None if self.exponent > 0 else ~((x.lower > 0) | (x.upper < 0))
        return ~(x.lower >= 0) if self.exponent > 0 else ~(x.lower > 0)

    def function(self, z: Tensor) -> Tensor:
        known = _ROOTS.get(self.exponent)
        return torch.pow(z, self.exponent) if known is None else known(z)

    def derivative(self, z: Tensor) -> Tensor:
        return self.exponent * torch.pow(z, self.exponent - 1)

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        root = 1 / (self.exponent - 1)
        if self._round:
            return torch.copysign((slope / self.exponent).abs() ** root, slope)
        left = self._integer and piece == 0
        mirror = -1 if left and self._even else 1
        size = (slope * (mirror / self.exponent)).clamp_min(0) ** root
        return -size if left else size


for _exponent, _torch, _onnx in (
    (0.5, "sqrt", "Sqrt"),
    (-0.5, "rsqrt", None),
    (-1.0, "reciprocal", "Reciprocal"),
    (2.0, "square", None),
):
    register_function(Power(_exponent), _torch, _onnx)


@from_torch("aten::pow")
@from_onnx("Pow")
def _pow(call: Call) -> Value:
    exponent = call.get("1") if "1" in call.args else call.get("exponent")
    if isinstance(exponent, Ref):
        raise call.unsupported(
            "an exponent that depends on the input", "write it as exp(exponent * log(base))"
        )
    if isinstance(exponent, Tensor) and exponent.numel() > 0:
        if not bool((exponent == exponent.flatten()[0]).all()):
            raise call.unsupported("exponents that differ from element to element", "use one for all")
        exponent = float(exponent.flatten()[0])
    if not isinstance(exponent, int | float):
        raise call.unsupported("an exponent that is no number")
    power, x = as_model(call, exponent), unary(call)
    if power == 0 or not math.isfinite(power):
        raise call.unsupported(f"exponent {power}")
    return x if power == 1 else call.apply(Power(power), x)
