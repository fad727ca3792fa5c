"""Clauses that hold in a whole box by the checker's own bounds: without a search, and without slopes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bounds.proof.chain import Facts
from bounds.proof.format import Tree
from bounds.proving.alternatives import Question
from bounds.proving.leaves import Leaf, tree
from bounds.proving.lower import Foresight


@dataclass(frozen=True, eq=False)
class Easy:
    """What was proved without a search, and what is left.

    trees: of what was proved. left: the open clauses of each part that has some; roots: what the checker
    finds in the whole boxes of these.
    """

    trees: list[Tree] = field(default_factory=list)
    left: dict[int, tuple[int, ...]] = field(default_factory=dict)
    roots: dict[int, Facts] = field(default_factory=dict)


def easy(sight: Foresight) -> Easy:
    """By intervals alone, then by rows for hidden layers."""
    found = Easy()
    for k, part in enumerate(sight.parts):
        open_ = tuple(range(len(part.clauses)))
        for hidden in ("none", "root"):
            facts = sight.whole(k, rows=hidden == "root")
            question = Question(k, open_, tuple(len(part.clauses[c].rows) for c in open_))
            proved = _proved(sight, question, facts)
            if proved is not None:
                done, leaf = proved
                found.trees.append(tree(k, done, hidden, [leaf], sight.sizes))
                open_ = tuple(c for c in open_ if c not in done)
            if not open_:
                break
        else:
            found.left[k], found.roots[k] = open_, facts
    return found


def _proved(sight: Foresight, question: Question, facts: Facts) -> tuple[tuple[int, ...], Leaf] | None:
    """The clauses of which one alternative alone is proved, and the leaf that does it; None without any."""
    tries = []
    for number in range(max(question.alternatives)):
        weights = np.zeros(sum(question.alternatives), np.float32)
        weights[[min(a + number, b - 1) for a, b in question.spans]] = 1
        tries.append(_leaf(weights, len(question.clauses)))
    bounds = np.nan_to_num(sight.lower(question, tries, facts), nan=-np.inf)
    best, good = bounds.argmax(0), bounds.max(0) > 0
    if not good.any():
        return None
    parts = [tries[best[k]].weights[a:b] for k, (a, b) in enumerate(question.spans) if good[k]]
    done = tuple(c for c, fine in zip(question.clauses, good, strict=True) if fine)
    return done, _leaf(np.concatenate(parts), len(done))


def _leaf(weights: np.ndarray, clauses: int) -> Leaf:
    none = np.zeros(0, np.int64)
    return Leaf(none, none, np.zeros(0), none, weights, np.zeros((0, clauses), np.float32), None)
