"""What the backward graph of a network is made of: constants, adjoints, and derivatives of scalar functions.

A cotangent is a value of shape (rows, *shape): per sample one row for each output that is differentiated.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from bounds.errors import Unsupported
from bounds.interval import Interval
from bounds.kinds import Affine, Bilinear, Pointwise, Tensors
from bounds.linear import Shape
from bounds.ops.sshape import Sigmoid, Tanh
from bounds.piecewise import Piecewise
from bounds.rounding import U64, down, up


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

    def absolute(self, xs: Tensors, weights: Tensors) -> Tensor:
        """The vjp of |W|, which is linear, too."""
        batch, count = xs[0].shape[:2]
        zeros = tuple(xs[0].new_zeros(batch * count, *shape) for shape in self.ins)
        _, vjp = torch.func.vjp(  # type: ignore[misc]  # its stub counts the aux result, too
            lambda *ys: self.op.absolute(ys, weights), *zeros
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


@dataclass(frozen=True)
class Derivative(Pointwise):
    """The derivative of a function of pieces; at a break between two slopes the one of the left piece.

    Its image holds all slopes between those of the pieces that meet at a break, if that lies in the interval:
    Clarke's generalised derivative. f' is constant on linear pieces and monotone on others.
    """

    of: Piecewise

    @property
    def name(self) -> str:
        return f"Derivative of {self.of.name}"

    @property
    def ulps(self) -> int:
        return 8 + self.of.loose

    @property
    def floor(self) -> int:
        return 8 + self.of.loose

    @property
    def breaks(self) -> tuple[float, ...]:
        """Those of the function."""
        return self.of.breaks

    def bind(self, params: Tensors) -> Pointwise:
        bound = self.of.bind(params)
        return Derivative(bound) if isinstance(bound, Piecewise) else self

    def function(self, z: Tensor) -> Tensor:
        ends = (*self.of.breaks, math.inf)
        result = self._at(z, 0)
        for piece, start in enumerate(ends[:-1], start=1):
            result = torch.where(z > start, self._at(z, piece), result)
        return result

    def image(self, x: Interval, rounded: bool) -> Interval:
        lower, upper = torch.full_like(x.lower, math.inf), torch.full_like(x.lower, -math.inf)
        for low, high, _, meets in self._ranges(x, rounded):
            lower = torch.where(meets, torch.minimum(lower, low), lower)
            upper = torch.where(meets, torch.maximum(upper, high), upper)
        found = Interval(lower, upper).closed()
        # A value that overflowed is no bound on its own side.
        largest = torch.finfo(lower.dtype).max
        lower, upper = found.lower.clamp(max=largest), found.upper.clamp(min=-largest)
        nowhere = self.of.steep(x)
        if nowhere is not None:
            lower, upper = lower.masked_fill(nowhere, -math.inf), upper.masked_fill(nowhere, math.inf)
        return Interval(lower, upper)

    def contact(self, x: Interval, slope: Tensor, side: int) -> tuple[Tensor, Tensor]:
        best, where = torch.full_like(slope, math.inf), x.centre
        for low, high, ends, meets in self._ranges(x, rounded=False):
            for z in (ends.lower, ends.upper):
                gap = (low if side > 0 else -high) - side * slope * z
                better = meets & (gap < best)
                best, where = torch.where(better, gap, best), torch.where(better, z, where)
        return where, best

    def intercept(self, x: Interval, slope: Tensor, side: int, rounded: bool) -> Tensor:
        """Exact on linear pieces; elsewhere f' and the line count by their ranges on the piece."""
        best = torch.full_like(slope, math.inf)
        for low, high, ends, meets in self._ranges(x, rounded):
            least = low if side > 0 else -high
            line = torch.maximum(side * slope * ends.lower, side * slope * ends.upper)
            gap = least - line
            if rounded:
                gap = down(gap - 4 * U64 * (least.abs() + line.abs()))
            best = torch.where(meets, torch.minimum(best, gap), best)
        nowhere = self.of.steep(x)
        if nowhere is not None:
            best = best.masked_fill(nowhere, -math.inf)
        return torch.nan_to_num(best, nan=-math.inf, posinf=-math.inf, neginf=-math.inf) * side

    def slopes(self, x: Interval) -> tuple[Tensor, Tensor]:
        """Flat lines where f' is curved."""
        if any(self.of.curvature):
            return torch.zeros_like(x.lower), torch.zeros_like(x.lower)
        return super().slopes(x)

    def undecided(self, x: Interval) -> Tensor:
        image = self.image(x, rounded=False)
        return (image.lower < image.upper) & (x.lower < x.upper)

    def _at(self, z: Tensor, piece: int) -> Tensor:
        """f' on a piece; on a linear one from two points of it."""
        if self.of.curvature[piece]:
            return self.of.derivative(z)
        first, second, f, g = self._chord(z, piece)
        return (g - f) / (second - first)

    def _chord(self, z: Tensor, piece: int) -> tuple[float, float, Tensor, Tensor]:
        ends = (-math.inf, *self.of.breaks, math.inf)
        first, second = ends[piece : piece + 2]
        if math.isinf(first):
            first = second - 1.0 if math.isfinite(second) else 0.0
        if math.isinf(second):  # beyond the break, where f may jump
            first, second = first + 1.0, first + 2.0
        f, g = (self.of.function(torch.full_like(z, p)) for p in (first, second))
        return first, second, f, g

    def _ranges(self, x: Interval, rounded: bool) -> Iterator[tuple[Tensor, Tensor, Interval, Tensor]]:
        """Per piece: range of f' on its share of the interval, that share, and where the two meet."""
        ends = (-math.inf, *self.of.breaks, math.inf)
        for piece, (start, end) in enumerate(itertools.pairwise(ends)):
            share = Interval(x.lower.clamp(start, end), x.upper.clamp(start, end))
            meets = (x.lower <= end) & (x.upper >= start)
            if self.of.curvature[piece]:
                low, high = self._curved_range(share, start, end)
                below, above = self.error(low, U64), self.error(high, U64)
            else:
                first, second, f, g = self._chord(x.lower, piece)
                low = high = (g - f) / (second - first)
                spread = self.of.error(f, U64) + self.of.error(g, U64)
                below = above = 2 * spread / (second - first) + 8 * U64 * low.abs()
            if rounded:
                # What is exact stays so: a slope of zero has no sign.
                low = torch.where(below > 0, down(low - below), low)
                high = torch.where(above > 0, up(high + above), high)
            yield low, high, share, meets

    def _curved_range(self, share: Interval, start: float, end: float) -> tuple[Tensor, Tensor]:
        """f' at both ends; at a break both there and just inside, since f' may jump or be infinite there."""
        inner = torch.where(share.lower == start, up(share.lower), share.lower)
        outer = torch.where(share.upper == end, down(share.upper), share.upper)
        values = torch.stack([self.of.derivative(z) for z in (share.lower, share.upper, inner, outer)])
        return values.amin(0), values.amax(0)


