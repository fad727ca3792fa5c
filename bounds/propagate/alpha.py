"""Better slopes for single rows, by a few gradient steps (alpha-CROWN).

Any slope of a line is sound, so the slopes may be chosen for each row anew to raise that row's bound
(Xu et al. 2021, "Fast and complete"). A bound is concave in them wherever lines only touch the function. The
rows of a specification are few beside those of the intermediate neurons: a handful of steps costs little and
makes up for what the fixed choice of slopes gives away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from bounds.graph import Graph
from bounds.interval import Interval
from bounds.kinds import Known, Pointwise
from bounds.propagate.dual import Pass
from bounds.propagate.facts import Facts, line_cushion
from bounds.propagate.problem import Problem
from bounds.propagate.rows import Forms, Layout, Own, lower_bounds

# Adam with short memories: the bound is piecewise linear in the slopes, old gradients are soon wrong ones.
_RATE, _DECAY, _BETAS = 0.35, 0.93, (0.5, 0.99)
# Adam divides each gradient by its own size. Relative to the row's largest, gradients below this are mostly
# rounding noise, which must not become full steps: a row's bound would depend on how its batch was cut.
_NOISE = 3e-4
_TINY = 1e-30


def rows_at_once(problem: Problem) -> int:
    """How many rows fit into the memory budget; each keeps about a dozen copies of every node."""
    elements = sum(prod(node.shape) for node in problem.graph.nodes)
    return max(1, problem.memory // (12 * elements * problem.region.box().lower.element_size()))


@torch.no_grad()
def improved(
    problem: Problem, facts: list[Facts], rows: Tensor, layout: Layout, offset: Tensor, steps: int
) -> Tensor:
    """Lower bounds of ``rows . output + offset`` after ``steps`` steps on each row's own slopes; (rows,).

    rows: (rows, *output_shape), dense; offset: (rows,).
    """
    graph, region = problem.graph, problem.region
    rounded = problem.forms(layout, offset)
    turns = _turns(graph, facts, layout)
    if not turns:
        return lower_bounds(graph, facts, region, graph.output, rows, rounded)

    def bound(slopes: list[Tensor]) -> tuple[Tensor, Pass]:
        own, record = _own(turns, slopes, rounded=False), dict[int, Tensor]()
        forms = Forms(layout, offset, slack=None)
        value = lower_bounds(graph, facts, region, graph.output, rows, forms, own=own, record=record)
        return value, Pass(graph, facts, region, layout, record, own)

    slopes, value = _ascend(bound, turns, steps)
    if not problem.rounded:
        return value
    own = _own(turns, slopes, rounded=True)
    return lower_bounds(graph, facts, region, graph.output, rows, rounded, own=own)


@dataclass(frozen=True, eq=False)
class _Turn:
    """One side of one node's lines, whose slopes may be turned where ``free``, between ``low`` and ``high``.

    All but op with one entry per row: (rows, *shape). pivot: whether all of these lines go through the
    origin, so that their intercept stays what it is.
    """

    index: int
    side: int
    op: Pointwise
    x: Interval
    start: Tensor
    free: Tensor
    low: Tensor
    high: Tensor
    pivot: bool

    def inside(self, slope: Tensor) -> Tensor:
        """Free slopes strictly within the range: at its ends the bound has more than one derivative."""
        margin = 2 * torch.finfo(slope.dtype).eps * (self.high - self.low)
        return torch.where(self.free, slope.clamp(self.low + margin, self.high - margin), slope)

    def gradient(self, slope: Tensor, coefficients: Tensor, z: Tensor) -> Tensor:
        """The derivative of a row's bound by its slope here, where z is the input at its minimiser.

        A line that is turned around its touching point moves by the distance from there.
        """
        weight = coefficients.clamp(min=0) if self.side > 0 else coefficients.clamp(max=0)
        away = z if self.pivot else z - self.op.touch(self.x, slope, self.side)
        return torch.where(self.free, weight * away, 0.0)


def _turns(graph: Graph, facts: list[Facts], layout: Layout) -> list[_Turn]:
    """Every side of every nonlinear node that leaves a choice of slope."""
    turns: list[_Turn] = []
    rows = layout.rows
    for index in _reached(graph):
        node, around = graph.nodes[index], facts[index].lines
        if around is None or not isinstance(node.op, Pointwise):
            continue
        op, x = node.op.bind(node.params), facts[node.inputs[0]].interval
        free = op.undecided(x)
        if not bool(free.any()):
            continue
        if op.pivot is not None:
            low, high = (torch.full((), end).to(around.lower_slope) for end in op.pivot)
            start = around.lower_slope[rows]
            turns.append(_Turn(index, +1, op, x[rows], start, free[rows], low, high, pivot=True))
            continue
        low, high = op.slope_range(x)
        free &= (low < high) & low.isfinite() & high.isfinite()
        for side, start in ((+1, around.lower_slope), (-1, around.upper_slope)):
            turn = _Turn(
                index, side, op, x[rows], start[rows], free[rows], low[rows], high[rows], pivot=False
            )
            turns.append(turn)
    return turns


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


def _ascend(
    bound: Callable[[list[Tensor]], tuple[Tensor, Pass]], turns: list[_Turn], steps: int
) -> tuple[list[Tensor], Tensor]:
    """Adam (Kingma & Ba 2015) on all rows at once; returns the slopes of each row's best bound, and that."""
    moving = [turn.inside(turn.start) for turn in turns]
    scale = [(turn.high - turn.low).nan_to_num(0, 0, 0) for turn in turns]
    moments = [(torch.zeros_like(slope), torch.zeros_like(slope)) for slope in moving]
    best, (value, found) = moving, bound(moving)
    best_value = value
    for step in range(steps):
        gradients = [g * s for g, s in zip(_gradients(turns, moving, found), scale, strict=True)]
        largest = torch.stack([g.abs().reshape(len(g), -1).amax(1) for g in gradients]).amax(0)
        moving = [
            turn.inside(slope + size * _move(step, g / _column(largest.clamp_min(_TINY), g), *moment))
            for turn, slope, size, g, moment in zip(turns, moving, scale, gradients, moments, strict=True)
        ]
        value, found = bound(moving)
        better = value > best_value
        best_value = torch.where(better, value, best_value)
        best = [torch.where(_column(better, k), s, k) for k, s in zip(best, moving, strict=True)]
    return best, best_value


