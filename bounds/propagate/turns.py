"""What rows may choose for themselves: the slopes of lines, and the planes around products.

Every choice is sound, so gradient steps may look for the best one (see ``bounds.propagate.alpha``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from bounds.graph import Graph, Node
from bounds.interval import Interval
from bounds.kinds import Bilinear, Known, Pointwise, Tensors
from bounds.propagate.facts import Facts, Planes, line_cushion
from bounds.propagate.forms import Layout, Own, Push
from bounds.propagate.rows import appended

# Names numbers that rows choose: the kind of choice, the node, and the side of the line.
Place = tuple[str, int, int]


@dataclass(frozen=True, eq=False)
class Turn(ABC):
    """Numbers of each row at one node, which may be moved where ``free``, between ``low`` and ``high``.

    All tensors with one entry per row: (rows, *shape); low and high may be scalars.
    """

    index: int
    start: Tensor
    free: Tensor
    low: Tensor
    high: Tensor

    def inside(self, value: Tensor) -> Tensor:
        """Free numbers strictly within the range: at its ends the bound has more than one derivative."""
        return value.clamp(*self._limits)

    @cached_property
    def _limits(self) -> tuple[Tensor, Tensor]:
        """Between which numbers stay, infinite where they are not free."""
        margin = 2 * torch.finfo(self.start.dtype).eps * (self.high - self.low)
        low, high = self.low + margin, self.high - margin
        if bool(self.free.all()):
            return low, high
        return torch.where(self.free, low, -torch.inf), torch.where(self.free, high, torch.inf)

    def scale(self, rows: Tensor | None) -> Tensor | None:
        """How far numbers may reasonably move, where ``rows`` come to the node; broadcasts against them.

        None for 1.
        """
        return (self.high - self.low).nan_to_num(0, 0, 0)

    def of(self, columns: Tensor) -> Turn | None:
        """The same with some elements alone, (rows, len(columns)); None where they cannot be parted."""
        return None

    @property
    def place(self) -> Place:
        """A name for what the numbers are about, the same in every batch."""
        return (type(self).__name__, self.index, 0)

    def begun(self, known: Tensor | None) -> Tensor:
        """The numbers to begin with: known ones, (rows, *shape), where there are any; NaN is none."""
        if known is None:
            return self.inside(self.start)
        known = known.to(self.start)
        return self.inside(torch.where(self.free & ~known.isnan(), known, self.start))

    @abstractmethod
    def gradient(self, value: Tensor, rows: Tensor, xs: Tensors) -> Tensor:
        """The derivative of each row's bound, where ``rows`` come to the node and its inputs are at ``xs``.

        xs: the inputs' values at the minimiser of each row.
        """

    @abstractmethod
    def own(self, so_far: Own, value: Tensor, rounded: bool) -> Own:
        """What rows have for themselves, with these numbers; with ``rounded`` it is proved for them."""


@dataclass(frozen=True, eq=False)
class Slope(Turn):
    """The slope of the lower (side +1) or the upper line (-1) around a pointwise function on ``x``.

    pivot: whether all of these lines go through the origin, so that their intercept stays what it is.
    """

    side: int
    op: Pointwise
    x: Interval
    pivot: bool

    @property
    def place(self) -> Place:
        return (type(self).__name__, self.index, self.side)

    def scale(self, rows: Tensor | None) -> Tensor | None:
        return None if self.pivot and self.op.pivot == (0, 1) else super().scale(rows)

    def of(self, columns: Tensor) -> Turn | None:
        if not self.pivot:  # points of contact depend on parameters of single elements
            return None
        # Lines through the origin never ask for the interval.
        return replace(self, start=only(self.start, columns), free=only(self.free, columns))

    def gradient(self, value: Tensor, rows: Tensor, xs: Tensors) -> Tensor:
        """A line that is turned around its touching point moves by the distance from there."""
        weight = rows.clamp(min=0) if self.side > 0 else rows.clamp(max=0)
        if self.pivot:
            weight.mul_(xs[0])
            return weight if self._moves is None else weight.mul_(self._moves)
        return torch.where(self.free, weight * (xs[0] - self.op.touch(self.x, value, self.side)), 0.0)

    @cached_property
    def _moves(self) -> Tensor | None:
        """1 where numbers are free, else 0; None where all are."""
        return None if bool(self.free.all()) else self.free.to(self.start.dtype)

    def own(self, so_far: Own, value: Tensor, rounded: bool) -> Own:
        intercept, cushion = None, so_far.cushion
        if rounded or not self.pivot:
            intercept = self.op.intercept(self.x, value, self.side, rounded)
        if rounded and intercept is not None:
            more = line_cushion(value.abs(), intercept.abs(), self.x)
            cushion = more if cushion is None else cushion + more
        if self.side > 0:
            return replace(so_far, lower_slope=value, lower_intercept=intercept, cushion=cushion)
        return replace(so_far, upper_slope=value, upper_intercept=intercept, cushion=cushion)


@dataclass(frozen=True, eq=False)
class Plane(Turn):
    """Where between the two planes of McCormick a row's plane lies, per output of ``op``; see ``Planes``."""

    op: Bilinear
    planes: Planes

    def gradient(self, value: Tensor, rows: Tensor, xs: Tensors) -> Tensor:
        """The bound is linear in the turn."""
        each = appended(rows, value)
        return torch.where(self.free, each * self.planes.turned(self.op, xs, each.sign()), 0.0)

    def own(self, so_far: Own, value: Tensor, rounded: bool) -> Own:
        """The cushion of the node is made for any turn."""
        return replace(so_far, turn=value)


