"""Interval bound propagation by itself (Gowal et al. 2018): no fact is kept that no later step needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from bounds.graph import Graph, Node
from bounds.interval import Around, Interval
from bounds.kinds import Affine, Tensors
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
    values, _ = _values(problem, set())
    return _ends(values[problem.graph.output], problem.rounded)


def rows(problem: Problem, spec: Spec) -> Interval:
    """Bounds of the rows of ``spec``, (batch, rows) each, with the last affine layers folded into them."""
    graph = problem.graph
    _, known = _values(problem, _folded(graph))
    nothing = Facts(_nothing(problem.region.box()))
    facts = [known.get(i, nothing) for i in range(len(graph.nodes))]
    return spec_bounds(problem, facts, spec, backward=False)


def _values(problem: Problem, folded: set[int]) -> tuple[dict[int, Interval | Around], dict[int, Facts]]:
    """What interval analysis says of nodes that nothing else is made of, and the facts of ``folded`` ones.

    Around their centres, affine operators take two products and ReLU four passes, the account of rounding
    included, which costs a few passes of its own.
    """
    graph, level, rounded = problem.graph, problem.level, problem.rounded
    centred, changing = level is not Level.DEPLOYED, not torch.is_grad_enabled()
    kept = graph.magnitudes if changing and not rounded else {}
    values: dict[int, Interval | Around] = {0: problem.region.box()}
    facts: dict[int, Facts] = {}
    for index, node in enumerate(graph.nodes[1:], start=1):
        ins, affine = [values[i] for i in node.inputs], graph.affine.get(index)
        here: Interval | Around | None = None
        if index in folded:
            facts[index] = _known(graph, index, ins, level, True)
            here = facts[index].interval
        elif centred and affine is not None and rounded:
            here = _affine(graph, node, affine, ins)
        elif centred and affine is not None:
            here = _plain(node, affine, ins, kept.get(index))
        elif centred and isinstance(ins[0], Around):
            here = node.op.around(ins[0], rounded, changing and node.inputs[0] in graph.spendable)
        values[index] = _known(graph, index, ins, level, False).interval if here is None else here
        for source in graph.ending[index]:
            del values[source]
    if 0 in folded:
        facts[0] = Facts(problem.region.box())
    return values, facts


def _known(graph: Graph, index: int, ins: Sequence[Interval | Around], level: Level, folded: bool) -> Facts:
    """The facts of a node; no interval where it is ``folded`` and only rows pass it."""
    node, affine, rounded = graph.nodes[index], graph.affine.get(index), level is not Level.FLOAT
    ends = [_ends(x, rounded) for x in ins]
    if not folded or affine is None or graph.users[index]:
        return node_facts(graph, node, tuple([Facts(x) for x in ends]), level, relaxed=False)
    cushion = None
    if rounded and not affine.exact:
        magnitude = affine.absolute(tuple([x.magnitude for x in ends]), affine.magnitudes(node.params))
        cushion = affine_cushion(graph, node, affine, magnitude, level)
    return Facts(_nothing(ends[0]), cushion=cushion)


def _plain(
    node: Node, op: Affine, ins: Sequence[Interval | Around], magnitudes: Tensors | None
) -> Interval | Around | None:
    """Without an account of rounding; None where the ends say more. magnitudes: of the weights, if known."""
    known = [x for x in ins if isinstance(x, Around)]
    if len(known) < len(ins):
        if op.rising:
            ends = [_ends(x, False) for x in ins]
            lower = op.value(tuple([x.lower for x in ends]), node.params)
            return Interval(lower, op.value(tuple([x.upper for x in ends]), node.params))
        if op.exact:
            return None
        known = [_split(x, False) for x in ins]
    # Widths come first: then the centre's product finds the weights in the caches, where |W| needed them.
    magnitudes = op.magnitudes(node.params) if magnitudes is None else magnitudes
    width = op.absolute(tuple([x.width for x in known]), magnitudes)
    return Around(op.value(tuple([x.centre for x in known]), node.params), width, math.inf)


def _affine(graph: Graph, node: Node, op: Affine, ins: Sequence[Interval | Around]) -> Around | None:
    """With an account of rounding; None where the ends say more."""
    if op.exact and not all(isinstance(x, Around) for x in ins):
        return None
    known = [_split(x, True) for x in ins]
    magnitudes, centres = op.magnitudes(node.params), tuple([x.centre for x in known])
    if op.exact:
        width = op.absolute(tuple([x.width for x in known]), magnitudes)
        centre = op.value(centres, node.params)
        if op.offset(node.params) is not None:  # constants in between have nothing to spare
            return Around(centre, width, 0)
        least, positive = min([x.spare for x in known]), op.rising and all(x.positive for x in known)
        return Around(centre, width, least, positive)
    shapes = tuple([graph.nodes[i].shape for i in node.inputs])
    # As a share of widths, which are two radii.
    error = 2 * gamma(op.terms(shapes, node.shape, node.params) + _ACCOUNT, U64)
    held = tuple([torch.add(x.width, x.distance, alpha=error) for x in known])
    width, offset = op.absolute(held, magnitudes), op.offset_magnitude(node.params)
    own = _TINY if offset is None else torch.add(_TINY, offset, alpha=error)
    return Around(op.value(centres, node.params), torch.add(own, width, alpha=1 + error), _SPARE)


def _split(x: Interval | Around, rounded: bool) -> Around:
    """The interval around its centre, but for some units of rounding."""
    if isinstance(x, Around):
        return x
    width = x.upper - x.lower
    centre = torch.add(x.lower, width, alpha=0.5)
    return Around(centre, width.add_(_FAINT) if rounded else width, 0 if rounded else math.inf)


def _ends(x: Interval | Around, rounded: bool) -> Interval:
    if isinstance(x, Interval):
        return x
    ends = Interval(torch.sub(x.centre, x.width, alpha=0.5), torch.add(x.centre, x.width, alpha=0.5))
    if not rounded:
        return ends
    return ends.closed() if x.spare >= _LOST else ends.widened(_TINY)


def _nothing(like: Interval) -> Interval:
    """In place of an interval that nothing is made of."""
    return Interval(*(like.lower.new_empty(0),) * 2)


def _folded(graph: Graph) -> set[int]:
    """The nodes that rows over the output reach through affine operators alone."""
    found, stack = set[int](), [graph.output]
    while stack:
        index = stack.pop()
        if index not in found:
            found.add(index)
            stack.extend(graph.nodes[index].inputs if index in graph.affine else ())
    return found
