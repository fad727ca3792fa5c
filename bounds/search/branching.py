"""Where to cut a domain: candidates by what their relaxation loses, chosen by trying them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.kinds import Pointwise
from bounds.propagate.alpha import Pace
from bounds.propagate.dual import Pass
from bounds.search.bounding import Bounded, Root, bounded
from bounds.search.domains import Domains, Places
from bounds.search.sensitivity import losses, owed
from bounds.spec import Spec

_TRIED = 5  # candidates per domain whose children are bounded before one is chosen
_POTENTIAL = 0.3  # weight of what a line may lose anywhere, against what it loses at the minimiser
_EXACT = 0.05  # weight of a row's change over an input, against what lines lose because of the input


@dataclass(frozen=True, eq=False)
class Candidates:
    """Places to cut, the most promising first; (domains, count) each. score 0: nothing to be gained."""

    node: Tensor
    element: Tensor
    at: Tensor
    score: Tensor

    def pick(self, which: Tensor) -> Places:
        """One of each domain's places; which: (domains,)."""
        return Places(*(x.gather(1, which[:, None])[:, 0] for x in (self.node, self.element, self.at)))

    def __getitem__(self, keep: Tensor) -> Candidates:
        return Candidates(*(x[keep] for x in (self.node, self.element, self.at, self.score)))

    def where(self, keep: Tensor, other: Candidates) -> Candidates:
        """These for the domains in ``keep``, the other ones elsewhere; (domains,)."""
        count = min(self.node.shape[1], other.node.shape[1])
        pairs = zip(
            (self.node, self.element, self.at, self.score),
            (other.node, other.element, other.at, other.score),
            strict=True,
        )
        return Candidates(*(torch.where(keep[:, None], a[:, :count], b[:, :count]) for a, b in pairs))


def neurons(found: Bounded, spec: Spec, count: int, nodes: Collection[int] | None = None) -> Candidates:
    """Neurons by what their lines lose, at the row's minimiser and at most (after Bunel et al. 2020, BaBSR).

    At the minimiser the bound is the network with every neuron replaced by its line; the losses of all
    neurons there sum up to the gap between bound and network. nodes: that may be cut, None for all.
    """
    last, row = found.last, deciding_rows(found, spec)
    graph, facts = last.graph, found.facts
    points = last.minimisers(max(last.rows))
    best: list[Candidates] = []
    for index in sorted(last.rows):
        op = graph.nodes[index].op
        if not isinstance(op, Pointwise):
            continue
        op, source = op.bind(graph.nodes[index].params), graph.nodes[index].inputs[0]
        x, around = facts[source].interval, facts[index].lines
        if around is None or (nodes is not None and source not in nodes):
            continue
        a, z, line = (values[row] for values in (last.rows[index], points[source], points[index]))
        loss = (a * (op.function(z) - line)).abs()
        at = op.split(x)
        score = (loss + _POTENTIAL * losses(op, x, around, a)).nan_to_num(0, 0, 0)
        inside = (x.lower < at) & (at < x.upper) & op.undecided(x)
        best.append(_top(torch.where(inside, score, 0.0), at, source, count))
    return _merged(best, len(found.domains), count, row)


def inputs(found: Bounded, spec: Spec, count: int, own: int) -> Candidates:
    """Inputs by how much of what lines lose for the row that decides is owed to them, cut in the middle.

    own: how many of them, from the first on, may be cut. How much the row itself changes over them breaks
    ties: a bound that is exact misses nothing else.
    """
    row, box = deciding_rows(found, spec), found.last.region.box()
    width = (box.upper - box.lower).flatten(1)
    width = width.masked_fill(torch.arange(width.shape[1], device=width.device) >= own, 0.0)
    varying = max(1, int((width > 0).sum(1).max()))
    widest = width.topk(varying, dim=1).indices
    score = found.last.rows[0][row].flatten(1).abs() * width * _EXACT + width * torch.finfo(width.dtype).tiny
    score = score.scatter_add(1, widest, owed(found.last, row, widest)).view_as(box.lower)
    inside = (box.lower < box.centre) & (box.centre < box.upper)
    top = _top(torch.where(inside, score, 0.0), box.centre, 0, count)
    return _merged([top], len(found.domains), count, row)


def chosen(root: Root, domains: Domains, places: Candidates, refine: bool) -> Tensor:
    """Of each domain's candidates the one whose worse child is bounded best (De Palma et al. 2021, FSB)."""
    tried = min(_TRIED, places.node.shape[1])
    if tried <= 1:
        return torch.zeros_like(domains.question)
    gains = []
    for k in range(tried):
        which = torch.full_like(domains.question, k)
        children = bounded(root, domains.cut(places.pick(which)), Pace(0), refine)
        value = root.asked(children.domains.question).worst(children.rows)
        value = value.masked_fill(children.empty, torch.inf).clamp(max=0)
        worse = value.view(2, -1).amin(0) + 1e-3 * value.view(2, -1).amax(0)
        gains.append(worse.masked_fill(places.score[:, k] <= 0, -torch.inf))
    return torch.stack(gains, 1).argmax(1)


def deciding_rows(found: Bounded, spec: Spec) -> Tensor:
    """The row that decides each domain: of its worst clause the best; an index into all rows, (domains,)."""
    values = found.rows
    if spec.clause is None:
        best = values.argmin(1)
    else:
        worst = spec.clauses(values).argmin(1)
        mine = spec.clause.expand(len(values), -1) == worst[:, None]
        best = values.masked_fill(~mine, -torch.inf).argmax(1)
    return torch.arange(len(values), device=values.device) * values.shape[1] + best


def minimisers(last: Pass, row: Tensor) -> Tensor:
    """The input at which the bound of each domain's row is taken; (domains, *shape)."""
    return last.minimisers(0)[0][row]


def _top(score: Tensor, at: Tensor, node: int, count: int) -> Candidates:
    flat = score.flatten(1)
    values, element = flat.topk(min(count, flat.shape[1]), dim=1)
    return Candidates(torch.full_like(element, node), element, at.flatten(1).gather(1, element), values)


def _merged(found: list[Candidates], domains: int, count: int, like: Tensor) -> Candidates:
    """The best of several lists; a domain without any place has score 0."""
    if not found:
        nothing = torch.zeros(domains, 1, dtype=torch.long, device=like.device)
        return Candidates(nothing, nothing, nothing.double(), nothing.double())
    node, element, at, score = (
        torch.cat([getattr(each, name) for each in found], 1) for name in ("node", "element", "at", "score")
    )
    order = score.topk(min(count, score.shape[1]), dim=1).indices
    return Candidates(*(x.gather(1, order) for x in (node, element, at, score)))
