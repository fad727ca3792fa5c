"""Backward propagation of rows: from a linear form over one node to one over the input.

Every form says ``row . node(x) + constant``; each step replaces the node by its inputs and keeps a lower
bound. All rows of a batch of samples travel together, ``per_sample`` rows for each, so that everything a
sample knows (lines, cushions) meets its rows by broadcasting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from types import MappingProxyType

import torch
from torch import Tensor

from bounds.errors import Unsupported
from bounds.graph import Graph
from bounds.interval import Interval
from bounds.kinds import Affine, Bilinear, Known, Operator, Pointwise
from bounds.linear import Coefficients, Patch, Shape, Unit, dense, total
from bounds.memory import cached
from bounds.propagate.facts import Facts
from bounds.propagate.forms import Forms, Layout, Own, Push, over_interval, products, value_range
from bounds.propagate.sieve import Sieve
from bounds.relaxation import Lines
from bounds.rounding import U64, gamma, unit
from bounds.sets import InputSet

_INFLATE = 1.0 + 2.0**-20  # covers the rounding of the sums that make up the slack
EVERY: tuple[type[Operator], ...] = (Affine, Pointwise, Bilinear, Known)
FEW = 32  # rows of a sample from which on leaving out dead neurons pays
_FULL = 0.6  # share of the image from which on a window is no longer worth its bookkeeping


def lower_bounds(
    graph: Graph,
    facts: list[Facts],
    region: InputSet,
    start: int,
    a: Coefficients,
    forms: Forms,
    through: tuple[type[Operator], ...] = EVERY,
    own: Mapping[int, Own] = MappingProxyType({}),
    record: dict[int, Tensor] | None = None,
    sieve: Sieve | None = None,
) -> Tensor:
    """Lower bounds over the region of ``a . node(start) + constant``; (rows,).

    own: lines of single rows. record: is filled with the rows, dense, at nonlinear nodes and at the input.
    sieve: which rows need not go all the way.

    The rows travel back through operators of the kinds in ``through`` and are concretised where they stop:
    over the region at the input, over the interval of any other node. See ``Forms.lower``.
    """
    stopped, forms = _travel(graph, facts, start, a, forms, through, own, record, sieve)
    layout, rounded = forms.layout, forms.slack is not None
    if sieve is not None:  # the input may be wider than anything after it
        sieve.measured(stopped, layout)
    ends = []
    for index, rows in stopped.items():
        if index > 0 or region.is_box:
            interval = region.box() if index == 0 else facts[index].interval
            ends.append(over_interval(layout, rows, interval, rounded))
        else:
            grouped = dense(rows).view(len(layout.samples), layout.per_sample, *region.shape)
            ends.append(-region.support(-grouped, layout.samples, rounded).flatten())
    lower = forms.lower(ends)
    return lower if sieve is None else sieve.note(lower)


def interval_bounds(
    graph: Graph, facts: list[Facts], region: InputSet, start: int, a: Coefficients, forms: Forms
) -> Interval:
    """Both bounds of ``a . node(start) + constant``, (rows,) each, through affine operators alone."""
    stopped, forms = _travel(graph, facts, start, a, forms, (Affine,), {}, None)
    layout, slack = forms.layout, forms.slack
    lower = upper = forms.constant
    for index, rows in stopped.items():
        if index > 0 or region.is_box:
            here = value_range(
                layout, rows, region.box() if index == 0 else facts[index].interval, slack is not None
            )
        else:
            grouped = dense(rows).view(len(layout.samples), layout.per_sample, *region.shape)
            low, high = (region.support(s * grouped, layout.samples, slack is not None) for s in (-1, 1))
            here = Interval(-low.flatten(), high.flatten())
        lower, upper = lower + here.lower, upper + here.upper
        if slack is not None:  # a unit for each of these sums, and one for that with the slack
            slack = torch.add(slack, Interval(lower, upper).magnitude, alpha=3 * U64)
    if slack is not None:
        cost = slack * _INFLATE
        lower, upper = lower - cost, upper + cost
    return Interval(lower, upper).closed()


def _travel(
    graph: Graph,
    facts: list[Facts],
    start: int,
    a: Coefficients,
    forms: Forms,
    through: tuple[type[Operator], ...],
    own: Mapping[int, Own],
    record: dict[int, Tensor] | None,
    sieve: Sieve | None = None,
) -> tuple[dict[int, Coefficients], Forms]:
    """Pull rows back node by node; returns what is left at each node where they stopped."""
    pending: dict[int, Coefficients] = {start: a}
    paid = set[int]()  # affine nodes whose cushion is in the constants already
    for index in range(start, 0, -1):
        node = graph.nodes[index]
        if index not in pending or not isinstance(node.op, through):
            continue
        if sieve is not None:
            pending, forms = sieve.sifted(pending, forms, facts, isinstance(node.op, Pointwise))
        here = pending.pop(index)
        if record is not None and isinstance(node.op, Pointwise | Bilinear):
            record[index] = dense(here)
        many = forms.layout.per_sample >= FEW and through == EVERY
        live = _live(graph, facts, own, index, start) if many and index < start else None
        pulled, forms = _through(graph, facts, index, own.get(index), here, forms, live, index in paid)
        if isinstance(node.op, Pointwise) and index not in own and facts[index].entering is not None:
            paid.add(node.inputs[0])
        # What is known of a composite is no function of its other inputs: nothing is pulled to those.
        for source, part in zip(node.inputs, pulled, strict=not isinstance(node.op, Known)):
            if forms.slack is not None and (lost := facts[source].underflow) is not None:
                forms = forms.minus(lost[forms.layout.index(lost)])
            if source not in pending:
                pending[source] = _settle(part)
                continue
            pending[source], forms = _joined(pending[source], part, facts[source], forms)
    if record is not None:
        record.update((index, dense(rows)) for index, rows in pending.items())
    return pending, forms


def _through(
    graph: Graph,
    facts: list[Facts],
    index: int,
    own: Own | None,
    a: Coefficients,
    forms: Forms,
    live: Tensor | None,
    paid: bool,
) -> tuple[tuple[Coefficients, ...], Forms]:
    """Rows over a node as rows over its inputs. paid: whether their constants know of the cushion."""
    op = graph.nodes[index].op
    if isinstance(op, Pointwise):
        pulled, forms = _through_pointwise(facts[index], own, a, forms)
        if own is None or own.push is None:
            return pulled, forms
        return _pushed(facts[graph.nodes[index].inputs[0]], own.push, pulled[0], forms)
    if isinstance(op, Affine):
        cushion = None if paid else facts[index].cushion
        if cushion is not None:
            forms = forms.minus(forms.layout.cost(a, cushion))
        return _through_affine(graph, index, op, facts, a, forms, live)
    if isinstance(op, Bilinear):
        shapes = [graph.nodes[i].shape for i in graph.nodes[index].inputs]
        return _through_bilinear(op, shapes, facts[index], own, a, forms)
    if own is None or own.push is None:
        return (a,), forms
    return _pushed(facts[index], own.push, a, forms)


def _joined(a: Coefficients, b: Coefficients, facts: Facts, forms: Forms) -> tuple[Coefficients, Forms]:
    """Two parts of rows over one node."""
    joined = total(a, b)
    if forms.slack is not None:
        cost = forms.layout.cost(joined, facts.interval.magnitude)
        forms = forms.minus(gamma(4, unit(cost.dtype)) * cost)
    return _settle(joined), forms


def _settle(a: Coefficients) -> Coefficients:
    return a.dense() if isinstance(a, Patch) and a.covers >= _FULL else a


def _live(graph: Graph, facts: list[Facts], own: Mapping[int, Own], index: int, start: int) -> Tensor | None:
    """Which elements of a node rows from ``start`` can reach: (batch, elements); None for all.

    Multipliers reach all of them.
    """
    users = [user for user in graph.users[index] if user <= start]
    masks = [facts[user].live for user in users]
    if not masks or any(mask is None for mask in masks) or pushed(own, users):
        return None
    if len(masks) == 1:
        return masks[0]
    return torch.stack([mask for mask in masks if mask is not None]).any(0)


def pushed(own: Mapping[int, Own], users: Sequence[int]) -> bool:
    """Whether rows have multipliers at any of some nodes."""
    return any(own[user].push is not None for user in users if user in own)


def _through_affine(
    graph: Graph,
    index: int,
    op: Affine,
    facts: list[Facts],
    a: Coefficients,
    forms: Forms,
    live: Tensor | None,
) -> tuple[tuple[Coefficients, ...], Forms]:
    """``a . (W x + b)`` as ``(W^T a) . x + a . b``; a vanishes outside ``live``."""
    node, layout = graph.nodes[index], forms.layout
    offset = None if facts[index].centred else op.offset(node.params)
    if offset is not None:
        forms = forms.plus(_constants(layout, a, offset, node.shape))
    weights, shapes = op.weights(node.params), [graph.nodes[i].shape for i in node.inputs]
    pulled: tuple[Coefficients, ...] | None = None
    if isinstance(a, Unit):
        pulled = op.adjoint_unit(a, weights, shapes, node.shape)
        if pulled is None and len(node.shape) == 3:
            a = a.patch()
    if isinstance(a, Patch):
        pulled = op.adjoint_patch(a, weights, shapes, node.shape)
    elif isinstance(a, Tensor) and live is not None:
        before = facts[node.inputs[0]].live
        wanted = None if before is None else before[layout.samples]
        found = op.adjoint_live(layout.grouped(a), weights, live[layout.samples], wanted)
        if found is not None:
            pulled = tuple(p.reshape(len(p), *shape) for p, shape in zip(found, shapes, strict=True))
    return pulled if pulled is not None else op.adjoint(dense(a), weights, shapes), forms


def _constants(layout: Layout, a: Coefficients, offset: Tensor, shape: Shape) -> Tensor:
    """``a . b``; (rows,). Windows over an offset of each channel need not look where they are."""
    if isinstance(a, Patch) and offset.shape == (shape[0], 1, 1):
        constants: Tensor = a.data.sum((2, 3)) @ offset.flatten()
        return constants
    return layout.dot(a, offset.expand(1, *shape))


def _through_pointwise(
    facts: Facts, own: Own | None, a: Coefficients, forms: Forms
) -> tuple[tuple[Coefficients], Forms]:
    """``a . f(z)`` from below: the lower line where a > 0, the upper line where a < 0.

    Written as the lower line everywhere plus the difference of the two where a < 0: fewer passes over the
    rows. The cushion covers the rounding of that difference, too.
    """
    around = facts.guarded if own is None else facts.lines
    if around is None:
        raise Unsupported("a pointwise function without lines")
    if isinstance(a, Patch) and own is None:
        return _patch_lines(around, a, forms)
    if own is not None and facts.cushion is not None:
        forms = forms.minus(forms.layout.cost(a, facts.cushion))
    layout, own = forms.layout, own or Own()

    def choose(mine: Tensor | None, shared: Tensor) -> Tensor:
        return layout.of(shared) if mine is None else layout.grouped(mine)

    whole = dense(a)
    rows = layout.grouped(whole)
    if own.cushion is not None:
        forms = forms.minus((rows.abs() * layout.grouped(own.cushion)).sum(2).flatten())
    low = choose(own.lower_intercept, around.lower_intercept)
    lifted = around.lifted if own.lower_intercept is None else bool(low.any())
    if own.lower_intercept is None and own.upper_intercept is None:
        higher = layout.of(around.higher)
    else:
        higher = choose(own.upper_intercept, around.upper_intercept) - low
    lower = choose(own.lower_slope, around.lower_slope)
    if own.lower_slope is None and own.upper_slope is None:
        steeper = layout.of(around.steeper)
    else:
        steeper = choose(own.upper_slope, around.upper_slope) - lower
    slopes, term = _met(rows, lower, steeper, low if lifted else None, higher)
    return (slopes.view_as(whole),), forms.plus(term.flatten())


def _met(
    rows: Tensor, slope: Tensor, steeper: Tensor, intercept: Tensor | None, higher: Tensor
) -> tuple[Tensor, Tensor]:
    """Rows through lower lines, and upper lines as differences from these where a row is < 0.

    rows: (samples, per_sample, elements), the others with one sample or row for all where it is the same;
    returns the rows behind the lines and what their constants gain, (samples, per_sample).
    """
    parts = cached(rows, rows[0].numel())
    slopes = torch.empty_like(rows) if len(parts) > 1 else None
    terms = []
    for part in parts:
        here, out = rows[part], None if slopes is None else slopes[part]
        low, over, high = (x if len(x) == 1 else x[part] for x in (slope, steeper, higher))
        negative = here.clamp(max=0)
        term = _products(negative, high)
        if intercept is not None:
            term = term + _products(here, intercept if len(intercept) == 1 else intercept[part])
        terms.append(term)
        found = torch.mul(here, low, out=out).addcmul_(negative, over)
    return (found, term) if slopes is None else (slopes, torch.cat(terms))


def _pushed(
    before: Facts, push: Push, a: Coefficients, forms: Forms
) -> tuple[tuple[Coefficients, ...], Forms]:
    """The rows over a node of which more is known than its interval, in exchange for a constant."""
    pulled = dense(a) - push.multiplier
    moved = (push.multiplier * push.at).reshape(len(pulled), -1)
    forms = forms.plus(moved.sum(1))
    if forms.slack is not None:
        forms = forms.minus(gamma(moved.shape[1] + 4, U64) * moved.abs().sum(1))
        lost = pulled.abs() + push.multiplier.abs()
        forms = forms.minus(gamma(4, U64) * forms.layout.cost(lost, before.interval.magnitude))
    return (pulled,), forms


def _products(rows: Tensor, x: Tensor) -> Tensor:
    """The inner product of every row (samples, per_sample, elements) with its sample's or its own x."""
    return products(rows, x.mT).squeeze(2) if x.shape[1] == 1 else (rows * x).sum(2)


