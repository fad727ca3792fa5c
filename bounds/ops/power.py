"""Powers with a constant exponent, such as square, square root, reciprocal, or with a constant base."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.graph import Ref
from bounds.interval import Interval
from bounds.ops.convex import Exponential
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
    base, exponent = (call.get(a, call.get(b)) for a, b in (("0", "self"), ("1", "exponent")))
    if isinstance(exponent, Ref):
        if isinstance(base, Ref):
            raise call.unsupported(
                "a base and an exponent that both depend on the input",
                "write it as exp(exponent * log(base))",
            )
        return call.apply(Exponential(_base(call, base)), exponent)
    power, x = _number(call, "exponent", exponent), unary(call)
    if power == 0 or not math.isfinite(power):
        raise call.unsupported(f"exponent {power}")
    return x if power == 1 else call.apply(Power(power), x)


def _base(call: Call, value: object) -> float:
    if "0" in call.args and isinstance(value, Tensor) and not value.is_floating_point():
        raise call.unsupported(
            "an integer base, which makes the result one", "cast the base to the model's type"
        )
    base = _number(call, "base", value)
    if not (0 < base < math.inf) or base == 1:
        raise call.unsupported(f"base {base}", "use a positive number other than 1")
    return base


def _number(call: Call, kind: str, value: object) -> float:
    """A number, or a constant tensor that holds one, as the model's execution rounds it."""
    if isinstance(value, Tensor) and value.numel() > 0:
        if not bool((value == value.flatten()[0]).all()):
            raise call.unsupported(f"{kind}s that differ from element to element", "use one for all")
        value = float(value.flatten()[0])
    if not isinstance(value, int | float):
        raise call.unsupported(f"a {kind} that is no number")
    return as_model(call, value)
