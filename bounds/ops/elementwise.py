"""Affine functions of single elements: add, subtract, multiply, divide by constants; sums of two branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from torch import Tensor

from bounds.kinds import Affine, Tensors
from bounds.linear import Coefficients, Patch, Shape, Unit
from bounds.ops.registry import Call, Value, as_parameter, from_onnx, from_torch
from bounds.graph import Ref


@dataclass(frozen=True)
class Shift(Affine):
    """``x + c``; params: c, broadcast over the sample's shape."""

    elementwise: ClassVar[bool] = True

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return xs[0]

    def weights(self, params: Tensors) -> Tensors:
        return ()

    def offset(self, params: Tensors) -> Tensor | None:
        return params[0]

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return prod(out) + 4

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return 2

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        return (rows,)

    def adjoint_unit(
        self, unit: Unit, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Unit | Patch | Tensor, ...] | None:
        return (unit,)

    def adjoint_patch(
        self, patch: Patch, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Patch, ...] | None:
        return (patch,)
