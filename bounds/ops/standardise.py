"""Normalisation by statistics of the sample itself: layer, group, instance and RMS norm; variances, norms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from bounds.graph import Builder, Ref
from bounds.interval import Interval
from bounds.kinds import Composite, Tensors
from bounds.ops.centre import Centre, mean
from bounds.ops.elementwise import Divide, Scale, Shift
from bounds.ops.gather import Expand
from bounds.ops.pool import Sum
from bounds.ops.power import Power
from bounds.ops.product import Mul, multiplied
from bounds.ops.registry import Call, Value, as_parameter, from_onnx, from_torch
from bounds.ops.shape import reshaped

# Below it, squares that underflow would count beside eps; zero leaves the operator undefined at zero.
_LEAST_EPS = 1e-30


@dataclass(frozen=True)
class SumOfSquares(Composite):
    """The sum of squares over axes of the sample, which remain with size one."""

    axes: tuple[int, ...]

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        return (xs[0] * xs[0]).sum(tuple(axis + 1 for axis in self.axes), keepdim=True)

    def parts(self, builder: Builder, xs: Sequence[Ref], params: Tensors, name: str) -> Ref:
        return builder.apply(Sum(self.axes), (builder.apply(Power(2.0), xs, (), name),), (), name)

    def known(self, xs: Sequence[Interval]) -> Interval | None:
        """It is not negative, not even where rounding leaves room for that."""
        zeros = torch.zeros_like(self.value((xs[0].lower,), ()))
        return Interval(zeros, torch.full_like(zeros, torch.inf))


@dataclass(frozen=True)
class Unify(Composite):
    """``x / sqrt(mean(x^2) + eps)`` over axes of the sample: the root of its mean square becomes one."""

    axes: tuple[int, ...]
    eps: float

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        x = xs[0]
        square = (x * x).mean(tuple(axis + 1 for axis in self.axes), keepdim=True)
        return x * torch.rsqrt(square + self.eps)

    def parts(self, builder: Builder, xs: Sequence[Ref], params: Tensors, name: str) -> Ref:
        eps = torch.tensor(self.eps, dtype=torch.float64)
        square = builder.apply(SumOfSquares(self.axes), xs, (), name)
        count = torch.tensor(float(prod(xs[0].shape[axis] for axis in self.axes)))
        here = builder.apply(Divide(), (square,), (count,), name)
        here = builder.apply(Power(-0.5), (builder.apply(Shift(), (here,), (eps,), name),), (), name)
        return builder.apply(Mul(), (xs[0], builder.apply(Expand(xs[0].shape), (here,), (), name)), (), name)

    def known(self, xs: Sequence[Interval]) -> Interval | None:
        """Every element rises with itself and shrinks with the squares of the others; exact for a box."""
        if self.eps < _LEAST_EPS:
            return None
        x, axes = xs[0], tuple(axis + 1 for axis in self.axes)
        n = prod(x.lower.shape[axis] for axis in axes)
        most = x.magnitude**2
        least = torch.maximum(x.lower, -x.upper).clamp(min=0) ** 2
        error = (8 * n + 64) * torch.finfo(most.dtype).eps
        others = []
        for own, side in ((least, -1), (most, +1)):
            total = own.sum(axes, keepdim=True)
            others.append((total - own + side * error * total).clamp(min=0))

        def at(z: Tensor, rest: Tensor) -> Tensor:
            return z * torch.rsqrt((z * z + rest) / n + self.eps)

        lower = at(x.lower, torch.where(x.lower > 0, others[1], others[0]))
        upper = at(x.upper, torch.where(x.upper > 0, others[0], others[1]))
        # Where squares overflow, what is left is that one element holds at most all of the sum of squares.
        end = math.sqrt(n) * (1 + 2.0**-20)
        over = ~(most.sum(axes, keepdim=True) < torch.inf)
        return Interval(
            torch.where(over, -end, lower - error * lower.abs()),
            torch.where(over, end, upper + error * upper.abs()),
        )


@dataclass(frozen=True)
class Standardise(Composite):
    """``(x - mean) / sqrt(variance + eps)`` over axes of the sample."""

    axes: tuple[int, ...]
    eps: float

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        return Unify(self.axes, self.eps).value((Centre(self.axes).linear(xs, ()),), ())

    def parts(self, builder: Builder, xs: Sequence[Ref], params: Tensors, name: str) -> Ref:
        centred = builder.apply(Centre(self.axes), xs, (), name)
        return builder.apply(Unify(self.axes, self.eps), (centred,), (), name)

    def known(self, xs: Sequence[Interval]) -> Interval | None:
        """The others sum to minus one element, so their squares are at least its own over their number."""
        if self.eps <= 0:
            return None
        n = prod(xs[0].lower.shape[axis + 1] for axis in self.axes)
        end = torch.full_like(xs[0].lower, math.sqrt(n - 1) * (1 + 2.0**-20))
        return Interval(-end, end)


def _with_weights(call: Call, y: Ref, weight: Tensor | None, bias: Tensor | None) -> Ref:
    if weight is not None:
        y = call.apply(Scale(), y, params=(as_parameter(call, weight, y.shape),))
    return y if bias is None else call.apply(Shift(), y, params=(as_parameter(call, bias, y.shape),))


def _eps(call: Call, key: str, default: float) -> float:
    """As the model's dtype holds it."""
    return float(torch.tensor(call.number(key, default), dtype=call.dtype))


def _last(call: Call, x: Ref, count: int) -> tuple[int, ...]:
    """The last axes of a sample."""
    if count > len(x.shape):
        raise call.unsupported("it works along the batch axis")
    return tuple(range(len(x.shape) - count, len(x.shape)))


