"""Fully connected layers: Linear, Gemm, and MatMul with a constant on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch.nn.functional as F
from torch import Tensor

from bounds.graph import Ref
from bounds.kinds import Affine, Tensors
from bounds.linear import Patch, Shape, Unit
from bounds.ops.registry import Call, Value, as_parameter, from_onnx, from_torch
from bounds.ops.shape import Transpose


@dataclass(frozen=True)
class Linear(Affine):
    """``x @ W^T + b`` over the last axis; params: W (out, in) and optionally b (out,)."""

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return F.linear(xs[0], weights[0])

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        return F.linear(xs[0], *params)

    def weights(self, params: Tensors) -> Tensors:
        return params[:1]

    def offset(self, params: Tensors) -> Tensor | None:
        return params[1] if len(params) > 1 else None

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return int(sum(params[0].shape)) + prod(out) + 4

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return int(params[0].shape[1]) + 1

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        return (rows @ weights[0],)

    def adjoint_unit(
        self, unit: Unit, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Unit | Patch | Tensor, ...] | None:
        if len(out) != 1:
            return None
        return (weights[0][unit.index] * unit.sign[:, None],)


@from_torch("aten::linear")
def _linear(call: Call) -> Value:
    bias = call.optional("bias")
    params = (call.constant("weight"),) if bias is None else (call.constant("weight"), bias)
    return call.apply(Linear(), call.ref("input"), params=params)


@from_torch("aten::matmul", "aten::mm")
def _matmul(call: Call) -> Value:
    weight = call.constant("other" if "other" in call.args else "mat2")
    return _times_constant(call, call.ref("self"), weight)


@from_torch("aten::addmm")
def _addmm(call: Call) -> Value:
    if call.number("alpha", 1) != 1 or call.number("beta", 1) != 1:
        raise call.unsupported("alpha and beta other than 1")
    bias = call.constant("self")
    weight = call.constant("mat2")
    return call.apply(Linear(), call.ref("mat1"), params=(weight.mT, bias.expand(weight.shape[1])))


@from_onnx("MatMul")
def _onnx_matmul(call: Call) -> Value:
    if isinstance(call.args.get("0"), Tensor):
        return _constant_times(call, call.constant("0"), call.ref("1"))
    return _times_constant(call, call.ref("0"), call.constant("1"))


@from_onnx("Gemm")
def _gemm(call: Call) -> Value:
    if call.integer("transA", 0):
        raise call.unsupported("transA = 1 moves the batch axis")
    weight = call.constant("1")
    weight = weight if call.integer("transB", 0) else weight.mT
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    if alpha != 1 or (call.get("2") is not None and beta != 1):
        raise call.unsupported("alpha or beta other than 1")
    bias = call.optional("2")
    if bias is None:
        return call.apply(Linear(), call.ref("0"), params=(weight,))
    bias = as_parameter(call, bias, (weight.shape[0],)).expand(weight.shape[0])
    return call.apply(Linear(), call.ref("0"), params=(weight, bias))


def _times_constant(call: Call, x: object, weight: Tensor) -> Value:
    if weight.dim() != 2:
        raise call.unsupported(f"the constant factor has shape {tuple(weight.shape)}, not two axes")
    return call.apply(Linear(), call.ref("0" if "0" in call.args else "self"), params=(weight.mT,))


def _constant_times(call: Call, weight: Tensor, x: Ref) -> Value:
    """``W x`` over the last axis but one, or over the only axis of a sample without a batch."""
    if weight.dim() != 2 or (call.batched and len(x.shape) == 1):
        raise call.unsupported(
            f"a constant of shape {tuple(weight.shape)} on the left of a value of {x.shape}"
        )
    if len(x.shape) == 1:
        return call.apply(Linear(), x, params=(weight,))
    swap = (*range(len(x.shape) - 2), len(x.shape) - 1, len(x.shape) - 2)
    y = call.apply(Linear(), call.apply(Transpose(swap), x), params=(weight,))
    return call.apply(Transpose(swap), y)