def _through_bilinear(
    op: Bilinear, shapes: Sequence[Shape], facts: Facts, own: Own | None, a: Coefficients, forms: Forms
) -> tuple[tuple[Coefficients, ...], Forms]:
    """``a . (x y)`` from below: both planes are parallel, so only the constant depends on the sign of a.

    A turn t adds ``|a| t right_radius dx + a t left_radius dy`` (see ``Planes``).
    """
    if facts.planes is None:
        raise Unsupported("a product without planes")
    planes, layout = facts.planes, forms.layout
    if facts.cushion is not None:
        forms = forms.minus(layout.cost(a, facts.cushion))
    forms = forms.plus(-layout.dot(a, planes.shift))
    forms = forms.plus(-layout.dot(a, planes.spread, absolute=True))
    whole = dense(a)
    rows = whole.view(len(layout.samples), layout.per_sample, *whole.shape[1:])

    def held(*xs: Tensor) -> tuple[Tensor, ...]:
        return tuple(x[layout.samples][:, None] for x in xs)

    pulled = tuple(part.flatten(0, 1) for part in op.adjoint(rows, *held(planes.left, planes.right)))
    if own is None or own.turn is None:
        return pulled, forms
    turn = own.turn.view(*rows.shape[:2], *own.turn.shape[1:])
    each, apart = appended(rows, turn), op.apart(shapes)
    radii = held(planes.left_radius, planes.right_radius)
    turned = (apart.adjoint(each.abs() * turn, *radii)[0], apart.adjoint(each * turn, *radii)[1])
    over = tuple(part.flatten(0, 1) for part in turned)
    for part, middle in zip(over, (planes.left, planes.right), strict=True):
        forms = forms.plus(-layout.dot(part, middle))
    return tuple(p + t for p, t in zip(pulled, over, strict=True)), forms


def appended(x: Tensor, like: Tensor) -> Tensor:
    """The tensor with more axes at its end, along which it is repeated."""
    return x.view(*x.shape, *[1] * (like.dim() - x.dim())).expand_as(like)


def _patch_lines(around: Lines, a: Patch, forms: Forms) -> tuple[tuple[Coefficients], Forms]:
    """The same for windows: all that belongs to one window is cut out together."""
    stacked = around.stacked
    windows = a.gather(stacked, forms.layout.index(stacked)).chunk(len(stacked[0]) // a.shape[0], dim=1)
    negative = a.data.clamp(max=0)
    term = negative * windows[2]
    if around.lifted:
        term.addcmul_(a.data, windows[3])
    data = (a.data * windows[0]).addcmul_(negative, windows[1])
    return (Patch(data, a.top, a.left, a.shape),), forms.plus(term.flatten(1).sum(1))


def dense_width(graph: Graph, start: int) -> int:
    """The most elements that one dense row can have on its way from ``start``."""
    return max(prod(node.shape) for node in graph.nodes[: start + 1])
