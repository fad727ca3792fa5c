"""Clauses that hold in a whole box by the checker's own bounds: without a search, and without slopes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from bounds.proof.chain import Facts
from bounds.proof.format import Lemma, Tree
from bounds.proving.alternatives import Question
from bounds.proving.leaves import Leaf, tree
from bounds.proving.lower import Foresight, Whole


@dataclass(frozen=True, eq=False)
class Found:
    """What was proved, and what is left.

    trees, lemmas: by part. left: the open clauses of each part that has some; roots: what the checker finds
    in the whole boxes of these, and of others, with their lemmas.
    """

    trees: Mapping[int, list[Tree]]
    left: Mapping[int, tuple[int, ...]]
    roots: Mapping[int, Whole]
    lemmas: Mapping[int, tuple[Lemma, ...]]

    def closed(self, trees: Mapping[int, list[Tree]]) -> Found:
        """With trees of all that was left of some parts."""
        every = {k: [*self.trees.get(k, []), *trees.get(k, [])] for k in self.trees.keys() | trees.keys()}
        left = {k: clauses for k, clauses in self.left.items() if k not in trees}
        return Found(every, left, self.roots, self.lemmas)

    def again(self, other: Found) -> Found:
        """With what was found out about some parts anew."""
        left = {k: clauses for k, clauses in self.left.items() if k not in other.trees}
        return Found(
            {**self.trees, **other.trees},
            {**left, **other.left},
            {**self.roots, **other.roots},
            {**self.lemmas, **other.lemmas},
        )


def easy(
    sight: Foresight,
    parts: Iterable[int],
    roots: Mapping[int, Whole] | None = None,
    lemmas: Mapping[int, tuple[Lemma, ...]] | None = None,
) -> Found:
    """By intervals alone, then by rows for hidden layers.

    roots: what the checker finds with such rows and with lemmas, where that is known.
    """
    trees, left, facts = dict[int, list[Tree]](), dict[int, tuple[int, ...]](), dict(roots or {})
    for k in parts:
        trees[k], clauses = [], sight.parts[k].clauses
        open_ = tuple(range(len(clauses)))
        for hidden in ("none", "root"):
            if hidden == "root" and k not in facts:
                facts[k] = sight.whole(k)
            known, rows = (facts[k].facts, facts[k].rows) if hidden == "root" else (sight.intervals(k), None)
            question = Question(k, open_, tuple(len(clauses[c].rows) for c in open_))
            proved = _proved(sight, question, known)
            if proved is not None:
                done, leaf = proved
                trees[k].append(tree(k, done, hidden, [leaf], sight.sizes, rows))
                open_ = tuple(c for c in open_ if c not in done)
            if not open_:
                break
        else:
            left[k] = open_
    kept = {**(roots or {}), **{k: facts[k] for k in left}}
    return Found(trees, left, kept, lemmas or {})


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
