"""Domains of a search: the part of a region where some neurons or inputs are cut, as batched values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.propagate.turns import Place

NOWHERE = -1  # the node of a place without a cut


@dataclass(frozen=True, eq=False)
class Cuts:
    """Constraints ``side * (z - at) >= 0`` on single elements z of nodes; (domains, depth) each.

    node: index in the graph, ``NOWHERE`` for no constraint. element: in the flattened node. side: +1 or -1.
    The split tree is in them: a domain's cuts, in order, are the way to it from the root.
    """

    node: Tensor
    element: Tensor
    at: Tensor
    side: Tensor

    @classmethod
    def none(cls, domains: int, device: torch.device) -> Cuts:
        """Whole regions."""
        index = torch.zeros(domains, 0, dtype=torch.long, device=device)
        number = torch.zeros(domains, 0, dtype=torch.float64, device=device)
        return cls(index, index, number, number)

    def __len__(self) -> int:
        return len(self.node)

    def __getitem__(self, keep: Tensor) -> Cuts:
        return Cuts(*(getattr(self, f.name)[keep] for f in fields(Cuts)))

    def joined(self, other: Cuts) -> Cuts:
        """The domains of both, one behind the other."""
        depth = max(self.node.shape[1], other.node.shape[1])
        pairs = zip(self._deep(depth), other._deep(depth), strict=True)
        return Cuts(*(torch.cat(pair) for pair in pairs))

    def _deep(self, depth: int) -> Sequence[Tensor]:
        more = depth - self.node.shape[1]
        pad = torch.nn.functional.pad
        return (
            pad(self.node, (0, more), value=NOWHERE),
            pad(self.element, (0, more)),
            pad(self.at, (0, more)),
            pad(self.side, (0, more)),
        )

    def cut(self, places: Places) -> Cuts:
        """Two children of each domain: first all those with z >= at, then all with z <= at."""
        new = tuple(x[:, None] for x in (places.node, places.element, places.at.to(self.at)))
        both = []
        for side in (1.0, -1.0):
            values = (*new, torch.full_like(new[2], side))
            both.append(Cuts(*(torch.cat([old, x], 1) for old, x in zip(self.columns, values, strict=True))))
        return both[0].joined(both[1])

    @property
    def columns(self) -> Sequence[Tensor]:
        """Nodes, elements, places and sides."""
        return (self.node, self.element, self.at, self.side)

    @property
    def nodes(self) -> list[int]:
        """Every node that some domain cuts."""
        return sorted(set(self.node.flatten().tolist()) - {NOWHERE})

    def on(self, node: int, like: Tensor) -> Interval:
        """What the cuts alone leave of a node's elements, -inf to inf without any; (domains, *shape)."""
        flat = like.reshape(len(like), -1)
        least, most = torch.full_like(flat, -torch.inf), torch.full_like(flat, torch.inf)
        here, at = self.node == node, self.at.to(like)
        for side, ends, reduce in ((1.0, least, "amax"), (-1.0, most, "amin")):
            mask = here & (self.side == side)
            values = torch.where(mask, at, -side * torch.inf)
            ends.scatter_reduce_(1, torch.where(mask, self.element, 0), values, reduce)
        return Interval(least.view_as(like), most.view_as(like))


@dataclass(frozen=True, eq=False)
class Places:
    """Where each domain is to be cut; (domains,) each. at: of the element's values."""

    node: Tensor
    element: Tensor
    at: Tensor

    def __getitem__(self, keep: Tensor) -> Places:
        return Places(self.node[keep], self.element[keep], self.at[keep])

    def joined(self, other: Places) -> Places:
        """The places of both, one behind the other."""
        pairs = ((self.node, other.node), (self.element, other.element), (self.at, other.at))
        return Places(*(torch.cat(pair) for pair in pairs))


@dataclass(frozen=True, eq=False)
class Domains:
    """A batch of open domains.

    question: (domains,) what is asked, an index. cuts: where. lower: (domains,) the bound that is known of
    the deciding value. chosen: the numbers that the best rows had, by place, to begin with next time;
    (domains, per_sample, *shape) each. known: intervals of nodes that hold in the whole domain, for the nodes
    that the search keeps them of; (domains, *shape) each.
    """

    question: Tensor
    cuts: Cuts
    lower: Tensor
    chosen: dict[Place, Tensor]
    known: dict[int, Interval]

    def __len__(self) -> int:
        return len(self.question)

    def __getitem__(self, keep: Tensor) -> Domains:
        chosen = {place: x[keep] for place, x in self.chosen.items()}
        known = {node: x[keep] for node, x in self.known.items()}
        return Domains(self.question[keep], self.cuts[keep], self.lower[keep], chosen, known)

    def joined(self, other: Domains) -> Domains:
        """The domains of both; a choice that only one side knows is NaN on the other: to be begun anew."""
        places = self.chosen.keys() | other.chosen.keys()
        chosen = {p: _stacked(self, other, p) for p in sorted(places)}
        return Domains(
            torch.cat([self.question, other.question]),
            self.cuts.joined(other.cuts),
            torch.cat([self.lower, other.lower]),
            chosen,
            {node: x.joined(other.known[node]) for node, x in self.known.items()},
        )

    def cut(self, places: Places) -> Domains:
        """Both children of every domain, which inherit all that it knows; see ``Cuts.cut``."""
        twice = torch.arange(len(self), device=self.question.device).repeat(2)
        return replace(self[twice], cuts=self.cuts.cut(places))


def _stacked(one: Domains, other: Domains, place: Place) -> Tensor:
    known = one.chosen.get(place), other.chosen.get(place)
    like = known[0] if known[0] is not None else known[1]
    if like is None:
        raise KeyError(place)
    parts = [
        like.new_full((len(side), *like.shape[1:]), torch.nan) if x is None else x
        for side, x in zip((one, other), known, strict=True)
    ]
    return torch.cat(parts)
