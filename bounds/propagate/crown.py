"""Bounds by linear relaxation: IBP, CROWN-IBP and CROWN.

CROWN (Zhang et al. 2018; DeepPoly, Singh et al. 2019) propagates rows backward through two lines per
nonlinear neuron. The lines need bounds of what enters each neuron. Interval analysis gives a first set;
``crown`` tightens those neurons that it leaves undecided, each sample its own, by rows of their own.
Every bound keeps the better of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bounds.graph import Graph
from bounds.interval import Interval
from bounds.kinds import Bilinear, Pointwise
from bounds.linear import Unit
from bounds.piecewise import Piecewise
from bounds.propagate import alpha
from bounds.propagate.facts import Facts, node_facts
from bounds.propagate.forms import Layout
from bounds.propagate.narrow import Narrow
from bounds.propagate.problem import Problem
from bounds.propagate.rows import dense_width, interval_bounds, lower_bounds
from bounds.propagate.sieve import Sieve
from bounds.spec import Spec

_FEW = 32  # undecided neurons of a sample up to which a second pass costs more than it saves
# Neurons, and coefficients of a row, from which on rows in float32 are tried before those in float64, and on
# how many.
_MANY, _WIDE, _TRIED = 1024, 1024, 128
_LITTLE = 2**13  # rows that cost little more than one


def forward_facts(
    problem: Problem, tighten: bool, relaxed: bool = True, steps: int = 0, known: list[Facts] | None = None
) -> list[Facts]:
    """Facts of every node, in order.

    relaxed: whether lines are found, too, not only intervals. tighten: whether undecided neurons get rows of
    their own; steps: gradient steps on the slopes of each of these. known: facts of the same problem to be
    at least as tight as; rows that they had are not computed again without steps.
    """
    graph, region = problem.graph, problem.region
    plain = known is None or steps == 0
    facts = [Facts(region.box(), tight=True, box=region.is_box)]
    narrow = Narrow(problem, facts) if tighten and plain and Narrow.suits(problem) else None
    for index, node in enumerate(graph.nodes[1:], start=1):
        problem.check_time()
        here = node_facts(graph, node, tuple(facts[i] for i in node.inputs), problem.level, relaxed)
        if known is not None:
            here = replace(here, interval=here.interval.met(known[index].interval.closed()))
        facts.append(here)
        if tighten and not here.tight:
            facts[index] = replace(here, interval=_tightened(problem, facts, index, narrow, plain, steps))
    return facts


def spec_bounds(problem: Problem, facts: list[Facts], spec: Spec, backward: bool) -> Interval:
    """Bounds of the rows of ``spec``, (batch, rows) each.

    By interval analysis with the specification folded into the last affine layers; with ``backward`` the
    lower ends also by rows that travel all the way to the input. Keeps the better.
    """
    graph, region, shape = problem.graph, problem.region, (len(problem.region), spec.matrix.shape[1])
    lower, upper = [], []
    for rows, forms in problem.asked(spec):
        found = interval_bounds(graph, facts, region, graph.output, rows, forms)
        upper.append(found.upper)
        if backward:
            found = replace(
                found,
                lower=torch.maximum(
                    found.lower, lower_bounds(graph, facts, region, graph.output, rows, forms)
                ),
            )
        lower.append(found.lower)
    return Interval(torch.cat(lower).view(shape), torch.cat(upper).view(shape))


def climbed(
    problem: Problem, facts: list[Facts], spec: Spec, steps: int, lower: Tensor, wanted: Tensor
) -> Tensor:
    """The lower bounds of ``spec`` met with those after ``steps`` gradient steps on the wanted rows' slopes.

    lower: bounds so far, wanted: a mask, both (batch, rows).
    """
    batch = len(problem.region)
    matrix, offset = spec.matrix.expand(batch, -1, -1), spec.offset.expand(batch, -1)
    best = lower.clone()
    for samples, ends, valid in _chunks(wanted, lambda: alpha.rows_at_once(problem)):
        of = samples[:, None].expand_as(ends)
        rows = matrix[of, ends].reshape(-1, *problem.graph.output_shape)
        layout = Layout(samples, ends.shape[1])
        found = alpha.improved(problem, facts, rows, layout, offset[of, ends].flatten(), steps)
        of, rows = of[valid], ends[valid]
        best[of, rows] = torch.maximum(best[of, rows], found.view(ends.shape)[valid])
    return best


def undecided_elements(problem: Problem, index: int, x: Interval) -> Tensor:
    """Which of a node's elements enter a nonlinear neuron that a tighter interval would help."""
    result = torch.zeros((), dtype=torch.bool, device=x.lower.device).expand(x.lower.shape)
    for user in problem.graph.users[index]:
        node = problem.graph.nodes[user]
        if isinstance(node.op, Pointwise):
            result = result | node.op.bind(node.params).undecided(x)
        elif isinstance(node.op, Bilinear):
            result = result | (x.lower < x.upper)
    return result


