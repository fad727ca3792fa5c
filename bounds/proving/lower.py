"""Bounds of leaves as the checker will find them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from bounds.proof.basics import Array
from bounds.proof.chain import After, Cuts, Facts
from bounds.proof.check import Checker, Leaves
from bounds.proof.format import Part
from bounds.proving.alternatives import Question
from bounds.proving.leaves import Leaf

_WAY = ("layer", "element", "side", "at")


@dataclass(frozen=True, eq=False)
class Whole:
    """What the checker finds in a whole box. rows: for neurons, by which it does, see ``Tree``."""

    facts: Facts
    rows: Array


@dataclass(frozen=True, eq=False)
class Foresight:
    """The checker over the parts of a statement. sizes: of the network's nonlinear steps."""

    checker: Checker
    parts: Sequence[Part]
    sizes: Sequence[int]

    def intervals(self, part: int) -> Facts:
        """What the checker finds in a whole box by intervals alone."""
        return self._whole(part)

    def whole(self, part: int, *after: After) -> Whole:
        """What it finds by rows for neurons, too, of which those that say nothing new are left out. after:
        called with what is found so far after each step, to add lemmas."""
        chain = self.checker.chain
        rows = np.zeros(2 * sum(map(chain.network.size, chain.loose)), np.bool_)
        return Whole(self._whole(part, partial(self._tightened, rows), *after), rows)

    def _whole(self, part: int, *after: After) -> Facts:
        with np.errstate(all="ignore"):
            return self.checker.chain.forward(self.checker.box(self.parts[part], 1), after=after)

    def _tightened(self, rows: Array, facts: Facts) -> None:
        """Bound the last value by rows, and mark those that count: of a neuron that is linear from zero on
        the lower end alone, if that is not below zero."""
        chain, before = self.checker.chain, facts.values[-1]
        value, size = len(facts.values) - 1, before.low.shape[1]
        if value not in chain.loose:
            return
        chain.tighten(facts)
        found = facts.values[value]
        upper, lower = found.high < before.high, found.low > before.low
        if chain.kinked(value):
            upper &= found.low < 0
        rows[chain.loose[value] :][: 2 * size] = np.concatenate([upper[0], lower[0]])
        facts.values[value] = replace(found, high=np.where(upper, found.high, before.high))

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
