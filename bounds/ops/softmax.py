"""Softmax, log-softmax and log-sum-exp, out of differences: narrow where the logits move together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from bounds.graph import Builder, Ref
from bounds.interval import Interval
from bounds.kinds import Affine, Composite, Tensors
from bounds.linear import Shape
from bounds.ops.centre import Centre, mean
from bounds.ops.convex import Exp, Log
from bounds.ops.elementwise import Add, Negate
from bounds.ops.excluded import included
from bounds.ops.pool import Sum
from bounds.ops.power import Power
from bounds.ops.registry import Call, Value, from_onnx, from_torch
from bounds.ops.select import Keep
from bounds.ops.shape import Reshape, reshaped
from bounds.rounding import U64, gamma


@dataclass(frozen=True)
class Differences(Affine):
    """``x_j - x_i`` for all pairs of positions of one axis, which becomes the two axes (i, j)."""

    axis: int

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return xs[0].unsqueeze(self.axis + 1) - xs[0].unsqueeze(self.axis + 2)

    def absolute(self, xs: Tensors, magnitudes: Tensors) -> Tensor:
        return self._between_others(xs[0].unsqueeze(self.axis + 1) + xs[0].unsqueeze(self.axis + 2))

    def _between_others(self, pairs: Tensor) -> Tensor:
        """Zero where a position meets itself, also on the way back, where large rows would cancel in sums."""
        n, after = pairs.shape[self.axis + 1], pairs.dim() - self.axis - 3
        same = torch.eye(n, dtype=torch.bool, device=pairs.device).view(n, n, *[1] * after)
        return torch.where(same, 0.0, pairs)

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return 2 * ins[0][self.axis] + 2

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return 2

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        rows = self._between_others(rows)
        return (rows.sum(self.axis + 1) - rows.sum(self.axis + 2),)


@dataclass(frozen=True)
class Softmax(Composite):
    """``exp(x_i) / sum_j exp(x_j)`` along one axis, as ``1 / sum_j exp(x_j - x_i)``.

    params: optionally a mask of the sample's shape; where it is zero, a position counts as minus infinity.
    """

    axis: int

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        x = xs[0].masked_fill(params[0] == 0, -torch.inf) if params else xs[0]
        return torch.softmax(x, self.axis + 1)

    def parts(self, builder: Builder, xs: Sequence[Ref], params: Tensors, name: str) -> Ref:
        masks = [(p.unsqueeze(self.axis),) for p in params]
        y = builder.apply(Power(-1.0), (_exponentials(builder, xs[0], self.axis, masks, name),), (), name)
        return builder.apply(Keep(), (y,), params, name) if params else y

    def known(self, xs: Sequence[Interval]) -> Interval | None:
        return Interval(torch.zeros_like(xs[0].lower), torch.ones_like(xs[0].lower))


@dataclass(frozen=True)
class LogSoftmax(Composite):
    """``x_i - log sum_j exp(x_j)`` along one axis, as ``-log sum_j exp(x_j - x_i)``."""

    axis: int

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        return torch.log_softmax(xs[0], self.axis + 1)

    def parts(self, builder: Builder, xs: Sequence[Ref], params: Tensors, name: str) -> Ref:
        y = builder.apply(Log(), (_exponentials(builder, xs[0], self.axis, [], name),), (), name)
        return builder.apply(Negate(), (y,), (), name)

    def known(self, xs: Sequence[Interval]) -> Interval | None:
        return Interval(torch.full_like(xs[0].lower, -torch.inf), torch.zeros_like(xs[0].lower))


@dataclass(frozen=True)
class LogSumExp(Composite):
    """``log sum_j exp(x_j)`` along one axis, which remains with size one: mean plus that of what is over."""

    axis: int

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        return torch.logsumexp(xs[0], self.axis + 1, keepdim=True)

    def parts(self, builder: Builder, xs: Sequence[Ref], params: Tensors, name: str) -> Ref:
        here = builder.apply(Centre((self.axis,)), xs, (), name)
        for op in (Exp(), Sum((self.axis,)), Log()):
            here = builder.apply(op, (here,), (), name)
        return builder.apply(Add(), (here, mean(builder, xs[0], (self.axis,), name)), (), name)

    def known(self, xs: Sequence[Interval]) -> Interval | None:
        """It rises in every input. Its own rounding stays below that of a sum of so many terms."""
        n = xs[0].lower.shape[self.axis + 1]
        magnitude = 1 + xs[0].magnitude.amax(self.axis + 1, keepdim=True)
        ends = Interval(self.value((xs[0].lower,), ()), self.value((xs[0].upper,), ()))
        return ends.widened(gamma(8 * n + 64, U64) * magnitude)


def _exponentials(builder: Builder, x: Ref, axis: int, masks: Sequence[Tensors], name: str) -> Ref:
    """``sum_j exp(x_j - x_i)``, over the positions that a mask holds."""
    here = builder.apply(Exp(), (builder.apply(Differences(axis), (x,), (), name),), (), name)
    for mask in masks:
        here = builder.apply(Keep(), (here,), mask, name)
    here = builder.apply(Sum((axis + 1,)), (here,), (), name)
    return builder.apply(Reshape(x.shape), (here,), (), name)


@from_torch("aten::softmax", "aten::_softmax")
def _softmax(call: Call) -> Value:
    x = call.ref("self")
    return _masked(call, x, call.axis(call.integer("dim"), x))


def _masked(call: Call, x: Ref, axis: int) -> Ref:
    x, params = included(call, x, axis)
    return call.apply(Softmax(axis), x, params=params)


@from_torch("aten::log_softmax", "aten::_log_softmax")
def _log_softmax(call: Call) -> Value:
    x = call.ref("self")
    return call.apply(LogSoftmax(call.axis(call.integer("dim"), x)), x)


@from_onnx("Softmax", "LogSoftmax")
def _onnx_softmax(call: Call) -> Value:
    """Before version 13, all axes from ``axis`` on count as one."""
    x = call.ref("0")
    full, old = call.full_shape(x), call.opset < 13
    axis = call.integer("axis", 1 if old else -1) % len(full)
    y = x if not old or axis == len(full) - 1 else reshaped(call, x, (*full[:axis], prod(full[axis:])))
    place = call.axis(axis, y)
    z = _masked(call, y, place) if call.operator == "Softmax" else call.apply(LogSoftmax(place), y)
    return reshaped(call, z, full)


@from_torch("aten::logsumexp")
def _logsumexp(call: Call) -> Value:
    return _over_axes(call, call.ref("self"), call.integers("dim"), bool(call.get("keepdim", False)))


@from_onnx("ReduceLogSumExp")
def _onnx_logsumexp(call: Call) -> Value:
    x = call.ref("0")
    axes = call.integers("1" if "1" in call.args else "axes", ()) or tuple(range(len(call.full_shape(x))))
    return _over_axes(call, x, axes, bool(call.integer("keepdims", 1)))


def _over_axes(call: Call, x: Ref, axes: Sequence[int], keep: bool) -> Value:
    """One axis after the other."""
    rank = len(call.full_shape(x))
    for axis in axes:
        x = call.apply(LogSumExp(call.axis(axis, x)), x)
    if keep:
        return x
    dropped = {axis % rank for axis in axes}
    return reshaped(call, x, [size for i, size in enumerate(call.full_shape(x)) if i not in dropped])