@dataclass(frozen=True, eq=False)
class _Way:
    """How rows for single neurons are bounded.

    lower: their bounds, (rows,), and how many coefficients a row had at most, 0 where nobody counts. fitting:
    how many rows fit into memory, given such a count.
    """

    lower: Callable[[Layout, Unit], tuple[Tensor, int]]
    fitting: Callable[[int], int]


def _plain(problem: Problem, facts: list[Facts], index: int) -> _Way:
    """Through the facts' own lines."""
    kinked = _kinked(problem.graph, index)

    def lower(layout: Layout, unit: Unit) -> tuple[Tensor, int]:
        zero = torch.zeros_like(unit.sign)
        sieve = Sieve(zero) if kinked else None
        forms = problem.forms(layout, zero)
        found = lower_bounds(problem.graph, facts, problem.region, index, unit, forms, sieve=sieve)
        return found, 0 if sieve is None else sieve.widest

    return _Way(lower, lambda widest: problem.rows_at_once(index, widest or None))


def _stepped(problem: Problem, facts: list[Facts], index: int, steps: int) -> _Way:
    """Each with slopes of its own, by gradient steps."""
    until = problem.until(index)

    def lower(layout: Layout, unit: Unit) -> tuple[Tensor, int]:
        zero = torch.zeros_like(unit.sign)
        return alpha.improved(until, facts[: index + 1], unit.dense(), layout, zero, steps), 0

    return _Way(lower, lambda _: alpha.rows_at_once(until))


def _tightened(
    problem: Problem, facts: list[Facts], index: int, narrow: Narrow | None, plain: bool, steps: int
) -> Interval:
    """The node's interval, intersected with CROWN bounds of the elements that are undecided.

    narrow: for rows in float32 before all others. plain: with the facts' own lines before those with steps.
    """
    x = facts[index].interval
    undecided = undecided_elements(problem, index, x)
    if narrow is not None and _kinked(problem.graph, index):
        x, undecided = _narrowed(problem, narrow, index, x, undecided)
    if plain:
        x, undecided = _both_ends(problem, index, x, undecided, _plain(problem, facts, index))
    if steps:
        x, undecided = _both_ends(problem, index, x, undecided, _stepped(problem, facts, index, steps))
    return x


