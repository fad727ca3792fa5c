"""Constants of a graph value's shape or dtype: the value itself does not enter."""

from __future__ import annotations

import torch

from bounds.ops.registry import Call, Value, from_onnx, from_torch


def _filled(call: Call, value: float) -> Value:
    """A constant in the call's own shape and dtype."""
    if call.out is None:
        raise call.unsupported("its shape is not known")
    dtype = call.get("dtype")
    return torch.full(call.out, value, dtype=dtype if isinstance(dtype, torch.dtype) else call.dtype)


@from_torch("aten::zeros_like", "aten::new_zeros", "aten::empty_like", "aten::new_empty")
def _zeros(call: Call) -> Value:
    """Zeros also where anything would do."""
    return _filled(call, 0.0)


@from_torch("aten::ones_like", "aten::new_ones")
def _ones(call: Call) -> Value:
    return _filled(call, 1.0)


@from_torch("aten::full_like", "aten::new_full")
def _full(call: Call) -> Value:
    return _filled(call, call.number("fill_value"))


@from_torch("aten::fill")
def _fill(call: Call) -> Value:
    return _filled(call, call.number("value"))


@from_torch("aten::sym_size")
def _one_size(call: Call) -> Value:
    return torch.tensor(call.full_shape(call.ref("self"))[call.integer("dim")])


@from_onnx("Size")
def _size(call: Call) -> Value:
    return torch.tensor(torch.Size(call.full_shape(call.ref("0"))).numel())
