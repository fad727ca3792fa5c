"""Zonotopes: what forward linear relaxation knows of a node's values.

Values are ``centre + linear x + generators e + box e'``: x is the input, e are symbols in [-1, 1] that
nodes share, e' one more such symbol per element that no other node knows of. Affine layers transform a
zonotope without loss; a nonlinear one puts its band between two parallel lines into ``box`` (DeepZ, Singh et
al. 2018, "Fast and effective robustness certification"). With ``rounded`` every step adds what its rounding
may have cost to ``box``, by the formulas of ``bounds.rounding``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.kinds import Affine, Bilinear, Pointwise, Tensors
from bounds.linear import Shape
from bounds.propagate.facts import Planes
from bounds.rounding import U64, gamma, up
from bounds.sets import InputSet

_TINY = 2.0**-1000  # covers every underflow of one step
_WORTH = 1e-4  # share of the largest radius from which on an element's box is worth a symbol
_NO_SYMBOL = -1
_NEAR = 2**22  # numbers up to which two passes are quicker than a norm across them


@dataclass(frozen=True, eq=False)
class Zonotope:
    """One node's values per sample.

    centre, box: (batch, *shape), box >= 0; generators: (batch, k, *shape); symbols: (batch, k) the number of
    each generator's symbol, -1 where a sample has fewer (its generator is zero). linear: (batch, inputs,
    *shape), None where the input's elements are symbols themselves. inputs: (batch, inputs) at least |x|.
    """

    centre: Tensor
    generators: Tensor
    symbols: Tensor
    box: Tensor
    linear: Tensor | None
    inputs: Tensor

    @cached_property
    def spread(self) -> Tensor:
        """The sum of the absolute generators and the box."""
        if self.generators.numel() <= _NEAR:
            return self.generators.abs().sum(1) + self.box
        size: Tensor = torch.linalg.vector_norm(self.generators, ord=1, dim=1)
        return size + self.box

    @cached_property
    def magnitude(self) -> Tensor:
        """At least the absolute values of all that is summed in an element."""
        total = self.centre.abs() + self.spread
        if self.linear is None:
            return total
        return total + (_elements(self.linear.abs(), 2).mT @ self.inputs[:, :, None]).view_as(total)

    @property
    def underflow(self) -> Tensor:
        """What underflow may cost in one step; coefficients over the input count with its size."""
        lost = _TINY * (1 + self.inputs.amax(1)) if self.linear is not None else self.inputs.new_tensor(_TINY)
        return lost.view(-1, *[1] * (self.centre.dim() - 1))

    def interval(self, region: InputSet, rounded: bool) -> Interval:
        """The smallest interval of every element that the zonotope's parts give."""
        low = high = self.centre
        scale = self.centre.abs() + self.spread
        if self.linear is not None:
            batch = len(self.centre)
            rows = _elements(self.linear, 2).mT.reshape(batch, -1, *region.shape)
            samples = torch.arange(batch, device=rows.device)
            above = region.support(rows, samples, rounded).view_as(low)
            below = region.support(-rows, samples, rounded).view_as(low)
            low, high, scale = low - below, high + above, scale + above.abs() + below.abs()
        interval = Interval(low - self.spread, high + self.spread)
        if not rounded:
            return interval.closed()
        terms = self.generators.shape[1] + 8
        return interval.widened(gamma(terms, U64) * scale + self.underflow)

    def with_symbols(self, first: int, limit: int) -> Zonotope:
        """The box turned into generators with the symbols ``first + element``, where it is worth one.

        Keeps the ``limit`` largest generators by the sum of their absolute entries; the others go into the
        box (order reduction as in Girard 2005, "Reachability of uncertain linear systems using zonotopes").
        """
        box = _elements(self.box, 1)
        worth = box > _WORTH * _elements(self.spread, 1).amax(1, keepdim=True)
        count = min(int(worth.sum(1).max()), limit)
        radius, element = torch.where(worth, box, 0.0).topk(count, dim=1)
        taken = radius > 0
        rows = box.new_zeros(len(box), count, box.shape[1]).scatter(
            2, element[:, :, None], radius[:, :, None]
        )
        left = box.scatter(1, element, box.gather(1, element).masked_fill(taken, 0.0))
        return replace(
            self,
            generators=torch.cat([self.generators, rows.view(*rows.shape[:2], *self.box.shape[1:])], 1),
            symbols=torch.cat([self.symbols, (first + element).masked_fill(~taken, _NO_SYMBOL)], 1),
            box=left.view_as(self.box),
        )._reduced(limit)

    def _reduced(self, limit: int) -> Zonotope:
        if self.generators.shape[1] <= limit:
            return self
        flat = _elements(self.generators, 2)
        keep = torch.linalg.vector_norm(flat, ord=1, dim=2).topk(limit, dim=1).indices
        dropped = torch.ones_like(flat[:, :, :1]).scatter(1, keep[:, :, None], 0.0)
        rest = (flat.abs() * dropped).sum(1).view_as(self.box)
        box = (self.box + rest) * (1 + gamma(flat.shape[1] + 4, U64)) + (rest > 0) * _TINY
        kept = flat.gather(1, keep[:, :, None].expand(-1, -1, flat.shape[2]))
        generators = kept.view(len(flat), limit, *self.box.shape[1:])
        return replace(self, generators=generators, symbols=self.symbols.gather(1, keep), box=box)

    def held_by(self, interval: Interval, rounded: bool) -> Zonotope:
        """The zonotope, but the interval itself where the zonotope is not finite and the interval is."""
        bad = ~self.spread.isfinite() | ~self.centre.isfinite()
        if self.linear is not None:
            bad |= ~self.linear.isfinite().all(1)
        if not bool(bad.any()):
            return self
        centre = interval.centre
        return replace(
            self,
            centre=torch.where(bad, centre, self.centre),
            generators=self.generators.masked_fill(bad[:, None], 0.0),
            box=torch.where(bad, interval.radius(centre, rounded), self.box),
            linear=None if self.linear is None else self.linear.masked_fill(bad[:, None], 0.0),
        )