def _narrowed(
    problem: Problem, narrow: Narrow, index: int, x: Interval, undecided: Tensor
) -> tuple[Interval, Tensor]:
    """The interval met with bounds in float32, where they decide most neurons of a sample of many."""
    count = int(undecided.sum())
    if count < _MANY or dense_width(problem.graph, index) < _WIDE or not narrow.reaches(index):
        return x, undecided
    way = _Way(
        lambda layout, unit: narrow.lower(index, layout, unit),
        lambda widest: problem.quick.rows_at_once(index, widest or None),
    )
    chosen = undecided.flatten().nonzero()[:: count // _TRIED, 0]
    some = torch.zeros_like(undecided).flatten().index_fill(0, chosen, True).view_as(undecided)
    x, left = _both_ends(problem, index, x, some, way)
    others = undecided & ~some
    if 2 * int(left.sum()) < len(chosen):
        x, others = _both_ends(problem, index, x, others, way)
    return x, left | others


def _both_ends(
    problem: Problem, index: int, x: Interval, undecided: Tensor, way: _Way
) -> tuple[Interval, Tensor]:
    """The interval met with bounds of undecided elements, and which of these are undecided still.

    The end nearer to zero first: where that alone decides a neuron, the other end needs no row. Samples with
    few such neurons send both ends at once.
    """
    if not bool(undecided.any()):
        return x, undecided
    positive = x.lower + x.upper > 0
    few = undecided.reshape(len(undecided), -1).sum(1) <= _FEW
    every = few.view(-1, *[1] * (undecided.dim() - 1))
    for lower, upper in ((positive | every, ~positive | every), (~positive & ~every, positive & ~every)):
        wanted = torch.stack([undecided & lower, undecided & upper], dim=1)
        if bool(wanted.any()):
            x = _with_rows(problem, index, x, wanted, way)
            undecided = undecided & undecided_elements(problem, index, x)
    return x, undecided


def _with_rows(problem: Problem, index: int, x: Interval, wanted: Tensor, way: _Way) -> Interval:
    """The interval met with backward bounds of the wanted ends; wanted: (batch, 2, *shape), lower first."""
    shape, batch = problem.graph.nodes[index].shape, len(x.lower)
    known, widest = torch.stack([x.lower, -x.upper], dim=1).reshape(batch, -1), [0]
    width = known.shape[1] // 2
    for samples, ends, valid in _chunks(wanted.reshape(batch, -1), lambda: way.fitting(max(widest))):
        problem.check_time()
        sign = torch.where(ends < width, 1.0, -1.0).to(known).flatten()
        unit = Unit((ends % width).flatten(), sign, shape)
        found, coefficients = way.lower(Layout(samples, ends.shape[1]), unit)
        widest.append(coefficients)
        rows, columns = samples[:, None].expand_as(ends)[valid], ends[valid]
        known[rows, columns] = torch.maximum(known[rows, columns], found.view(ends.shape)[valid])
    lower, upper = known.view(batch, 2, *shape).unbind(1)
    return Interval(torch.minimum(lower, -upper), torch.maximum(lower, -upper))


def _kinked(graph: Graph, index: int) -> bool:
    """Whether nothing counts of a node's intervals but on which side of zero they are, if on one."""
    for user in graph.users[index]:
        node = graph.nodes[user]
        op = node.op.bind(node.params) if isinstance(node.op, Pointwise) else node.op
        straight = isinstance(op, Piecewise) and op.breaks == (0.0,) and not any(op.curvature)
        if isinstance(op, Pointwise | Bilinear) and not straight:
            return False
    return True


def _chunks(wanted: Tensor, at_once: Callable[[], int]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Cut the wanted elements of a (batch, ends) mask into rectangles of at most ``at_once`` entries.

    at_once: is asked again for each rectangle; at least 1.
    Yields samples (s,), elements (s, k) and which of them are real (s, k); samples with similar counts go
    together, so that little of a rectangle is padding, or what is too little to be worth another rectangle.
    """
    rows = at_once()
    if wanted.numel() <= rows and bool(wanted.all()):
        samples, elements = (torch.arange(n, device=wanted.device) for n in wanted.shape)
        yield samples, elements.expand(wanted.shape), wanted
        return
    little = min(rows, _LITTLE) // 4
    counts = wanted.sum(1)
    order = counts.argsort(descending=True)
    sizes = counts[order].tolist()
    columns = wanted.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    begin = 0
    while begin < len(sizes) and sizes[begin] > 0:
        width, rows = sizes[begin], at_once()
        end, padded = begin + 1, 0
        while end < len(sizes) and sizes[end] > 0 and (end + 1 - begin) * width <= rows:
            padded += width - sizes[end]
            if sizes[end] <= 0.75 * width and padded > little:
                break
            end += 1
        samples = order[begin:end]
        first = 0
        while first < width:
            last = min(width, first + max(1, at_once() // (end - begin)))
            elements = columns[samples, first:last]
            yield samples, elements, wanted[samples].gather(1, elements)
            first = last
        begin = end
