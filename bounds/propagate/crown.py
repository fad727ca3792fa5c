"""Bounds by linear relaxation: IBP, CROWN-IBP and CROWN.

CROWN (Zhang et al. 2018; DeepPoly, Singh et al. 2019) propagates rows backward through two lines per
nonlinear neuron. The lines need bounds of what enters each neuron. Interval analysis gives a first set;
``crown`` tightens those neurons that it leaves undecided, each sample its own, by rows of their own.
Every bound keeps the better of both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.kinds import Affine, Operator, Pointwise
from bounds.linear import Unit
from bounds.propagate import alpha
from bounds.propagate.facts import Facts, node_facts
from bounds.propagate.problem import Problem
from bounds.propagate.rows import Layout, lower_bounds
from bounds.spec import Spec


def forward_facts(problem: Problem, tighten: bool) -> list[Facts]:
    """Facts of every node, in order; with ``tighten`` undecided neurons get rows of their own."""
    graph, region = problem.graph, problem.region
    facts = [Facts(region.box(), tight=True, box=region.is_box)]
    for index, node in enumerate(graph.nodes[1:], start=1):
        here = node_facts(graph, node, tuple(facts[i] for i in node.inputs), problem.level)
        facts.append(here)
        if tighten and not here.tight:
            undecided = _undecided(problem, index, here.interval)
            if undecided is not None and bool(undecided.any()):
                facts[index] = replace(here, interval=_tightened(problem, facts, index, undecided))
    return facts


def spec_lower_bounds(problem: Problem, facts: list[Facts], spec: Spec, backward: bool, steps: int) -> Tensor:
    """Lower bounds of the rows of ``spec`` (batch, rows).

    Always by interval analysis with the specification folded into the last affine layers; with ``backward``
    also by rows that travel all the way to the input, each improving its slopes by ``steps`` gradient steps.
    Keeps the best.
    """
    graph, batch = problem.graph, len(problem.region)
    matrix, offset = spec.matrix.expand(batch, -1, -1), spec.offset.expand(batch, -1)
    per_sample = matrix.shape[1]
    fits = alpha.rows_at_once(problem) if steps else problem.rows_at_once(graph.output)
    size = max(1, fits // per_sample)
    parts = []
    for first in range(0, batch, size):
        samples = torch.arange(first, min(batch, first + size), device=matrix.device)
        rows = matrix[samples].reshape(-1, *graph.output_shape)
        forms = problem.forms(Layout(samples, per_sample), offset[samples].flatten())
        routes: list[tuple[type[Operator], ...]] = [(Affine,), (Affine, Pointwise)][: 1 + backward]
        found = [lower_bounds(graph, facts, problem.region, graph.output, rows, forms, r) for r in routes]
        if steps:
            found.append(alpha.improved(problem, facts, rows, forms.layout.rows, forms.constant, steps))
        parts.append(torch.stack(found).amax(0).view(len(samples), per_sample))
    return torch.cat(parts)


def _undecided(problem: Problem, index: int, x: Interval) -> Tensor | None:
    """Which of a node's elements enter a nonlinear neuron that a tighter interval would help."""
    users = (problem.graph.nodes[user].op for user in problem.graph.users[index])
    masks = [op.undecided(x) for op in users if isinstance(op, Pointwise)]
    return torch.stack(masks).any(0) if masks else None


def _tightened(problem: Problem, facts: list[Facts], index: int, wanted: Tensor) -> Interval:
    """The node's interval, intersected with CROWN bounds of the wanted elements."""
    shape = problem.graph.nodes[index].shape
    lower, upper = (b.flatten(1).clone() for b in (facts[index].interval.lower, facts[index].interval.upper))
    for samples, elements, valid in _chunks(wanted.flatten(1), problem.rows_at_once(index) // 2):
        layout = Layout(samples, 2 * elements.shape[1])
        sign = torch.ones_like(elements, dtype=lower.dtype)
        unit = Unit(
            torch.cat([elements, elements], dim=1).flatten(), torch.cat([sign, -sign], dim=1).flatten(), shape
        )
        forms = problem.forms(layout, torch.zeros_like(unit.sign))
        found = lower_bounds(problem.graph, facts, problem.region, index, unit, forms)
        low, high = found.view(len(samples), 2, -1).unbind(1)
        rows = samples[:, None].expand_as(elements)[valid]
        columns = elements[valid]
        lower[rows, columns] = torch.maximum(lower[rows, columns], low[valid])
        upper[rows, columns] = torch.minimum(upper[rows, columns], -high[valid])
    ordered = Interval(torch.minimum(lower, upper), torch.maximum(lower, upper))
    return Interval(*(b.view(-1, *shape) for b in (ordered.lower, ordered.upper)))


def _chunks(wanted: Tensor, rows: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Cut the wanted elements of a (batch, elements) mask into rectangles of at most ``rows`` entries.

    Yields samples (s,), elements (s, k) and which of them are real (s, k); samples with similar counts go
    together, so that little of a rectangle is padding.
    """
    rows = max(1, rows)
    counts = wanted.sum(1)
    order = counts.argsort(descending=True)
    sizes = counts[order].tolist()
    columns = wanted.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    begin = 0
    while begin < len(sizes) and sizes[begin] > 0:
        width = sizes[begin]
        end = begin + 1
        while end < len(sizes) and sizes[end] > 0.75 * width and (end + 1 - begin) * width <= rows:
            end += 1
        samples = order[begin:end]
        step = max(1, rows // (end - begin))
        for first in range(0, width, step):
            elements = columns[samples, first : min(width, first + step)]
            yield samples, elements, wanted[samples].gather(1, elements)
        begin = end