@dataclass(frozen=True, eq=False)
class Multiplier(Turn):
    """Multipliers of what is known of a node's input besides its interval: above 0 of ``z >= least``, below
    0 of ``z <= most`` (Wang et al. 2021, beta-CROWN). low and high are 0 where nothing is known on that side.
    """

    least: Tensor
    most: Tensor

    def of(self, columns: Tensor) -> Turn:
        every = (self.start, self.free, self.low, self.high, self.least, self.most)
        return Multiplier(self.index, *[only(x, columns) for x in every])

    def inside(self, value: Tensor) -> Tensor:
        return value.clamp(self.low, self.high)

    def scale(self, rows: Tensor | None) -> Tensor:
        """Multipliers compete with the rows' coefficients."""
        if rows is None:
            return torch.zeros_like(self.start)
        largest = rows.abs().reshape(len(rows), -1).amax(1)
        return largest.view(-1, *[1] * (self.start.dim() - 1)).expand_as(self.start)

    def gradient(self, value: Tensor, rows: Tensor, xs: Tensors) -> Tensor:
        """How far the minimiser violates what is known, or, where a multiplier is at work, overfulfils it."""
        z = xs[0]
        above = torch.where((value > 0) | ((value == 0) & (z < self.least)), self.least - z, 0.0)
        below = torch.where((value < 0) | ((value == 0) & (z > self.most)), self.most - z, 0.0)
        return torch.where(self.free, above + below, 0.0)

    def own(self, so_far: Own, value: Tensor, rounded: bool) -> Own:
        at = torch.where(value > 0, self.least, torch.where(value < 0, self.most, 0.0))
        return replace(so_far, push=Push(value, at))


def only(x: Tensor, columns: Tensor) -> Tensor:
    """Some elements of every row, (rows, len(columns))."""
    return x.reshape(len(x), -1).index_select(1, columns)


def turns(graph: Graph, facts: list[Facts], layout: Layout) -> list[Turn]:
    """Everything that rows from the output on may choose."""
    found: list[Turn] = []
    for index in _reached(graph):
        node, here = graph.nodes[index], facts[index]
        ins = [facts[i].interval for i in node.inputs]
        if isinstance(node.op, Pointwise):
            found += _slopes(index, node.op.bind(node.params), ins[0], here, layout)
        elif isinstance(node.op, Bilinear):
            found += _planes(index, node.op.apart([graph.nodes[i].shape for i in node.inputs]), here, layout)
    return found


def elements(graph: Graph, node: Node) -> int:
    """How many numbers a row may have at a node: its elements, or the choices of its planes."""
    if not isinstance(node.op, Bilinear):
        return prod(node.shape)
    ins = [graph.nodes[i].shape for i in node.inputs]
    return node.op.apart(ins).product(*(torch.zeros(1, *shape) for shape in ins)).numel()


def _slopes(index: int, op: Pointwise, x: Interval, here: Facts, layout: Layout) -> Sequence[Turn]:
    around, rows = here.lines, layout.rows
    free = op.undecided(x)
    if around is None or not bool(free.any()):
        return ()
    if op.pivot is not None:
        low, high = (torch.full((), end).to(around.lower_slope) for end in op.pivot)
        start, free, lower, upper = map(layout.spread, (around.lower_slope, free, x.lower, x.upper))
        return (Slope(index, start, free, low, high, +1, op, Interval(lower, upper), pivot=True),)
    low, high = op.slope_range(x)
    free &= (low < high) & low.isfinite() & high.isfinite()
    free, low, high, x = free[rows], low[rows], high[rows], x[rows]
    return tuple(
        Slope(index, start[rows], free, low, high, side, op, x, pivot=False)
        for side, start in ((+1, around.lower_slope), (-1, around.upper_slope))
    )


def _planes(index: int, op: Bilinear, here: Facts, layout: Layout) -> Sequence[Turn]:
    """A row starts with the planes of its sample."""
    planes, rows = here.planes, layout.rows
    if planes is None:
        return ()
    most = op.product(planes.left_radius, planes.right_radius)
    free = (most > 0) & most.isfinite()
    if not bool(free.any()):
        return ()
    start, one = torch.zeros_like(most[rows]), torch.ones((), dtype=most.dtype, device=most.device)
    return (Plane(index, start, free[rows], -one, one, op, planes.of(rows)),)


def _reached(graph: Graph) -> list[int]:
    """The nodes that rows from the output travel through, in order."""
    found, stack = set[int](), [graph.output]
    while stack:
        index = stack.pop()
        if index not in found:
            found.add(index)
            node = graph.nodes[index]
            stack.extend(node.inputs[:1] if isinstance(node.op, Known) else node.inputs)
    return sorted(found)
