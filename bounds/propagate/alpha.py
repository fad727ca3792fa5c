"""Better lower slopes for the rows of a specification, by a few gradient steps (alpha-CROWN).

Any slope of a lower line is sound, so the slopes may be chosen for each row anew to raise that row's bound
(Xu et al. 2021, "Fast and complete"). The rows of a specification are few beside those of the intermediate
neurons: a handful of steps costs little and makes up for what the fixed choice of slopes gives away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from bounds.graph import Graph
from bounds.kinds import Pointwise
from bounds.propagate.facts import Facts
from bounds.propagate.problem import Problem
from bounds.propagate.rows import Layout, lower_bounds
from bounds.relaxation import intercept

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

    def bound(slopes: Slopes, rounded: bool) -> Tensor:
        relined = _with_slopes(graph, own, slopes, rounded)
        start = problem.forms(layout, offset)
        start = start if rounded else replace(start, slack=None)
        return lower_bounds(graph, relined, region, graph.output, rows, start)

    free = _movable(graph, own)
    start = {index: around.lower_slope for index in free if (around := own[index].lines) is not None}
    if start:
        with torch.enable_grad():
            start = _ascend(lambda slopes: bound(slopes, rounded=False), start, free, steps)
    return bound(start, problem.rounded)


def _movable(graph: Graph, facts: list[Facts]) -> Slopes:
    """Where the lower slope of a piecewise linear neuron is a choice, per node."""
    free: Slopes = {}
    for index, node in enumerate(graph.nodes):
        if isinstance(node.op, Pointwise) and not any(node.op.curvature):
            undecided = node.op.undecided(facts[node.inputs[0]].interval)
            if bool(undecided.any()):
                free[index] = undecided
    return free


def _ascend(bound: Callable[[Slopes], Tensor], start: Slopes, free: Slopes, steps: int) -> Slopes:
    """Adam on all rows at once; returns for each row the slopes that gave its best bound."""
    # Squeezed away from every piece's own slope, where the intercept has more than one derivative.
    moving = {index: _MARGIN + (1 - 2 * _MARGIN) * slope.detach() for index, slope in start.items()}
    for slope in moving.values():
        slope.requires_grad_()
    optimiser = torch.optim.Adam(moving.values(), lr=_RATE, eps=_NOISE)
    best, value = {index: slope.detach().clone() for index, slope in moving.items()}, bound(moving)
    best_value = value.detach()
    for _ in range(steps):
        gradients = torch.autograd.grad(-value.sum(), list(moving.values()))
        gradients = tuple(g * free[index] for index, g in zip(moving, gradients, strict=True))
        largest = torch.stack([g.abs().flatten(1).amax(1) for g in gradients]).amax(0).clamp_min(_TINY)
        for slope, gradient in zip(moving.values(), gradients, strict=True):
            slope.grad = gradient / _column(largest, gradient)
        optimiser.step()
        for slope in moving.values():
            slope.data.clamp_(_MARGIN, 1 - _MARGIN)
        value = bound(moving)
        better = value.detach() > best_value
        best_value = torch.where(better, value.detach(), best_value)
        for index, slope in moving.items():
            best[index] = torch.where(_column(better, slope), slope.detach(), best[index])
    return best


def _column(per_row: Tensor, like: Tensor) -> Tensor:
    return per_row.view(-1, *[1] * (like.dim() - 1))


def _with_slopes(graph: Graph, facts: list[Facts], slopes: Slopes, rounded: bool) -> list[Facts]:
    """The facts with other lower lines; their intercepts are proved anew."""
    result = list(facts)
    for index, slope in slopes.items():
        node, around = graph.nodes[index], facts[index].lines
        if around is not None and isinstance(node.op, Pointwise):
            x = facts[node.inputs[0]].interval
            lower = intercept(node.op, x, slope, +1, rounded)
            result[index] = replace(
                facts[index], lines=replace(around, lower_slope=slope, lower_intercept=lower)
            )
    return result
