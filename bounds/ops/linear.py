"""Products with constants: fully connected layers, matrix products of any rank, sums of products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bounds.graph import Ref
from bounds.kinds import Affine, Tensors
from bounds.linear import Patch, Shape, Unit
from bounds.ops.attention import averaged
from bounds.ops.elementwise import scaled, summed
from bounds.ops.product import matrix_product
from bounds.ops.registry import Call, Value, from_onnx, from_torch
from bounds.ops.shape import reshaped, transposed


@dataclass(frozen=True)
class Linear(Affine):
    """``x @ W^T + b`` over the last axis; params: W (out, in) and optionally b (out,)."""

    fresh: ClassVar[bool] = True

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

    def fan_out(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return int(params[0].shape[0])

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return int(params[0].shape[1]) + 1

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        return (rows @ weights[0],)

    def adjoint_live(
        self, rows: Tensor, weights: Tensors, live: Tensor, wanted: Tensor | None
    ) -> Tensors | None:
        found = _partial(rows, weights[0], live, wanted)
        return None if found is None else (found,)

    def value_live(self, x: Tensor, params: Tensors, live: Tensor | None, wanted: Tensor) -> Tensor | None:
        found = _partial(x, params[0].mT, live, wanted)
        return found if found is None or len(params) == 1 else found + params[1]

    def adjoint_unit(
        self, unit: Unit, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Unit | Patch | Tensor, ...] | None:
        if len(out) != 1:
            return None
        return (weights[0][unit.index] * unit.sign[:, None],)


@dataclass(frozen=True)
class MatMul(Affine):
    """``W @ x`` if ``left``, else ``x @ W``, over the last two axes; params: W (..., rows, columns).

    The axes in front broadcast; a sample has at least as many axes as W.
    """

    left: bool

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return weights[0] @ xs[0] if self.left else xs[0] @ weights[0]

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        """Backward, one element meets a column of W for each of its broadcast copies."""
        copies = prod(out[:-2]) // prod(ins[0][:-2])
        return (int(sum(params[0].shape[-2:])) + 1) * copies + 4

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return int(params[0].shape[-1 if self.left else -2])

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        back = weights[0].mT @ rows if self.left else rows @ weights[0].mT
        return (back.sum_to_size(len(rows), *ins[0]),)


@dataclass(frozen=True)
class Along(Affine):
    """``W x`` over one axis of the sample; params: W (out, in)."""

    axis: int

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return F.linear(xs[0].movedim(self.axis + 1, -1), weights[0]).movedim(-1, self.axis + 1)

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return self.fan_in(ins, out, params) + int((params[0] != 0).sum(0).max()) + 4

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        """A product with zero adds no rounding."""
        return int((params[0] != 0).sum(1).max()) + 1

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        return (self.linear((rows,), (weights[0].mT,)),)


def _partial(rows: Tensor, matrix: Tensor, live: Tensor | None, wanted: Tensor | None) -> Tensor | None:
    """``rows @ matrix``, sample by sample with the part of the matrix that counts, where that is small."""
    shares = [float(mask.float().mean()) for mask in (live, wanted) if mask is not None]
    if matrix.shape[0] != rows.shape[2] or prod(shares) > 0.5:
        return None
    kept = None if live is None else positions(live)
    columns = None if wanted is None else positions(wanted)
    found = rows.new_zeros(*rows.shape[:2], matrix.shape[1])
    for s, place in enumerate(found):
        part = matrix if kept is None else matrix.index_select(0, kept[s])
        here = rows[s] if kept is None else rows[s].index_select(1, kept[s])
        if columns is None:
            place.addmm_(here, part)
        else:
            place.index_copy_(1, columns[s], here @ part.index_select(1, columns[s]))
    return found.flatten(0, 1)


def positions(mask: Tensor) -> Sequence[Tensor]:
    """Where each row of a mask (rows, elements) is set."""
    found: Sequence[Tensor] = torch.tensor_split(mask.nonzero()[:, 1], mask.sum(1).cumsum(0)[:-1].tolist())
    return found


def _sample_matrix(call: Call, weight: Tensor, x: Ref) -> Tensor:
    """A factor without the batch axis of one that it may have, as seen from one sample."""
    rank = len(call.full_shape(x))
    if call.batched and weight.dim() >= max(rank, 3):
        if weight.shape[0] != 1:
            raise call.unsupported(
                f"a constant factor of shape {tuple(weight.shape)} holds a batch axis larger than one"
            )
        return weight[0]
    return weight


def times_constant(call: Call, x: Ref, weight: Tensor) -> Ref:
    """``x @ W`` with the rules of broadcasting of ``torch.matmul``."""
    if not x.shape or weight.dim() == 0:
        raise call.unsupported(f"a product of a sample of shape {x.shape} with {tuple(weight.shape)}")
    if weight.dim() == 1:
        y = call.apply(Linear(), x, params=(weight[None],))
        return reshaped(call, y, call.full_shape(y)[:-1])
    weight = _sample_matrix(call, weight, x)
    if weight.dim() == 2:
        return call.apply(Linear(), x, params=(weight.mT,))
    return call.apply(MatMul(left=False), _raised(call, x, weight.dim()), params=(weight,))


def constant_times(call: Call, weight: Tensor, x: Ref) -> Ref:
    """``W @ x`` with the rules of broadcasting of ``torch.matmul``."""
    full = call.full_shape(x)
    if len(full) == 1 and weight.dim() == 2:
        return call.apply(Linear(), x, params=(weight,))
    if len(full) < 3 - int(not call.batched) or weight.dim() == 0:
        raise call.unsupported(
            f"a constant of shape {tuple(weight.shape)} on the left of a value of {x.shape}"
        )
    if weight.dim() == 1:
        y = call.apply(MatMul(left=True), x, params=(weight[None],))
        full = call.full_shape(y)
        return reshaped(call, y, (*full[:-2], full[-1]))
    weight = _sample_matrix(call, weight, x)
    return call.apply(MatMul(left=True), _raised(call, x, weight.dim()), params=(weight,))


def _raised(call: Call, x: Ref, rank: int) -> Ref:
    """The value with as many axes per sample as a constant has."""
    missing = (1,) * max(0, rank - len(x.shape))
    return reshaped(call, x, (*call.full_shape(x)[: int(call.batched)], *missing, *x.shape))


@from_torch("aten::linear")
def _linear(call: Call) -> Value:
    weight, bias = call.constant("weight"), call.optional("bias")
    if weight.dim() == 1:
        y = times_constant(call, call.ref("input"), weight)
        return y if bias is None else summed(call, y, bias)
    params = (weight,) if bias is None else (weight, bias)
    return call.apply(Linear(), call.ref("input"), params=params)


@from_torch("aten::matmul", "aten::mm", "aten::bmm", "aten::mv", "aten::inner")
@from_onnx("MatMul")
def _matmul(call: Call) -> Value:
    keys = ("0", "self"), ("1", "other", "mat2", "vec")
    a, b = (next(call.args[key] for key in names if key in call.args) for names in keys)
    if call.operator == "aten::inner" and isinstance(b, Tensor):
        b = b.mT if b.dim() > 1 else b
    if isinstance(a, Ref) and isinstance(b, Tensor):
        return times_constant(call, a, b)
    if isinstance(a, Tensor) and isinstance(b, Ref) and call.operator != "aten::inner":
        return constant_times(call, a, b)
    if isinstance(a, Ref) and isinstance(b, Ref) and call.operator != "aten::inner":
        return averaged(call, a, b)
    raise call.unsupported("an inner product with a graph value on the right", "use einsum")


@from_torch("aten::addmm", "aten::baddbmm", "aten::addmv")
def _addmm(call: Call) -> Value:
    """``beta * c + alpha * (x @ W)``."""
    first = call.args.get("mat1", call.args.get("batch1", call.args.get("mat")))
    second = call.args.get("mat2", call.args.get("batch2", call.args.get("vec")))
    if isinstance(first, Ref) and isinstance(second, Tensor):
        bias = call.get("self")
        if call.operator == "aten::addmm" and isinstance(bias, Tensor):
            return _affine(call, first, second, bias)
        y = times_constant(call, first, second)
    elif isinstance(first, Tensor) and isinstance(second, Ref):
        y = constant_times(call, first, second)
    elif isinstance(first, Ref) and isinstance(second, Ref):
        y = matrix_product(call, first, second)
    else:
        raise call.unsupported("no factor depends on the input")
    y = scaled(call, y, call.number("alpha", 1))
    return _plus(call, y, call.get("self"), call.number("beta", 1))


@from_onnx("Gemm")
def _gemm(call: Call) -> Value:
    a, b = call.args.get("0"), call.args.get("1")
    if isinstance(a, Ref) and isinstance(b, Ref):
        return _gemm_of_two(call, a, b)
    if not isinstance(a, Ref) or not isinstance(b, Tensor):
        return _left_gemm(call)
    if call.integer("transA", 0):
        raise call.unsupported("transA = 1 moves the batch axis")
    return _affine(call, a, b.mT if call.integer("transB", 0) else b, call.get("2"))


def _gemm_of_two(call: Call, a: Ref, b: Ref) -> Value:
    a = transposed(call, a, (1, 0)) if call.integer("transA", 0) else a
    b = transposed(call, b, (1, 0)) if call.integer("transB", 0) else b
    y = scaled(call, matrix_product(call, a, b), call.number("alpha", 1))
    return _plus(call, y, call.get("2"), call.number("beta", 1))


def _left_gemm(call: Call) -> Value:
    """``W x``, whose result has its batch on the last axis, unless samples have no batch axis."""
    a, x = call.constant("0"), call.ref("1")
    if call.batched or len(x.shape) != 2:
        raise call.unsupported("a constant on the left moves the batch axis")
    x = transposed(call, x, (1, 0)) if call.integer("transB", 0) else x
    y = constant_times(call, a.mT if call.integer("transA", 0) else a, x)
    return _plus(call, scaled(call, y, call.number("alpha", 1)), call.get("2"), call.number("beta", 1))


def _affine(call: Call, x: Ref, weight: Tensor, bias: object) -> Value:
    """``alpha x W + beta b``, as one node where nothing is scaled and b is a vector or number."""
    alpha, beta = call.number("alpha", 1), call.number("beta", 1)
    if (
        alpha == beta == 1
        and isinstance(bias, Tensor)
        and (bias.dim() == 0 or bias.numel() == bias.shape[-1])
    ):
        return call.apply(Linear(), x, params=(weight.mT, bias.reshape(-1).expand(weight.shape[1])))
    y = scaled(call, call.apply(Linear(), x, params=(weight.mT,)), alpha)
    return _plus(call, y, bias, beta)


def _plus(call: Call, y: Ref, c: object, beta: float) -> Value:
    return y if c is None or beta == 0 else summed(call, y, c, beta)
