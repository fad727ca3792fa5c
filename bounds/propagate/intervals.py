"""Interval bound propagation by itself (Gowal et al. 2018): no fact is kept that no later step needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from bounds.graph import Graph, Node
from bounds.interval import Around, Interval
from bounds.kinds import Affine
from bounds.propagate.crown import spec_bounds
from bounds.propagate.facts import TINY, Facts, affine_cushion, node_facts
from bounds.propagate.problem import Problem
from bounds.rounding import U64, Level, gamma
from bounds.spec import Spec

# What an affine operator leaves for the rounding of later steps, and how many units of |W| (|c| + w) + |b|
# make sure of it: 2 for each, 8 for the split of an interval, and the rounding of the account itself.
_SPARE = 16
_ACCOUNT = 32
# Added to widths, so that whatever underflows is too small to matter.
_FAINT = 2.0**-950
_TINY = torch.tensor(TINY, dtype=torch.float64, device="cpu")
_LOST = 4  # units that the way to the ends may take


def outputs(problem: Problem) -> Interval:
    """Bounds of the output, (batch, *output_shape) each; NaN where nothing is known."""
    return _ends(_values(problem, set())[problem.graph.output], problem.rounded)


def rows(problem: Problem, spec: Spec) -> Interval:
    """Bounds of the rows of ``spec``, (batch, rows) each, with the last affine layers folded into them."""
    graph = problem.graph
    values = _values(problem, _folded(graph))
    nothing = Facts(Interval(*(problem.region.box().lower.new_empty(0),) * 2))
    facts = [_facts(values[i], problem.rounded) if i in values else nothing for i in range(len(graph.nodes))]
    return spec_bounds(problem, facts, spec, backward=False)


def _values(problem: Problem, keep: set[int]) -> dict[int, Facts | Around]:
    """What interval analysis says of the nodes in ``keep`` and of those that nothing else is made of.

    Around their centres, affine operators take two products and ReLU four passes, the account of rounding
    included, which costs a few passes of its own.
    """
    graph, region, rounded = problem.graph, problem.region, problem.rounded
    centred = problem.level is not Level.DEPLOYED
    values: dict[int, Facts | Around] = {0: Facts(region.box(), tight=True, box=region.is_box)}
    changing = not torch.is_grad_enabled()
    for index, node in enumerate(graph.nodes[1:], start=1):
        here: Facts | Around | None = None
        affine, ins = graph.affine.get(index), [values[i] for i in node.inputs]
        if index in keep:
            if affine is not None and not graph.users[index]:
                here = _passed(graph, node, affine, [_ends(x, rounded) for x in ins], problem.level)
        elif centred and affine is not None:
            here = _affine(graph, node, affine, ins, rounded)
        elif centred and isinstance(ins[0], Around):
            source = node.inputs[0]
            spent = changing and graph.users[source] == (index,) and graph.nodes[source].op.fresh
            here = node.op.around(ins[0], rounded, spent)
        if here is None:
            known = tuple([_facts(x, rounded) for x in ins])
            here = node_facts(graph, node, known, problem.level, relaxed=False)
        values[index] = here
        for source in graph.ending[index]:
            if source not in keep:
                del values[source]
    return values


def _affine(
    graph: Graph, node: Node, op: Affine, ins: Sequence[Facts | Around], rounded: bool
) -> Around | None:
    """Around the centre; None where the ends say more or are found as fast."""
    if (op.exact or (op.rising and not rounded)) and not all(isinstance(x, Around) for x in ins):
        return None
    known = [x if isinstance(x, Around) else _split(x.interval, rounded) for x in ins]
    weights, centres = op.weights(node.params), tuple([x.centre for x in known])
    # Widths come first: then the centre's product finds the weights in the caches, where |W| needed them.
    if op.exact or not rounded:
        width = op.absolute(tuple([x.width for x in known]), weights)
        centre = op.value(centres, node.params)
        if not rounded:
            return Around(centre, width, math.inf)
        if op.offset(node.params) is not None:  # constants in between have nothing to spare
            return Around(centre, width, 0)
        least, positive = min([x.spare for x in known]), op.rising and all(x.positive for x in known)
        return Around(centre, width, least, positive)
    shapes = tuple([graph.nodes[i].shape for i in node.inputs])
    # As a share of widths, which are two radii.
    error = 2 * gamma(op.terms(shapes, node.shape, node.params) + _ACCOUNT, U64)
    held = tuple([torch.add(x.width, x.distance, alpha=error) for x in known])
    width, offset = op.absolute(held, weights), op.offset_magnitude(node.params)
    own = _TINY if offset is None else torch.add(_TINY, offset, alpha=error)
    return Around(op.value(centres, node.params), torch.add(own, width, alpha=1 + error), _SPARE)


def _passed(graph: Graph, node: Node, op: Affine, ins: Sequence[Interval], level: Level) -> Facts:
    """The facts of a node that rows pass and nothing else is made of: no interval."""
    cushion = None
    if level is not Level.FLOAT and not op.exact:
        magnitude = op.absolute(tuple([x.magnitude for x in ins]), op.weights(node.params))
        cushion = affine_cushion(graph, node, op, magnitude, level)
    return Facts(Interval(*(ins[0].lower.new_empty(0),) * 2), cushion=cushion)


def _split(x: Interval, rounded: bool) -> Around:
    """The interval around its centre, but for some units of rounding."""
    width = x.upper - x.lower
    centre = torch.add(x.lower, width, alpha=0.5)
    return Around(centre, width.add_(_FAINT) if rounded else width, 0 if rounded else math.inf)


def _facts(x: Facts | Around, rounded: bool) -> Facts:
    return x if isinstance(x, Facts) else Facts(_ends(x, rounded))


def _ends(x: Facts | Around, rounded: bool) -> Interval:
    if isinstance(x, Facts):
        return x.interval
    ends = Interval(torch.sub(x.centre, x.width, alpha=0.5), torch.add(x.centre, x.width, alpha=0.5))
    if not rounded:
        return ends
    return ends.closed() if x.spare >= _LOST else ends.widened(_TINY)


def _folded(graph: Graph) -> set[int]:
    """The nodes that rows over the output reach through affine operators alone."""
    found, stack = set[int](), [graph.output]
    while stack:
        index = stack.pop()
        if index not in found:
            found.add(index)
            stack.extend(graph.nodes[index].inputs if index in graph.affine else ())
    return found
