"""What the backward graph of a network is made of beside derivatives: constants and adjoints.

A cotangent is a value of shape (rows, *shape): per sample one row for each output that is differentiated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.kinds import Affine, Bilinear, Tensors
from bounds.linear import Shape


@dataclass(frozen=True)
class Constant(Affine):
    """A tensor whatever the input is; params: the tensor, of shape ``shape``."""

    shape: tuple[int, ...]

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return xs[0].new_zeros(len(xs[0]), *self.shape)

    def weights(self, params: Tensors) -> Tensors:
        return ()

    def offset(self, params: Tensors) -> Tensor | None:
        return params[0]

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return prod(out) + 4

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return 1

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        return (rows.new_zeros(len(rows), *ins[0]),)


@dataclass(frozen=True)
class Adjoint(Affine):
    """``W^T`` of an affine operator W on cotangents (rows, *out), over the input ``which`` of several.

    ins, out: the shapes that W maps between; params: those of W, shared with it.
    """

    op: Affine
    ins: tuple[Shape, ...]
    out: Shape
    which: int = 0

    @property
    def name(self) -> str:
        return f"Adjoint of {self.op.name}"

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        batch, count = xs[0].shape[:2]
        pulled = self.op.adjoint(xs[0].reshape(-1, *self.out), weights, self.ins)[self.which]
        return pulled.reshape(batch, count, *self.ins[self.which])

    def weights(self, params: Tensors) -> Tensors:
        return self.op.weights(params)

    def absolute(self, xs: Tensors, magnitudes: Tensors) -> Tensor:
        """The vjp of |W|, which is linear, too."""
        batch, count = xs[0].shape[:2]
        zeros = tuple(xs[0].new_zeros(batch * count, *shape) for shape in self.ins)
        _, vjp = torch.func.vjp(  # type: ignore[misc]  # its stub counts the aux result, too
            lambda *ys: self.op.absolute(ys, magnitudes), *zeros
        )
        pulled: Tensors = vjp(xs[0].reshape(-1, *self.out))
        return pulled[self.which].reshape(batch, count, *self.ins[self.which])

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        """Those of W, which hold both ways; what only moves values forward may sum them on the way back."""
        own = self.op.terms(self.ins, self.out, params)
        return own or sum(prod(shape) for shape in self.ins) + prod(self.out) + 4

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return self.terms(ins, out, params)

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        flat = rows.reshape(-1, *self.ins[self.which])
        others = [flat.new_zeros(len(flat), *shape) for shape in self.ins]
        others[self.which] = flat
        return (self.op.linear(tuple(others), weights).reshape(len(rows), *ins[0]),)


@dataclass(frozen=True)
class RowProduct(Bilinear):
    """A cotangent (rows, *shape) times a value (*shape) that all rows share; axes: how many *shape has."""

    axes: int

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b.unsqueeze(-1 - self.axes)

    def adjoint(self, rows: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return rows * b.unsqueeze(-1 - self.axes), (rows * a).sum(-1 - self.axes)

    def interval(self, a: Interval, b: Interval) -> Interval | None:
        """The hull of the products of the ends."""
        ends = [self.product(x, y) for x in (a.lower, a.upper) for y in (b.lower, b.upper)]
        stacked = torch.stack(ends)
        return Interval(stacked.amin(0), stacked.amax(0))

    def terms(self, ins: Sequence[Shape], out: Shape) -> int:
        return out[0] + 2


@dataclass(frozen=True)
class BilinearAdjoint(Bilinear):
    """The cotangent of one input of a bilinear operator: inputs are that of its output, and its other input.

    ins, out: the shapes of the operator; which: the input whose cotangent this is.
    """

    op: Bilinear
    ins: tuple[Shape, Shape]
    out: Shape
    which: int

    @property
    def name(self) -> str:
        return f"Adjoint of {self.op.name}"

    def _pulled(self, rows: Tensor, held: Tensor) -> Tensor:
        """rows: (n, rows, *out), held: (n, 1, *other)."""
        dummy = rows.new_zeros(1, 1, *self.ins[self.which])
        pair = (dummy, held) if self.which == 0 else (held, dummy)
        return self.op.adjoint(rows, *pair)[self.which]

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        other = self.ins[1 - self.which]
        places = a.dim() - len(self.out) - 1
        lead = [max(sizes) for sizes in zip(a.shape[:places], b.shape[:places], strict=True)]
        rows = a.expand(*lead, *a.shape[places:]).reshape(-1, *a.shape[places:])
        held = b.expand(*lead, *other).reshape(-1, 1, *other)
        pulled = self._pulled(rows, held)
        return pulled.reshape(*lead, *pulled.shape[1:])

    def adjoint(self, rows: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """``rows . adjoint(cotangent, held)`` is ``cotangent . op(rows, held)``, linear in all three."""
        held = b.unsqueeze(2)
        pair = (rows, held) if self.which == 0 else (held, rows)
        over_cotangent = self.op.product(*pair)
        # rows: (samples, per_sample, count, *in); the cotangents a: (samples, 1, count, *out).
        samples, per_sample, count = rows.shape[:3]
        flat = rows.reshape(samples * per_sample * count, 1, *self.ins[self.which])
        cotangents = a.expand(-1, per_sample, *a.shape[2:]).reshape(-1, 1, *self.out)
        dummy = flat.new_zeros(1, 1, *self.ins[1 - self.which])
        held_pair = (flat, dummy) if self.which == 0 else (dummy, flat)
        over_other = self.op.adjoint(cotangents, *held_pair)[1 - self.which]
        return over_cotangent, over_other.reshape(samples, per_sample, count, *self.ins[1 - self.which]).sum(
            2
        )

    def terms(self, ins: Sequence[Shape], out: Shape) -> int:
        return self.op.terms(self.ins, self.out) + out[0] + 2
