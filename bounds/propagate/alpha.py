"""Better lower slopes for the rows of a specification, by a few gradient steps (alpha-CROWN).

Any slope of a lower line is sound, so the slopes may be chosen for each row anew to raise that row's bound
(Xu et al. 2021, "Fast and complete"). The rows of a specification are few beside those of the intermediate
neurons: a handful of steps costs little and makes up for what the fixed choice of slopes gives away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from bounds.graph import Graph
from bounds.kinds import Pointwise
from bounds.propagate.facts import Facts
from bounds.propagate.problem import Problem
from bounds.propagate.rows import Forms, Layout, lower_bounds

_RATE = 0.3
# Adam divides each gradient by its own size. Relative to the row's largest, gradients below this are mostly
# rounding noise, which must not become full steps: a row's bound would depend on how its batch was cut.
_NOISE = 1e-3
_TINY = 1e-30
_MARGIN = 1e-6

Slopes = dict[int, Tensor]


def rows_at_once(problem: Problem) -> int:
    """How many rows fit into the memory budget; autograd keeps about a dozen copies of every node."""
    elements = sum(prod(node.shape) for node in problem.graph.nodes)
    return max(1, problem.memory // (12 * elements * problem.region.box().lower.element_size()))


def improved(
    problem: Problem, facts: list[Facts], rows: Tensor, samples: Tensor, offset: Tensor, steps: int
) -> Tensor:
    """Lower bounds of ``rows . output + offset`` after ``steps`` steps on each row's own slopes; (rows,).

    rows: (rows, *output_shape); samples: (rows,) the sample of each; offset: (rows,). Every row is treated
    as a sample of its own, so that its slopes are its own.
    """
    graph = problem.graph.map_params(Tensor.detach)
    own = [fact.of(samples) for fact in facts]
    region = problem.region[samples]
    layout = Layout(torch.arange(len(rows), device=rows.device), 1)

    def bound(slopes: Slopes) -> Tensor:
        relined = _turned(own, slopes)
        return lower_bounds(graph, relined, region, graph.output, rows, Forms(layout, offset, slack=None))

    ranges = _ranges(graph, own)
    if not ranges:
        return torch.full_like(offset, -torch.inf)
    start = {i: around.lower_slope for i in ranges if (around := own[i].lines) is not None}
    with torch.enable_grad():
        slopes, value = _ascend(bound, start, ranges, steps)
    if not problem.rounded:
        return value
    proved = _proved(graph, own, slopes)
    return lower_bounds(graph, proved, region, graph.output, rows, problem.forms(layout, offset))


@dataclass(frozen=True, eq=False)
class _Range:
    """Which neurons of a node may turn their lower line around the origin, and between which slopes."""

    free: Tensor
    low: float
    high: float

    def inside(self, slope: Tensor) -> Tensor:
        """Free slopes strictly within the range: at its ends the bound has more than one derivative."""
        margin = _MARGIN * (self.high - self.low)
        return torch.where(self.free, slope.clamp(self.low + margin, self.high - margin), slope)


def _ranges(graph: Graph, facts: list[Facts]) -> dict[int, _Range]:
    """Per node with undecided neurons whose operator pivots."""
    ranges: dict[int, _Range] = {}
    for index, node in enumerate(graph.nodes):
        if isinstance(node.op, Pointwise) and node.op.pivot is not None:
            undecided = node.op.undecided(facts[node.inputs[0]].interval)
            if bool(undecided.any()):
                ranges[index] = _Range(undecided, *node.op.pivot)
    return ranges


def _ascend(
    bound: Callable[[Slopes], Tensor], start: Slopes, ranges: dict[int, _Range], steps: int
) -> tuple[Slopes, Tensor]:
    """Adam on all rows at once; returns each row's best bound and the slopes that gave it."""
    moving = {i: ranges[i].inside(slope.detach()) for i, slope in start.items()}
    for slope in moving.values():
        slope.requires_grad_()
    optimiser = torch.optim.Adam(moving.values(), lr=_RATE, eps=_NOISE, fused=True)
    best, value = {i: slope.detach().clone() for i, slope in moving.items()}, bound(moving)
    best_value = value.detach()
    for _ in range(steps):
        gradients = torch.autograd.grad(-value.sum(), list(moving.values()))
        gradients = tuple(g * ranges[i].free for i, g in zip(moving, gradients, strict=True))
        largest = torch.stack([g.abs().flatten(1).amax(1) for g in gradients]).amax(0).clamp_min(_TINY)
        for slope, gradient in zip(moving.values(), gradients, strict=True):
            slope.grad = gradient / _column(largest, gradient)
        optimiser.step()
        for i, slope in moving.items():
            slope.data.copy_(ranges[i].inside(slope.data))
        value = bound(moving)
        better = value.detach() > best_value
        best_value = torch.where(better, value.detach(), best_value)
        for i, slope in moving.items():
            best[i] = torch.where(_column(better, slope), slope.detach(), best[i])
    return best, best_value


def _column(per_row: Tensor, like: Tensor) -> Tensor:
    return per_row.view(-1, *[1] * (like.dim() - 1))


def _turned(facts: list[Facts], slopes: Slopes) -> list[Facts]:
    """The facts with lower lines turned around the origin, where their intercept stays what it is."""
    result = list(facts)
    for index, slope in slopes.items():
        around = facts[index].lines
        if around is not None:
            result[index] = replace(facts[index], lines=replace(around, lower_slope=slope))
    return result


def _proved(graph: Graph, facts: list[Facts], slopes: Slopes) -> list[Facts]:
    """The facts with other lower lines, their intercepts computed anew with an account of rounding."""
    result = _turned(facts, slopes)
    for index, slope in slopes.items():
        node, around = graph.nodes[index], result[index].lines
        if around is not None and isinstance(node.op, Pointwise):
            op = node.op.bind(node.params)
            lower = op.intercept(facts[node.inputs[0]].interval, slope, +1, rounded=True)
            result[index] = replace(result[index], lines=replace(around, lower_intercept=lower))
    return result