def _move(step: int, gradient: Tensor, mean: Tensor, square: Tensor) -> Tensor:
    """Adam's move; its moments are updated in place."""
    first, second = (1 - beta ** (step + 1) for beta in _BETAS)
    mean.lerp_(gradient, 1 - _BETAS[0])
    square.lerp_(gradient.square(), 1 - _BETAS[1])
    size = (square * (1 / second)).sqrt_().add_(_NOISE)
    return (mean * (_RATE * _DECAY**step / first)).div_(size)


def _gradients(turns: list[_Turn], slopes: list[Tensor], found: Pass) -> list[Tensor]:
    """The derivative of every row's bound by all of its slopes."""
    nodes = found.graph.nodes
    values = found.minimisers(max(nodes[turn.index].inputs[0] for turn in turns))
    return [
        turn.gradient(slope, found.rows[turn.index], values[nodes[turn.index].inputs[0]])
        if turn.index in found.rows
        else torch.zeros_like(slope)
        for turn, slope in zip(turns, slopes, strict=True)
    ]


def _column(per_row: Tensor, like: Tensor) -> Tensor:
    return per_row.view(-1, *[1] * (like.dim() - 1))


def _own(turns: list[_Turn], slopes: list[Tensor], rounded: bool) -> dict[int, Own]:
    """The rows' lines with these slopes; with ``rounded`` the intercepts are proved for them."""
    own: dict[int, Own] = {}
    for turn, slope in zip(turns, slopes, strict=True):
        so_far = own.get(turn.index, Own())
        intercept, cushion = None, so_far.cushion
        if rounded or not turn.pivot:
            intercept = turn.op.intercept(turn.x, slope, turn.side, rounded)
        if rounded and intercept is not None:
            more = line_cushion(slope.abs(), intercept.abs(), turn.x)
            cushion = more if cushion is None else cushion + more
        own[turn.index] = (
            replace(so_far, lower_slope=slope, lower_intercept=intercept, cushion=cushion)
            if turn.side > 0
            else replace(so_far, upper_slope=slope, upper_intercept=intercept, cushion=cushion)
        )
    return own
