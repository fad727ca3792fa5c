"""Selection by constant masks: where, masked fill, triangles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bounds.graph import Ref
from bounds.kinds import Affine, Tensors
from bounds.linear import Patch, Shape, Unit
from bounds.ops.compare import chosen
from bounds.ops.elementwise import Shift, windows
from bounds.ops.excluded import excluded
from bounds.ops.gather import common_shape, expanded
from bounds.ops.registry import Call, Value, as_parameter, from_onnx, from_torch


@dataclass(frozen=True)
class Keep(Affine):
    """The sample where the mask is not zero, and zero elsewhere; params: mask, broadcast over the sample."""

    elementwise: ClassVar[bool] = True
    exact: ClassVar[bool] = True
    rising: ClassVar[bool] = True

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return torch.where(weights[0] != 0, xs[0], 0.0)

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        return (self.linear((rows,), weights),)

    def adjoint_unit(
        self, unit: Unit, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Unit | Patch | Tensor, ...] | None:
        mask = weights[0].expand(out).flatten()[unit.index]
        return (Unit(unit.index, self.linear((unit.sign,), (mask,)), unit.shape),)

    def adjoint_patch(
        self, patch: Patch, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Patch, ...] | None:
        data = self.linear((patch.data,), (windows(patch, weights[0]),))
        return (Patch(data, patch.top, patch.left, patch.shape),)


@dataclass(frozen=True)
class Select(Affine):
    """The first input where the mask is not zero, the second elsewhere; params: mask, broadcast."""

    exact: ClassVar[bool] = True
    rising: ClassVar[bool] = True

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return torch.where(weights[0] != 0, xs[0], xs[1])

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        mask = weights[0] != 0
        return torch.where(mask, rows, 0.0), torch.where(mask, 0.0, rows)

    def adjoint_unit(
        self, unit: Unit, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Unit | Patch | Tensor, ...] | None:
        mask = weights[0].expand(out).flatten()[unit.index] != 0
        return tuple(Unit(unit.index, unit.sign * m, unit.shape) for m in (mask, ~mask))

    def adjoint_patch(
        self, patch: Patch, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Patch, ...] | None:
        mask = windows(patch, weights[0]) != 0
        return tuple(
            Patch(torch.where(m, patch.data, 0.0), patch.top, patch.left, patch.shape) for m in (mask, ~mask)
        )


def selected_by(call: Call, mask: object, a: object, b: object) -> Value:
    """``a`` where the mask holds, ``b`` elsewhere; all are graph values, constants or numbers."""
    if isinstance(mask, Ref):
        return chosen(call, mask, a, b)
    if not isinstance(mask, Tensor):
        raise call.unsupported("a condition that is neither a graph value nor a constant")
    a, b = (torch.tensor(v, dtype=call.dtype) if isinstance(v, int | float) else v for v in (a, b))
    shape = common_shape(call, *(_full(call, v) for v in (mask, a, b)))
    held = as_parameter(call, (mask != 0).to(call.dtype), shape)
    if isinstance(a, Ref) and isinstance(b, Ref):
        return call.apply(Select(), expanded(call, a, shape), expanded(call, b, shape), params=(held,))
    if isinstance(a, Ref):
        return _filled(call, expanded(call, a, shape), held, b)
    if isinstance(b, Ref):
        return _filled(call, expanded(call, b, shape), 1 - held, a)
    raise call.unsupported("no operand depends on the input")


def _full(call: Call, value: object) -> Shape:
    if isinstance(value, Ref):
        return call.full_shape(value)
    if isinstance(value, Tensor):
        return tuple(value.shape)
    raise call.unsupported("an operand is neither a graph value nor a constant")


def _filled(call: Call, x: Ref, held: Tensor, other: object) -> Ref:
    """x where ``held`` is one, a constant elsewhere."""
    if not isinstance(other, Tensor):
        raise call.unsupported("an operand is neither a graph value nor a constant")
    constant = as_parameter(call, other.to(call.dtype), x.shape)
    fill = torch.where(held != 0, 0.0, constant.detach())
    banned = fill == -torch.inf
    fill = fill.masked_fill(banned, 0.0)
    if not bool(fill.isfinite().all()):
        raise call.unsupported("a mask that fills with infinity or NaN", "fill with a finite number")
    y = x if bool(((held != 0) | banned).all()) else call.apply(Keep(), x, params=(held,))
    y = call.apply(Shift(), y, params=(fill,)) if bool(fill.any()) else y
    return excluded(call, y, ~banned) if bool(banned.any()) else y


@from_torch("aten::where")
def _where(call: Call) -> Value:
    return selected_by(call, call.get("condition"), call.get("self"), call.get("other"))


@from_onnx("Where")
def _onnx_where(call: Call) -> Value:
    return selected_by(call, call.get("0"), call.get("1"), call.get("2"))


@from_torch("aten::masked_fill")
def _masked_fill(call: Call) -> Value:
    return selected_by(call, call.get("mask"), call.get("value"), call.get("self"))


@from_torch("aten::tril", "aten::triu")
def _triangle(call: Call) -> Value:
    return _one_side(call, call.ref("self"), call.operator == "aten::triu", call.integer("diagonal", 0))


@from_onnx("Trilu")
def _trilu(call: Call) -> Value:
    return _one_side(call, call.ref("0"), bool(call.integer("upper", 1)), call.integer("1", 0))


def _one_side(call: Call, x: Ref, upper: bool, diagonal: int) -> Value:
    if len(x.shape) < 2:
        raise call.unsupported("a triangle that the batch axis is part of")
    ones = torch.ones(x.shape[-2:])
    return selected_by(call, ones.triu(diagonal) if upper else ones.tril(diagonal), x, 0.0)
