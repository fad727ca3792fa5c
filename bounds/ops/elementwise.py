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
from bounds.ops.excluded import excluded
from bounds.ops.gather import common_shape, expanded
from bounds.ops.power import Power
from bounds.ops.product import multiplied
from bounds.ops.registry import Call, Value, as_parameter, from_onnx, from_torch


@dataclass(frozen=True)
class Shift(Affine):
    """``x + c``; params: c, broadcast over the sample's shape."""

    elementwise: ClassVar[bool] = True
    rising: ClassVar[bool] = True

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return xs[0]

    def weights(self, params: Tensors) -> Tensors:
        return ()

    def offset(self, params: Tensors) -> Tensor | None:
        return params[0]

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return prod(out) + 4

    def fan_out(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return 0

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
        if weight.numel() > 1 and (weight.dim() < 3 or weight.shape[1:] != (1, 1)):
            weight = windows(patch, weight)
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

    def absolute(self, xs: Tensors, magnitudes: Tensors) -> Tensor:
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

    rising: ClassVar[bool] = True
    fresh: ClassVar[bool] = True

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


def windows(patch: Patch, image: Tensor) -> Tensor:
    """A tensor that broadcasts to the image, cut out as the windows are; one beyond the edge."""
    whole = image.expand(1, *patch.shape)
    first = torch.zeros_like(patch.top)
    inside = patch.gather(torch.ones_like(whole[:, :1]), first)
    return torch.where(inside > 0, patch.gather(whole, first), 1.0)


def operands(call: Call) -> tuple[object, object]:
    """The two operands; ONNX numbers them, torch calls them self and other."""
    return (call.get("0"), call.get("1")) if "0" in call.args else (call.get("self"), call.get("other"))


def meeting(call: Call, x: Ref, value: object) -> tuple[Ref, Tensor]:
    """A graph value and a number or constant tensor, both ready to broadcast to the shape of the former."""
    if isinstance(value, int | float):
        value = torch.tensor(float(value), dtype=call.dtype)
    if not isinstance(value, Tensor):
        raise call.unsupported("an operand is neither a graph value nor a constant")
    full = call.full_shape(x)
    if call.batched and value.dim() == len(full) and value.shape[0] != 1:
        raise call.unsupported(f"a constant of shape {tuple(value.shape)} holds a batch axis larger than one")
    x = expanded(call, x, common_shape(call, full, value.shape))
    value = value if value.is_floating_point() else value.to(call.dtype)
    return x, as_parameter(call, value, x.shape)


def scaled(call: Call, x: Ref, factor: float) -> Ref:
    """``factor * x``, the factor rounded to the model's dtype."""
    if factor == 1:
        return x
    if factor == -1:
        return call.apply(Negate(), x)
    return call.apply(Scale(), x, params=(torch.tensor(factor, dtype=call.dtype),))


def _folded(call: Call, c: object, factor: float) -> object:
    """``factor * c`` of a constant in float64, where the product of two float32 is exact."""
    if factor == 1:
        return c
    wide = torch.tensor(factor, dtype=call.dtype).double()
    if isinstance(c, int | float):
        c = torch.tensor(float(c), dtype=call.dtype)
    return c.double() * wide if isinstance(c, Tensor) else c


def summed(call: Call, a: object, b: object, factor: float = 1.0) -> Ref:
    """``a + factor * b`` of graph values and constants that may broadcast against each other."""
    if isinstance(a, Ref) and isinstance(b, Ref):
        shape = common_shape(call, call.full_shape(a), call.full_shape(b))
        b = scaled(call, b, factor)
        return call.apply(Add(), expanded(call, a, shape), expanded(call, b, shape))
    if isinstance(b, Ref):
        b, a = meeting(call, scaled(call, b, factor), a)
        return _shifted(call, b, a)
    if not isinstance(a, Ref):
        raise call.unsupported("no operand depends on the input")
    return _shifted(call, *meeting(call, a, _folded(call, b, factor)))


def _shifted(call: Call, x: Ref, c: Tensor) -> Ref:
    """``x + c``, where minus infinity in c is a mask."""
    held = c != -torch.inf
    if bool(held.all()):
        return call.apply(Shift(), x, params=(c,))
    finite = c.masked_fill(~held, 0.0)
    return excluded(call, call.apply(Shift(), x, params=(finite,)) if bool(finite.any()) else x, held)


@from_torch("aten::add")
@from_onnx("Add")
def _add(call: Call) -> Value:
    return summed(call, *operands(call), call.number("alpha", 1))


@from_onnx("Sum", "Mean")
def _total(call: Call) -> Value:
    """The sum or mean of any number of graph values and constants."""
    total, *others = (value for key, value in call.args.items() if key.isdigit())
    for other in others:
        if isinstance(total, Tensor) and isinstance(other, Tensor):
            total = total + other
        else:
            total = summed(call, total, other)
    if not isinstance(total, Ref):
        raise call.unsupported("no operand depends on the input")
    if call.operator == "Sum" or not others:
        return total
    return call.apply(Divide(), total, params=(torch.tensor(len(others) + 1.0, dtype=call.dtype),))


@from_torch("aten::addcmul", "aten::addcdiv")
def _addcmul(call: Call) -> Value:
    """``self + value * a * b`` or ``self + value * a / b`` where at most one factor depends on the input."""
    a, b, divide = call.get("tensor1"), call.get("tensor2"), call.operator == "aten::addcdiv"
    a, b = (b, a) if isinstance(b, Ref) and not divide else (a, b)
    if isinstance(b, Ref):
        raise call.unsupported("a product or quotient of graph values")
    if isinstance(a, Ref):
        x, c = meeting(call, a, b)
        if divide and bool((c == 0).any()):
            raise call.unsupported("a division by zero")
        product: object = call.apply(Divide() if divide else Scale(), x, params=(c,))
    elif isinstance(a, Tensor) and isinstance(b, Tensor):
        # In float64, where the product of two float32 is exact.
        product = a.double() / b.double() if divide else a.double() * b.double()
    else:
        raise call.unsupported("an operand is neither a graph value nor a constant")
    return summed(call, call.get("self"), product, call.number("value", 1))


@from_torch("aten::lerp")
def _lerp(call: Call) -> Value:
    """``self + weight * (end - self)`` with a constant weight."""
    start, end, weight = call.get("self"), call.get("end"), call.get("weight")
    step = difference(call, end, start)
    x, factor = meeting(call, step, weight)
    return summed(call, start, call.apply(Scale(), x, params=(factor,)))


@from_torch("aten::sub", "aten::subtract")
@from_onnx("Sub")
def _sub(call: Call) -> Value:
    return difference(call, *operands(call), call.number("alpha", 1))


@from_torch("aten::rsub")
def _rsub(call: Call) -> Value:
    return difference(call, call.get("other"), call.get("self"), call.number("alpha", 1))


def difference(call: Call, a: object, b: object, factor: float = 1.0) -> Ref:
    """``a - factor * b`` of graph values and constants that may broadcast against each other."""
    if isinstance(b, Ref):
        return summed(call, a, call.apply(Negate(), scaled(call, b, factor)))
    if not isinstance(a, Ref):
        raise call.unsupported("no operand depends on the input")
    a, b = meeting(call, a, _folded(call, b, factor))
    return call.apply(Subtract(), a, params=(b,))


@from_torch("aten::mul", "aten::multiply")
@from_onnx("Mul")
def _mul(call: Call) -> Value:
    return times(call, *operands(call))


def times(call: Call, a: object, b: object) -> Ref:
    """``a * b`` of graph values and constants that may broadcast against each other."""
    if isinstance(a, Ref) and isinstance(b, Ref):
        return multiplied(call, a, b)
    x, c = (a, b) if isinstance(a, Ref) else (b, a)
    if not isinstance(x, Ref):
        raise call.unsupported("no operand depends on the input")
    x, c = meeting(call, x, c)
    return call.apply(Scale(), x, params=(c,))


@from_torch("aten::div", "aten::divide", "aten::true_divide")
@from_onnx("Div")
def _div(call: Call) -> Value:
    x, c = operands(call)
    if call.get("rounding_mode") is not None:
        raise call.unsupported("a rounding mode")
    if isinstance(c, Ref):
        inverse = call.apply(Power(-1.0), c)
        if isinstance(x, Ref):
            return multiplied(call, x, inverse)
        inverse, numerator = meeting(call, inverse, x)
        return call.apply(Scale(), inverse, params=(numerator,))
    if not isinstance(x, Ref):
        raise call.unsupported("no operand depends on the input")
    x, divisor = meeting(call, x, c)
    if bool((divisor == 0).any()):
        raise call.unsupported("a division by zero")
    return call.apply(Divide(), x, params=(divisor,))


@from_torch("aten::neg", "aten::negative")
@from_onnx("Neg")
def _neg(call: Call) -> Value:
    return call.apply(Negate(), call.ref("0" if "0" in call.args else "self"))