@dataclass(frozen=True)
class Bell(Piecewise):
    """``height * s (1 - s)`` with ``s = sigmoid(sharpness * z)``, both powers of two.

    The derivative of the sigmoid is ``Bell(1, 1)``, that of tanh ``Bell(4, 2)``.
    """

    loose: ClassVar[int] = 1
    height: float
    sharpness: float

    @property
    def ulps(self) -> int:
        return 12

    @property
    def floor(self) -> int:
        return 1

    @property
    def breaks(self) -> tuple[float, ...]:
        inflection = math.log(2 + math.sqrt(3)) / self.sharpness
        return (-inflection, inflection)

    @property
    def curvature(self) -> tuple[int, ...]:
        return (1, -1, 1)

    @property
    def extrema(self) -> tuple[float, ...]:
        return (0.0,)

    def function(self, z: Tensor) -> Tensor:
        z = self.sharpness * z
        return self.height * torch.sigmoid(z) * torch.sigmoid(-z)

    def image(self, x: Interval, rounded: bool) -> Interval:
        y = super().image(x, rounded)
        return Interval(y.lower.clamp(min=0.0), y.upper)

    def derivative(self, z: Tensor) -> Tensor:
        return -self.sharpness * self.function(z) * torch.tanh(self.sharpness * z / 2)

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        """With t = s - 1/2 the slope is ``2 t^3 - t / 2``: one root of a cubic per piece."""
        scaled = slope / (self.height * self.sharpness)
        angle = torch.arccos((6 * math.sqrt(3) * scaled).clamp(-1, 1)) / 3
        turn = (2, 1, 0)[piece]
        s = torch.cos(angle - 2 * math.pi * turn / 3) / math.sqrt(3) + 0.5
        tiny = torch.finfo(s.dtype).eps
        return torch.logit(s.clamp(tiny, 1 - tiny)) / self.sharpness


def derivative(op: Pointwise) -> Pointwise:
    """The derivative of a scalar function as an operator; raises ``Unsupported`` where there is none yet."""
    if isinstance(op, Sigmoid):
        return Bell(1.0, 1.0)
    if isinstance(op, Tanh):
        return Bell(4.0, 2.0)
    if isinstance(op, Piecewise):
        return Derivative(op)
    raise Unsupported(
        f"operator {op.name} has no derivative to bound; rewrite the model with functions made of convex, "
        "concave and linear pieces"
    )