@from_torch("aten::layer_norm")
def _layer_norm(call: Call) -> Value:
    x = call.ref("input")
    op = Standardise(_last(call, x, len(call.integers("normalized_shape"))), _eps(call, "eps", 1e-5))
    return _with_weights(call, call.apply(op, x), call.optional("weight"), call.optional("bias"))


@from_torch("aten::rms_norm")
def _rms_norm(call: Call) -> Value:
    x = call.ref("input")
    eps = _eps(call, "eps", torch.finfo(call.dtype).eps)
    op = Unify(_last(call, x, len(call.integers("normalized_shape"))), eps)
    return _with_weights(call, call.apply(op, x), call.optional("weight"), None)


@from_onnx("LayerNormalization", "RMSNormalization")
def _onnx_layer_norm(call: Call) -> Value:
    x = call.ref("0")
    axes = tuple(range(call.axis(call.integer("axis", -1), x), len(x.shape)))
    kind = Standardise if call.operator == "LayerNormalization" else Unify
    y = call.apply(kind(axes, _eps(call, "epsilon", 1e-5)), x)
    return _with_weights(call, y, call.optional("1"), call.optional("2"))


def grouped(call: Call, x: Ref, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Ref:
    """Each group of channels standardised, then every channel by its own scale and shift."""
    if not call.batched or not x.shape or x.shape[0] % groups:
        raise call.unsupported(f"{groups} groups of a sample of shape {x.shape}")
    y = reshaped(call, x, (1, groups, prod(x.shape) // groups))
    y = reshaped(call, call.apply(Standardise((1,), eps), y), (1, *x.shape))
    ones = [1] * (len(x.shape) - 1)
    weight, bias = (None if p is None else p.reshape(-1, *ones) for p in (weight, bias))
    return _with_weights(call, y, weight, bias)


@from_torch("aten::group_norm")
def _group_norm(call: Call) -> Value:
    weights = call.optional("weight"), call.optional("bias")
    return grouped(call, call.ref("input"), call.integer("num_groups"), *weights, _eps(call, "eps", 1e-5))


@from_onnx("InstanceNormalization")
def _instance_norm(call: Call) -> Value:
    x = call.ref("0")
    return grouped(call, x, x.shape[0], call.constant("1"), call.constant("2"), _eps(call, "epsilon", 1e-5))


@from_onnx("GroupNormalization")
def _onnx_group_norm(call: Call) -> Value:
    weights = call.constant("1"), call.constant("2")
    return grouped(call, call.ref("0"), call.integer("num_groups"), *weights, _eps(call, "epsilon", 1e-5))


def _squares(call: Call, x: Ref, axes: Sequence[int]) -> Ref:
    return call.apply(SumOfSquares(tuple(sorted({call.axis(axis, x) for axis in axes}))), x)


def _kept(call: Call, x: Ref, y: Ref, axes: Sequence[int], keep: bool) -> Ref:
    """The result of a reduction over axes, without them unless ``keep``."""
    if keep:
        return y
    rank = len(call.full_shape(x))
    dropped = {axis % rank for axis in axes}
    return reshaped(call, y, [size for i, size in enumerate(call.full_shape(y)) if i not in dropped])


def _every(call: Call, x: Ref) -> tuple[int, ...]:
    return tuple(range(len(call.full_shape(x))))


@from_torch("aten::linalg_vector_norm", "aten::norm")
def _vector_norm(call: Call) -> Value:
    x, order = call.ref("self"), call.number("ord" if "ord" in call.args else "p", 2)
    if order != 2:
        raise call.unsupported(f"the norm of order {order}", "use the Euclidean norm")
    axes = call.integers("dim", ()) or _every(call, x)
    y = call.apply(Power(0.5), _squares(call, x, axes))
    return _kept(call, x, y, axes, bool(call.get("keepdim", False)))


@from_onnx("ReduceL2", "ReduceSumSquare")
def _onnx_norm(call: Call) -> Value:
    x = call.ref("0")
    axes = call.integers("1" if "1" in call.args else "axes", ()) or _every(call, x)
    y = _squares(call, x, axes)
    y = call.apply(Power(0.5), y) if call.operator == "ReduceL2" else y
    return _kept(call, x, y, axes, bool(call.integer("keepdims", 1)))


@from_onnx("LpNormalization")
def _lp_normalization(call: Call) -> Value:
    if call.integer("p", 2) != 2:
        raise call.unsupported("another norm than the Euclidean one")
    x = call.ref("0")
    return multiplied(call, x, call.apply(Power(-0.5), _squares(call, x, (call.integer("axis", -1),))))


@from_torch("aten::var", "aten::std", "aten::var_mean", "aten::std_mean")
def _variance(call: Call) -> Value | tuple[Value, ...]:
    x = call.ref("self")
    axes = call.integers("dim", ()) or _every(call, x)
    places = tuple(sorted({call.axis(axis, x) for axis in axes}))
    less = (
        call.number("correction", 1) if "correction" in call.args else float(bool(call.get("unbiased", True)))
    )
    count = prod(x.shape[axis] for axis in places) - less
    if count <= 0:
        raise call.unsupported("a variance of too few elements")
    square = _squares(call, call.apply(Centre(places), x), axes)
    y = call.apply(Divide(), square, params=(torch.tensor(count, dtype=call.dtype),))
    y = call.apply(Power(0.5), y) if "std" in call.operator else y
    keep = bool(call.get("keepdim", False))
    y = _kept(call, x, y, axes, keep)
    if not call.operator.endswith("mean"):
        return y
    return y, _kept(call, x, mean(call.builder, x, places, call.name), axes, keep)
