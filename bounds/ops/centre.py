"""Means over axes of the sample, and what is left without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from bounds.graph import Builder, Ref
from bounds.kinds import Affine, Tensors
from bounds.linear import Shape
from bounds.ops.elementwise import Divide
from bounds.ops.pool import Sum


@dataclass(frozen=True)
class Centre(Affine):
    """The sample minus its mean over some axes."""

    axes: tuple[int, ...]

    def _mean(self, x: Tensor) -> Tensor:
        return x.mean(tuple(axis + 1 for axis in self.axes), keepdim=True)

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return xs[0] - self._mean(xs[0])

    def absolute(self, xs: Tensors, magnitudes: Tensors) -> Tensor:
        n = prod(xs[0].shape[axis + 1] for axis in self.axes)
        return xs[0] * ((n - 2) / n) + self._mean(xs[0])

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return 2 * prod(ins[0][axis] for axis in self.axes) + 8

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return self.terms(ins, out, params)

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        return (self.linear((rows,), ()),)


def mean(builder: Builder, x: Ref, axes: tuple[int, ...], name: str) -> Ref:
    """The mean over axes of the sample, which remain with size one."""
    count = torch.tensor(float(prod(x.shape[axis] for axis in axes)))
    return builder.apply(Divide(), (builder.apply(Sum(axes), (x,), (), name),), (count,), name)