def _elements(x: Tensor, batch_axes: int) -> Tensor:
    """All axes after the first ones as one; a sample may also be a single number, without axes."""
    return x.reshape(*x.shape[:batch_axes], prod(x.shape[batch_axes:]))


def of_input(region: InputSet, symbolic: bool, rounded: bool) -> Zonotope:
    """The input itself: as one symbol per element if ``symbolic`` (loses what a set is more than its box)."""
    box = region.box()
    batch, n = len(region), box.lower[0].numel()
    inputs = _elements(box.magnitude, 1)
    centre, radius = box.centre, box.radius(box.centre, rounded)
    linear = None
    if not symbolic:
        centre, radius = torch.zeros_like(centre), torch.zeros_like(radius)
        linear = torch.eye(n, dtype=centre.dtype, device=centre.device).view(1, n, *region.shape)
        linear = linear.expand(batch, -1, *region.shape)
    return _plain(centre, radius, linear, inputs)


def of_interval(interval: Interval, like: Zonotope, rounded: bool) -> Zonotope:
    """Values of which no more is known than their interval."""
    centre = interval.centre
    linear = like.linear
    if linear is not None:
        linear = linear.new_zeros(*linear.shape[:2], *centre.shape[1:])
    return _plain(centre, interval.radius(centre, rounded), linear, like.inputs)


def _plain(centre: Tensor, box: Tensor, linear: Tensor | None, inputs: Tensor) -> Zonotope:
    batch = len(centre)
    symbols = torch.empty(batch, 0, dtype=torch.int64, device=centre.device)
    return Zonotope(centre, centre.new_empty(batch, 0, *centre.shape[1:]), symbols, box, linear, inputs)


def affine(
    op: Affine, params: Tensors, zs: Sequence[Zonotope], shapes: Sequence[Shape], out: Shape, rounded: bool
) -> Zonotope:
    """``W x + b`` of zonotopes."""
    weights, magnitudes = op.weights(params), op.magnitudes(params)
    symbols, generators = _aligned(zs)
    linear = None
    if zs[0].linear is not None:
        linear = _stacked(op, [z.linear for z in zs if z.linear is not None], weights, out)
    box = op.absolute(tuple(z.box for z in zs), magnitudes)
    if rounded and not op.exact:
        magnitude = op.absolute(tuple(z.magnitude for z in zs), magnitudes)
        offset = op.offset_magnitude(params)
        magnitude = magnitude if offset is None else magnitude + offset
        terms = op.terms(shapes, out, params) + 8
        box = box + (gamma(terms, U64) * magnitude + zs[0].underflow.view(-1, *[1] * len(out)))
    centre = op.value(tuple(z.centre for z in zs), params)
    return Zonotope(centre, _stacked(op, generators, weights, out), symbols, box, linear, zs[0].inputs)


def _stacked(op: Affine, stacks: Sequence[Tensor], weights: Tensors, out: Shape) -> Tensor:
    """W applied to tensors (batch, k, *shape), all at once."""
    batch, k = stacks[0].shape[:2]
    if k == 0:
        return stacks[0].new_empty(batch, 0, *out)
    return op.linear(tuple(s.flatten(0, 1) for s in stacks), weights).view(batch, k, *out)


