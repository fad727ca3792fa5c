"""Affine functions of single elements: add, subtract, multiply, divide by constants; sums of two branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from bounds.graph import Ref
from bounds.kinds import Affine, Tensors
from bounds.linear import Patch, Shape, Unit
from bounds.ops.registry import Call, Value, as_parameter, from_onnx, from_torch


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


@dataclass(frozen=True)
class Subtract(Shift):
    """``x - c``; params: c, broadcast over the sample's shape."""

    def offset(self, params: Tensors) -> Tensor | None:
        return -params[0]


@dataclass(frozen=True)
class Scale(Affine):
    """``x * w``; params: w, broadcast over the sample's shape."""

    elementwise: ClassVar[bool] = True

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return xs[0] * weights[0]

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return 4

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return 1

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        return (self.linear((rows,), weights),)

    def adjoint_unit(
        self, unit: Unit, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Unit | Patch | Tensor, ...] | None:
        factor = weights[0].expand(out).flatten()[unit.index]
        return (Unit(unit.index, self.linear((unit.sign,), (factor,)), unit.shape),)

    def adjoint_patch(
        self, patch: Patch, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Patch, ...] | None:
        weight = weights[0]
        if weight.dim() == 3 and weight.shape[1:] != (1, 1):
            return None
        return (Patch(self.linear((patch.data,), (weight,)), patch.top, patch.left, patch.shape),)


@dataclass(frozen=True)
class Divide(Scale):
    """``x / w``; params: w without zeros, broadcast over the sample's shape."""

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return xs[0] / weights[0]


@dataclass(frozen=True)
class Negate(Affine):
    """``-x``, exactly."""

    elementwise: ClassVar[bool] = True
    exact: ClassVar[bool] = True

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return -xs[0]

    def absolute(self, xs: Tensors, weights: Tensors) -> Tensor:
        return xs[0]

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        return (-rows,)

    def adjoint_unit(
        self, unit: Unit, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Unit | Patch | Tensor, ...] | None:
        return (Unit(unit.index, -unit.sign, unit.shape),)

    def adjoint_patch(
        self, patch: Patch, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Patch, ...] | None:
        return (Patch(-patch.data, patch.top, patch.left, patch.shape),)


@dataclass(frozen=True)
class Add(Affine):
    """The sum of two branches of one shape."""

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return xs[0] + xs[1]

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return 2

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return 1

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        return (rows, rows)

    def adjoint_unit(
        self, unit: Unit, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Unit | Patch | Tensor, ...] | None:
        return (unit, unit)

    def adjoint_patch(
        self, patch: Patch, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Patch, ...] | None:
        return (patch, patch)


def _operands(call: Call) -> tuple[object, object]:
    """The two operands; ONNX numbers them, torch calls them self and other."""
    return (call.get("0"), call.get("1")) if "0" in call.args else (call.get("self"), call.get("other"))


def _constant(call: Call, value: object, shape: Shape) -> Tensor:
    """A number or tensor operand as a parameter that broadcasts to ``shape``."""
    if isinstance(value, int | float):
        value = torch.tensor(float(value), dtype=call.dtype)
    if not isinstance(value, Tensor):
        raise call.unsupported("an operand is neither a graph value nor a constant")
    return as_parameter(call, value if value.is_floating_point() else value.to(call.dtype), shape)


def _same_shape(call: Call, a: Ref, b: Ref) -> None:
    if a.shape != b.shape:
        raise call.unsupported(f"two branches of different shapes {a.shape} and {b.shape}")


def _sum(call: Call, a: object, b: object) -> Value:
    if isinstance(a, Ref) and isinstance(b, Ref):
        _same_shape(call, a, b)
        return call.apply(Add(), a, b)
    x, c = (a, b) if isinstance(a, Ref) else (b, a)
    if not isinstance(x, Ref):
        raise call.unsupported("no operand depends on the input")
    return call.apply(Shift(), x, params=(_constant(call, c, x.shape),))


@from_torch("aten::add")
@from_onnx("Add")
def _add(call: Call) -> Value:
    if call.number("alpha", 1) != 1:
        raise call.unsupported("alpha other than 1")
    return _sum(call, *_operands(call))


@from_torch("aten::sub")
@from_onnx("Sub")
def _sub(call: Call) -> Value:
    return _difference(call, *_operands(call))


@from_torch("aten::rsub")
def _rsub(call: Call) -> Value:
    return _difference(call, call.get("other"), call.get("self"))


def _difference(call: Call, a: object, b: object) -> Value:
    if call.number("alpha", 1) != 1:
        raise call.unsupported("alpha other than 1")
    if isinstance(b, Ref):
        return _sum(call, a, call.apply(Negate(), b))
    if not isinstance(a, Ref):
        raise call.unsupported("no operand depends on the input")
    return call.apply(Subtract(), a, params=(_constant(call, b, a.shape),))


@from_torch("aten::mul")
@from_onnx("Mul")
def _mul(call: Call) -> Value:
    a, b = _operands(call)
    x, c = (a, b) if isinstance(a, Ref) else (b, a)
    if not isinstance(x, Ref) or isinstance(c, Ref):
        raise call.unsupported("a product of two graph values")
    return call.apply(Scale(), x, params=(_constant(call, c, x.shape),))


@from_torch("aten::div")
@from_onnx("Div")
def _div(call: Call) -> Value:
    x, c = _operands(call)
    if not isinstance(x, Ref) or isinstance(c, Ref):
        raise call.unsupported("a division by a graph value")
    if call.get("rounding_mode") is not None:
        raise call.unsupported("a rounding mode")
    divisor = _constant(call, c, x.shape)
    if bool((divisor == 0).any()):
        raise call.unsupported("a division by zero")
    return call.apply(Divide(), x, params=(divisor,))


@from_torch("aten::neg")
@from_onnx("Neg")
def _neg(call: Call) -> Value:
    return call.apply(Negate(), call.ref("0" if "0" in call.args else "self"))
