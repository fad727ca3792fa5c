"""Domains of a search as leaves of a proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from bounds.proof.basics import Array
from bounds.proof.functions import Relu
from bounds.proof.more.functions import Bent, Product, Sigmoid
from bounds.propagate.turns import Place
from bounds.proving.leaves import Leaf
from bounds.proving.matching import Match
from bounds.search.bounding import Bounded
from bounds.search.domains import NOWHERE, Domains

_CODES = 254


@dataclass(frozen=True, eq=False)
class Translation:
    """From the engine's nodes to the checker's layers.

    matches, products: functions of one value and of two. elements: of all nonlinear steps.
    """

    matches: Sequence[Match]
    products: Sequence[Match]
    elements: int

    def leaves(self, found: Bounded, mine: Tensor, weights: Array, rows: Array) -> list[Leaf]:
        """Some domains of a batch with weights (mine, alternatives), and what rows (mine, clauses) chose."""
        domains = found.domains[mine]
        codes = self._codes(found, mine, rows)
        mu = {m.source: _chosen(domains, ("Multiplier", m.node, 0), rows) for m in self.matches}
        cuts = domains.cuts
        node, element, at, side = (x.cpu().numpy() for x in (cuts.node, cuts.element, cuts.at, cuts.side))
        layers = {0: 0, **{match.source: match.layer for match in self.matches}}
        leaves = []
        for k in range(len(node)):
            here = node[k] != NOWHERE
            way = node[k][here].tolist(), element[k][here], side[k][here]
            multipliers = np.zeros((len(way[0]), rows.shape[1]), np.float32)
            last = {place: j for j, place in enumerate(zip(*way, strict=True))}  # the tightest there
            for (source, e, s), j in last.items():
                pushed = mu.get(source)
                if pushed is not None:
                    multipliers[j] = np.nan_to_num(s * pushed[k][:, e], posinf=0.0).clip(0)
            layer = np.array([layers[n] for n in way[0]], np.int32)
            row = codes[k] if codes[k].any() else None
            leaves.append(Leaf(layer, way[1], at[k][here], way[2], weights[k], multipliers, row))
        return leaves

    def _codes(self, found: Bounded, mine: Tensor, rows: Array) -> Array:
        """The slopes that some rows have chosen; (domains, clauses, elements)."""
        codes = np.zeros((*rows.shape, self.elements), np.uint8)
        for match in (*self.matches, *self.products):
            share = _shares(found, mine, rows, match)
            if share is not None:
                share = np.nan_to_num(share).clip(0, 1)
                codes[:, :, match.start : match.start + match.size] = 1 + np.rint(_CODES * share)
        return codes


def _shares(found: Bounded, mine: Tensor, rows: Array, match: Match) -> Array | None:
    """What codes stand for, see ``functions`` of the checker; None for its own slopes."""
    domains = found.domains[mine]
    if isinstance(match.does, Product):
        turn = _chosen(domains, ("Plane", match.node, 0), rows)
        return None if turn is None else (turn + 1) / 2
    lower = _chosen(domains, ("Slope", match.node, 1), rows)
    if lower is None:
        return None
    if isinstance(match.does, Relu):
        share: Array = (lower - match.does.leak) / max(1 - match.does.leak, 1e-9)
        return share
    upper, travelled = _chosen(domains, ("Slope", match.node, -1), rows), found.last.rows.get(match.node)
    if not isinstance(match.does, Bent | Sigmoid) or upper is None or travelled is None:
        return None
    x = found.facts[match.source].interval[mine]
    low, high = (end.flatten(1).double().cpu().numpy()[:, None] for end in (x.lower, x.upper))
    if isinstance(match.does, Sigmoid):
        here = _picked(travelled.view(len(found.domains), -1, match.size)[mine], rows)
        most = match.does.steepest(low, high)
        return np.asarray(np.where(here > 0, lower, upper) / np.maximum(most, 1e-300))
    bend = match.does.bend(low, high)
    with np.errstate(all="ignore"):
        point = match.does.point(np.where(bend > 0, lower, upper), bend)
        return np.asarray((point - low) / (high - low))


def _chosen(domains: Domains, place: Place, rows: Array) -> Array | None:
    """The numbers that some rows (domains, clauses) have chosen, (domains, clauses, elements)."""
    values = domains.chosen.get(place)
    if values is None:
        return None
    return _picked(values, rows)


def _picked(values: Tensor, rows: Array) -> Array:
    """Of (domains, rows, *shape) those of some rows, flat."""
    every: Array = values.flatten(2).double().cpu().numpy()
    picked: Array = every[np.arange(len(every))[:, None], rows]
    return picked
