"""Bounds of leaves as the checker will find them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bounds.proof.basics import Array
from bounds.proof.chain import After, Cuts, Facts
from bounds.proof.check import Checker, Leaves
from bounds.proof.format import Part
from bounds.proving.alternatives import Question
from bounds.proving.leaves import Leaf

_WAY = ("layer", "element", "side", "at")


@dataclass(frozen=True, eq=False)
class Foresight:
    """The checker over the parts of a statement. sizes: of the network's nonlinear steps."""

    checker: Checker
    parts: Sequence[Part]
    sizes: Sequence[int]

    def whole(self, part: int, rows: bool, *after: After) -> Facts:
        """What the checker finds in a whole box. rows: whether they bound hidden layers, too. after: called
        with what is found so far after each step, to add lemmas."""
        chain = self.checker.chain
        first = [chain.tighten] if rows else []
        with np.errstate(all="ignore"):
            return chain.forward(self.checker.box(self.parts[part], 1), after=[*first, *after])

    def lower(self, question: Question, leaves: Sequence[Leaf], known: Facts | None) -> Array:
        """Lower bounds (leaves, clauses), infinite where there is nothing left, in as few goes as memory
        allows. known: of the whole box; None where hidden layers get rows in each leaf."""
        part, count = self.parts[question.part], len(question.clauses)
        with np.errstate(all="ignore"):
            found = [
                self.checker.lower(
                    part, question.clauses, self._together(leaves[number], count), known, known is None
                )
                for number in self.checker.batches(len(leaves), count)
            ]
        return np.concatenate(found)

    def _together(self, leaves: Sequence[Leaf], clauses: int) -> Leaves:
        layer, element, side, at = (np.concatenate([getattr(leaf, name) for leaf in leaves]) for name in _WAY)
        piece = np.arange(len(leaves)).repeat([len(leaf.layer) for leaf in leaves])
        none = np.zeros((clauses, sum(self.sizes)), np.uint8)
        codes = np.concatenate([none if leaf.codes is None else leaf.codes for leaf in leaves])
        value, weights = np.array(self.checker.values)[layer], np.stack([leaf.weights for leaf in leaves])
        multipliers = np.concatenate([leaf.multipliers for leaf in leaves]).astype(np.float64)
        return Leaves(
            Cuts(piece, value, element, side, at, multipliers),
            weights.astype(np.float64),
            codes,
            (np.arange(len(codes)) + 1).reshape(len(leaves), clauses) * codes.any(),
        )
