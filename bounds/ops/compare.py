"""Comparisons and what is built of them: conditions are graph values of 0 and 1."""

from __future__ import annotations

import torch
from torch import Tensor

from bounds.graph import Ref
from bounds.ops.elementwise import Negate, Scale, Shift, difference, meeting, operands, summed
from bounds.ops.product import multiplied
from bounds.ops.registry import Call, Value, from_onnx, from_torch, unary
from bounds.ops.stairs import Step

# Per operator: whether it asks for "greater", and whether a tie counts.
_TORCH = {"gt": (True, False), "ge": (True, True), "lt": (False, False), "le": (False, True)}
_ONNX = {
    "Greater": (True, False),
    "GreaterOrEqual": (True, True),
    "Less": (False, False),
    "LessOrEqual": (False, True),
}


@from_torch(*(f"aten::{name}" for name in _TORCH))
@from_onnx(*_ONNX)
def _compare(call: Call) -> Value:
    """A step of the difference, whose sign is exact in floating point, too."""
    greater, closed = {**_TORCH, **_ONNX}[call.operator.removeprefix("aten::")]
    a, b = operands(call)
    return call.apply(Step(closed), difference(call, a, b) if greater else difference(call, b, a))


@from_torch("aten::logical_not", "aten::bitwise_not")
@from_onnx("Not")
def _not(call: Call) -> Value:
    return _inverted(call, unary(call))


def _inverted(call: Call, condition: Ref) -> Ref:
    one = torch.ones((), dtype=call.dtype)
    return call.apply(Shift(), call.apply(Negate(), condition), params=(one,))


@from_torch("aten::logical_and", "aten::bitwise_and", "aten::__and__")
@from_onnx("And")
def _and(call: Call) -> Value:
    return _both(call, *operands(call))


@from_torch("aten::logical_or", "aten::bitwise_or", "aten::__or__")
@from_onnx("Or")
def _or(call: Call) -> Value:
    a, b = operands(call)
    if isinstance(a, Ref) and isinstance(b, Ref):
        return _inverted(call, _both(call, _inverted(call, a), _inverted(call, b)))
    raise call.unsupported("a condition joined with a constant")


def _both(call: Call, a: object, b: object) -> Ref:
    if isinstance(a, Ref) and isinstance(b, Ref):
        return multiplied(call, a, b)
    raise call.unsupported("a condition joined with a constant")


def chosen(call: Call, condition: Ref, a: object, b: object) -> Ref:
    """``a`` where a condition of the graph holds, ``b`` elsewhere: ``b + condition (a - b)``."""
    if isinstance(a, Tensor | int | float) and isinstance(b, Tensor | int | float):
        step = torch.as_tensor(a, dtype=call.dtype) - torch.as_tensor(b, dtype=call.dtype)
        return summed(call, _scaled(call, condition, step), b)
    return summed(call, multiplied(call, condition, difference(call, a, b)), b)


def _scaled(call: Call, condition: Ref, factor: Tensor) -> Ref:
    x, factor = meeting(call, condition, factor)
    return call.apply(Scale(), x, params=(factor,))
