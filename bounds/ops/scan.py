"""Cumulative sums and differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from bounds.graph import Ref
from bounds.kinds import Affine, Tensors
from bounds.linear import Shape
from bounds.ops.elementwise import difference
from bounds.ops.registry import Call, Value, from_onnx, from_torch
from bounds.ops.slicing import padded, sliced


@dataclass(frozen=True)
class CumSum(Affine):
    """The sums of all elements up to each position of one axis of the sample."""

    axis: int

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return xs[0].cumsum(self.axis + 1)

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return out[self.axis] + 2

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return out[self.axis]

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        axis = self.axis + 1
        return (rows.flip(axis).cumsum(axis).flip(axis),)


def _summed_up(call: Call, x: Ref, axis: int) -> Ref:
    return call.apply(CumSum(call.axis(axis, x)), x)


@from_torch("aten::cumsum")
def _cumsum(call: Call) -> Value:
    return _summed_up(call, call.ref("self"), call.integer("dim"))


@from_onnx("CumSum")
def _onnx_cumsum(call: Call) -> Value:
    x, axis = call.ref("0"), call.integer("1")
    backward = slice(None, None, -1)
    reverse = bool(call.integer("reverse", 0))
    x = sliced(call, x, axis, backward) if reverse else x
    y = _summed_up(call, x, axis)
    if call.integer("exclusive", 0):
        y = sliced(call, padded(call, y, {axis: (1, 0)}, 0.0), axis, slice(None, -1))
    return sliced(call, y, axis, backward) if reverse else y


@from_torch("aten::diff")
def _diff(call: Call) -> Value:
    x, axis = call.ref("self"), call.integer("dim", -1)
    if call.get("prepend") is not None or call.get("append") is not None:
        raise call.unsupported("prepend and append", "concatenate first")
    for _ in range(call.integer("n", 1)):
        x = difference(call, sliced(call, x, axis, slice(1, None)), sliced(call, x, axis, slice(None, -1)))
    return x