def _aligned(zs: Sequence[Zonotope]) -> tuple[Tensor, list[Tensor]]:
    """The symbols of all, and the generators of each with zeros for the symbols that it does not have."""
    first = zs[0].symbols
    if all(z.symbols is first or torch.equal(z.symbols, first) for z in zs[1:]):
        return first, [z.generators for z in zs]
    every = torch.cat([z.symbols for z in zs], 1)
    ordered, order = every.sort(1)
    begins = torch.ones_like(ordered)
    begins[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]).to(ordered)
    slots = torch.empty_like(every).scatter_(1, order, begins.cumsum(1) - 1)
    count = int(slots.max()) + 1
    symbols = torch.full_like(every[:, :count], _NO_SYMBOL).scatter(1, slots, every)
    found = []
    for z, slot in zip(zs, torch.split(slots, [z.symbols.shape[1] for z in zs], 1), strict=True):
        flat = _elements(z.generators, 2)
        whole = flat.new_zeros(len(flat), count, flat.shape[2])
        whole.scatter_add_(1, slot[:, :, None].expand_as(flat), flat)
        found.append(whole.view(len(flat), count, *z.centre.shape[1:]))
    return symbols, found


def pointwise(op: Pointwise, z: Zonotope, x: Interval, rounded: bool) -> Zonotope:
    """``f(z)`` where z lies in the interval x, too: a line through it, and half the band around that line."""
    slope, low, high = _band(op, x, rounded)
    middle = (low + high) / 2
    half = torch.maximum(high - middle, middle - low)
    box = slope.abs() * z.box + (up(half) if rounded else half)
    if rounded:
        box = box + (gamma(16, U64) * (slope.abs() * z.magnitude + middle.abs() + half) + z.underflow)
    return replace(
        z,
        centre=slope * z.centre + middle,
        generators=z.generators * slope[:, None],
        box=box,
        linear=None if z.linear is None else z.linear * slope[:, None],
    )


def _band(op: Pointwise, x: Interval, rounded: bool) -> tuple[Tensor, Tensor, Tensor]:
    """A slope and the intercepts of the lines below and above f.

    Of two slopes the one that leaves the narrower band: the chord's, which is best wherever f bends one way,
    and the middle of the two tight lines'.
    """
    lower, upper = op.slopes(x)
    chord = (op.function(x.upper) - op.function(x.lower)) / (x.upper - x.lower)
    slopes = [torch.nan_to_num(s, nan=0.0, posinf=0.0, neginf=0.0) for s in ((lower + upper) / 2, chord)]
    below, above = ([op.intercept(x, s, side, rounded) for s in slopes] for side in (+1, -1))
    second = above[1] - below[1] < above[0] - below[0]
    slope, low, high = (torch.where(second, v[1], v[0]) for v in (slopes, below, above))
    return slope, low, high


def bilinear(op: Bilinear, a: Zonotope, b: Zonotope, planes: Planes, terms: int, rounded: bool) -> Zonotope:
    """A sum of products between its two parallel planes; their own rounding is the caller's to add."""
    left, right = planes.left, planes.right
    symbols, (over_a, over_b) = _aligned((a, b))
    generators = op.product(over_a, right[:, None]) + op.product(left[:, None], over_b)
    linear = None
    if a.linear is not None and b.linear is not None:
        linear = op.product(a.linear, right[:, None]) + op.product(left[:, None], b.linear)
    box = op.product(a.box, right.abs()) + op.product(left.abs(), b.box) + planes.spread
    if rounded:
        magnitude = op.product(a.magnitude, right.abs()) + op.product(left.abs(), b.magnitude)
        underflow = a.underflow.view(-1, *[1] * (box.dim() - 1))
        box = box + (gamma(terms + 8, U64) * (magnitude + planes.spread) + underflow)
    centre = op.product(a.centre, right) + op.product(left, b.centre) - planes.shift
    return Zonotope(centre, generators, symbols, box, linear, a.inputs)


def rows(z: Zonotope, matrix: Tensor, offset: Tensor, rounded: bool) -> Zonotope:
    """``matrix @ z + offset`` for matrix (batch, rows, elements) and offset (batch, rows)."""

    absolute = matrix.abs()
    box = (absolute @ _elements(z.box, 1)[:, :, None]).squeeze(2)
    if rounded:
        magnitude = (absolute @ _elements(z.magnitude, 1)[:, :, None]).squeeze(2) + offset.abs()
        underflow = z.underflow.view(-1, 1)
        box = box + (gamma(matrix.shape[2] + 8, U64) * magnitude + underflow)
    centre = (matrix @ _elements(z.centre, 1)[:, :, None]).squeeze(2) + offset
    linear = None if z.linear is None else _elements(z.linear, 2) @ matrix.mT
    return Zonotope(centre, _elements(z.generators, 2) @ matrix.mT, z.symbols, box, linear, z.inputs)
