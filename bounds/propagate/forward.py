"""Forward linear relaxation: one pass of zonotopes from the input to the output.

Every node's interval is the better of interval analysis and of its zonotope, and nonlinear steps work on
that interval. The input's part is kept as coefficients over the input where the region is more than a box,
so that balls keep their shape; a box's elements are symbols like all others. What does not fit into the
memory budget is reduced in order, in the extreme to interval analysis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from bounds.graph import Graph, Node
from bounds.interval import Interval
from bounds.kinds import Affine, Bilinear, Known, Pointwise
from bounds.propagate import zonotope
from bounds.propagate.crown import spec_bounds
from bounds.propagate.facts import Facts, executed, node_facts
from bounds.propagate.problem import Problem
from bounds.propagate.rows import dense_width
from bounds.propagate.zonotope import Zonotope
from bounds.rounding import Level
from bounds.spec import Spec

_COPIES = 6  # of a node's generators: its own, the source's, what a step needs beside them


def row_bounds(problem: Problem, spec: Spec, generators: int | None = None) -> tuple[Interval, list[Facts]]:
    """Bounds of the rows of ``spec`` (batch, rows), and the facts of every node that came with them.

    generators: that each node keeps at most besides the input's, None for what fits.

    Never looser than interval analysis. Samples go in chunks of what fits into the memory budget.
    """
    batch, plan = len(problem.region), _Plan.of(problem, generators)
    parts, facts = [], []
    for samples in torch.split(torch.arange(batch, device=spec.matrix.device), plan.samples):
        here, rows = problem[samples], spec[samples]
        found, output = _propagated(here, plan)
        matrix, offset = (x.expand(len(samples), *x.shape[1:]) for x in (rows.matrix, rows.offset))
        last = zonotope.rows(output, matrix, offset, problem.rounded)
        interval = last.interval(here.region, problem.rounded)
        parts.append(interval.met(spec_bounds(here, found, rows, backward=False)))
        facts.append(found)
    return _cat(parts), [_joined(nodes) for nodes in zip(*facts, strict=True)]


@dataclass(frozen=True)
class _Plan:
    """How the memory budget is spent: samples at once, generators per node, whether the input is symbols."""

    samples: int
    limit: int
    symbolic: bool

    @staticmethod
    def of(problem: Problem, generators: int | None) -> _Plan:
        graph, region = problem.graph, problem.region
        element = dense_width(graph, graph.output) * region.box().lower.element_size()
        fits = max(1, problem.memory // (_COPIES * element))
        inputs = prod(graph.input_shape)
        # Coefficients over the input cannot be reduced: they get at most half of the budget.
        symbolic = region.is_box or 2 * inputs > fits
        limit = fits if symbolic else fits - inputs
        if generators is not None:
            limit = min(limit, generators)
        most = _most(graph, limit) + (0 if symbolic else inputs)
        return _Plan(max(1, fits // max(1, min(fits, most))), limit, symbolic)


def facts_of(problem: Problem, generators: int) -> list[Facts]:
    """The facts of every node, whose zonotopes keep that many generators at most."""
    plan = replace(_Plan.of(problem, generators), samples=len(problem.region))
    return _propagated(problem, plan)[0]


def _most(graph: Graph, limit: int) -> int:
    """The most generators that a node may have before those beyond the limit are put together."""
    counts: list[int] = []
    most = born = 0
    for index, node in enumerate(graph.nodes):
        here = min(born, sum(counts[source] for source in set(node.inputs)))
        most = max(most, here)
        if _spreads(graph, index):
            new = min(prod(node.shape), limit)
            most, born, here = max(most, here + new), born + new, min(here + new, limit)
        counts.append(here)
    return most


def _spreads(graph: Graph, index: int) -> bool:
    """Whether a node's box must become symbols: where its elements meet each other or part ways."""
    users = graph.users[index]
    if len(users) != 1:
        return len(users) > 1
    op = graph.nodes[users[0]].op
    if graph.nodes[users[0]].inputs.count(index) > 1:
        return True
    return isinstance(op, Bilinear) or (isinstance(op, Affine) and not (op.elementwise or op.exact))


def _propagated(problem: Problem, plan: _Plan) -> tuple[list[Facts], Zonotope]:
    """The facts of every node, and the zonotope of the output."""
    graph, region, rounded = problem.graph, problem.region, problem.rounded
    facts = [Facts(region.box(), tight=True, box=region.is_box)]
    alive: dict[int, Zonotope] = {}
    first = 0
    for index, node in enumerate(graph.nodes):
        if index == 0:
            z = zonotope.of_input(region, plan.symbolic, rounded)
        else:
            ins = tuple(facts[i] for i in node.inputs)
            here = node_facts(graph, node, ins, problem.level, relaxed=isinstance(node.op, Bilinear))
            z = _step(problem, node, ins, here, tuple(alive[i] for i in node.inputs))
            interval = here.interval.met(z.interval(region, rounded))
            facts.append(replace(here, interval=interval))
            z = z.held_by(interval, rounded)
            for source in node.inputs:
                if graph.users[source][-1] == index:
                    alive.pop(source, None)
        if _spreads(graph, index):
            z = z.with_symbols(first, plan.limit)
        first += prod(node.shape)
        alive[index] = z
    return facts, alive[graph.output]


def _step(
    problem: Problem, node: Node, ins: tuple[Facts, ...], here: Facts, zs: tuple[Zonotope, ...]
) -> Zonotope:
    """One node's zonotope from those of its inputs; of its interval alone where the kind has no such step.

    The facts' cushion bounds, per element, what rounding did to an execution that the level speaks of.
    """
    op, rounded = node.op, problem.rounded
    if isinstance(op, Known):
        return zs[0]
    shapes = tuple(problem.graph.nodes[i].shape for i in node.inputs)
    if isinstance(op, Pointwise):
        bound = op.bind(node.params)
        z = zonotope.pointwise(bound, zs[0], ins[0].interval, rounded)
        if problem.level is Level.DEPLOYED and (bound.ulps or bound.floor):
            return _wider(z, executed(bound, ins[0].interval, here.interval))
        return z
    if isinstance(op, Affine):
        z = zonotope.affine(op, node.params, zs, shapes, node.shape, rounded)
    elif isinstance(op, Bilinear) and here.planes is not None:
        z = zonotope.bilinear(op, zs[0], zs[1], here.planes, op.terms(shapes, node.shape), rounded)
    else:
        return zonotope.of_interval(here.interval, zs[0], rounded)
    return z if here.cushion is None else _wider(z, here.cushion)


def _wider(z: Zonotope, error: Tensor) -> Zonotope:
    return replace(z, box=(z.box + error) * (1 + 2.0**-50))


def _cat(parts: Sequence[Interval]) -> Interval:
    return Interval(torch.cat([part.lower for part in parts]), torch.cat([part.upper for part in parts]))


def _joined(parts: tuple[Facts, ...]) -> Facts:
    """One node's facts of all samples; of intervals alone."""
    return Facts(_cat([part.interval for part in parts]), tight=parts[0].tight, box=parts[0].box)
