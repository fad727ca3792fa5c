"""Products of two branches: element by element, and of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.graph import Ref
from bounds.interval import Interval
from bounds.kinds import Bilinear
from bounds.linear import Shape
from bounds.ops.convex import Power
from bounds.ops.gather import common_shape, expanded
from bounds.ops.registry import Call
from bounds.ops.shape import reshaped


@dataclass(frozen=True)
class Mul(Bilinear):
    """The product of two branches of one shape, element by element."""

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b

    def adjoint(self, rows: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return rows * b, rows * a

    def terms(self, ins: Sequence[Shape], out: Shape) -> int:
        return 2

    def interval(self, a: Interval, b: Interval) -> Interval | None:
        """The least and the greatest product of two ends."""
        corners = torch.stack([x * y for x in (a.lower, a.upper) for y in (b.lower, b.upper)])
        return Interval(corners.amin(0), corners.amax(0))


@dataclass(frozen=True)
class MatrixProduct(Bilinear):
    """``a @ b`` over the last two axes of two branches whose axes in front are the same."""

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        return a @ b

    def adjoint(self, rows: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return rows @ b.mT, a.mT @ rows

    def terms(self, ins: Sequence[Shape], out: Shape) -> int:
        return ins[0][-1] + sum(out[-2:])


def multiplied(call: Call, a: Ref, b: Ref) -> Ref:
    """``a * b`` of graph values that may broadcast against each other."""
    if a == b:
        return call.apply(Power(2.0), a)
    shape = common_shape(call, call.full_shape(a), call.full_shape(b))
    return call.apply(Mul(), expanded(call, a, shape), expanded(call, b, shape))


def matrix_product(call: Call, a: Ref, b: Ref) -> Ref:
    """``a @ b`` of graph values with the rules of broadcasting of ``torch.matmul``."""
    lead = int(call.batched)
    full = [call.full_shape(x) for x in (a, b)]
    if min(len(shape) for shape in full) < 2 + lead:
        raise call.unsupported(f"a matrix product of samples of shape {a.shape} and {b.shape}")
    rank = max(len(shape) for shape in full)
    a, b = (
        reshaped(call, x, (*shape[:lead], *[1] * (rank - len(shape)), *shape[lead:]))
        for x, shape in zip((a, b), full, strict=True)
    )
    front = common_shape(call, call.full_shape(a)[:-2], call.full_shape(b)[:-2])
    a, b = (expanded(call, x, (*front, *call.full_shape(x)[-2:])) for x in (a, b))
    return call.apply(MatrixProduct(), a, b)
