"""Bounds of leaves as the checker will find them, see ``bounds.proof.check``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bounds.proof.chain import Chain, Cuts, Facts, Rows
from bounds.proof.format import Array, Part
from bounds.proving.alternatives import Question
from bounds.proving.leaves import Leaf

# Of the magnitudes in a mixture: more than its rounding, which the checker takes off.
_ROUNDING = 1e-12
_MEMORY = 2**27  # bytes of the facts of a batch of leaves
_WAY = ("layer", "element", "side", "at")


@dataclass(frozen=True, eq=False)
class Foresight:
    """The checker's chain over the parts of a statement. sizes: of the network's nonlinear steps."""

    chain: Chain
    parts: Sequence[Part]
    sizes: Sequence[int]

    def whole(self, part: int, rows: bool) -> Facts:
        """What the chain finds in a whole box. rows: whether they bound hidden layers, too."""
        low, high = self.parts[part].lower[None], self.parts[part].upper[None]
        with np.errstate(all="ignore"):
            return self.chain.forward(low, high, None, None, self._codes if rows else None)

    @property
    def _codes(self) -> Array:
        """None of its own slopes is changed for rows of hidden layers."""
        return np.zeros((len(self.chain.network.steps) + 1, sum(self.sizes)), np.uint8)

    def lower(self, question: Question, leaves: Sequence[Leaf], known: Facts | None) -> Array:
        """Lower bounds (leaves, clauses), infinite where there is nothing left, in as few goes as memory
        allows. known: of the whole box; None where hidden layers get rows in each leaf."""
        size = sum(step.size for step in self.chain.network.steps)
        most = max(1, min(_MEMORY // (100 * size), self.chain.rows_at_once // len(question.clauses)))
        parts = [leaves[first : first + most] for first in range(0, len(leaves), most)]
        with np.errstate(all="ignore"):
            return np.concatenate([self._batch(question, part, known) for part in parts])

    def _batch(self, question: Question, leaves: Sequence[Leaf], known: Facts | None) -> Array:
        chain, part, network = self.chain, self.parts[question.part], self.chain.network
        low, high = (np.tile(end, (len(leaves), 1)) for end in (part.lower, part.upper))
        values = np.array([0, *(network.steps[k].inputs[0] for k in network.functions)])
        layer, element, side, at = (np.concatenate([getattr(leaf, name) for leaf in leaves]) for name in _WAY)
        piece = np.arange(len(leaves)).repeat([len(leaf.layer) for leaf in leaves])
        cuts = Cuts(piece, values[layer], element, side, at)
        facts = chain.forward(low, high, cuts, known, self._codes if known is None else None)
        rows, constant = self._rows(question, leaves, facts.size(network.output))
        count = rows.shape[1]
        asked = Rows(
            network.output,
            rows.reshape(len(leaves) * count, -1),
            np.arange(len(leaves)).repeat(count),
            constant.reshape(-1),
            cuts,
            np.concatenate([leaf.multipliers for leaf in leaves]).astype(np.float64),
            self._slopes(leaves, count),
        )
        bounds = chain.lower(facts, asked).reshape(len(leaves), count)
        return np.where(facts.empty[:, None], np.inf, bounds)

    def _slopes(self, leaves: Sequence[Leaf], count: int) -> Array | None:
        none = np.zeros((count, sum(self.sizes)), np.uint8)
        codes = np.concatenate([none if leaf.codes is None else leaf.codes for leaf in leaves])
        return codes if codes.any() else None

    def _rows(self, question: Question, leaves: Sequence[Leaf], size: Array) -> tuple[Array, Array]:
        """Each leaf's mixtures: (leaves, clauses, outputs), (leaves, clauses). size: of outputs."""
        rows, constants = [], []
        weights = np.stack([leaf.weights for leaf in leaves]).astype(np.float64)
        for number, (a, b) in zip(question.clauses, question.spans, strict=True):
            clause, w = self.parts[question.part].clauses[number], weights[:, a:b]
            off = (w * (size @ np.abs(clause.rows).T + np.abs(clause.offset))).sum(1)
            rows.append(w @ clause.rows)
            constants.append(w @ clause.offset - _ROUNDING * off)
        return np.stack(rows, 1), np.stack(constants, 1)
