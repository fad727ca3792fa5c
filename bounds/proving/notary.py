"""Domains of a search are closed where the checker's own chain proves them, and kept as leaves of a proof."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bounds.proof.basics import Array
from bounds.proof.format import Tree
from bounds.proving.alternatives import Mixing, Question
from bounds.proving.leaves import Leaf, tree
from bounds.proving.lower import Foresight, Whole
from bounds.proving.translation import Translation
from bounds.search.bounding import Bounded


class OutOfMemory(MemoryError):
    """The leaves of a proof take more memory than they were given."""


@dataclass(frozen=True, eq=False)
class Notary:
    """Checks domains and keeps them.

    roots: what the checker finds in the whole box of each part. tighten: whether hidden layers are bounded
    anew in each leaf. memory: bytes for leaves. leaves: by question.
    """

    sight: Foresight
    roots: Mapping[int, Whole]
    questions: Sequence[Question]
    translation: Translation
    mixing: Mixing
    tighten: bool
    memory: int
    leaves: dict[int, list[Leaf]] = field(default_factory=dict)

    def accept(self, found: Bounded) -> Tensor:
        """Which domains of a batch are proved, (domains,); these are kept. Raises ``OutOfMemory``."""
        hope = ((found.domains.lower > 0) | found.empty).cpu()
        outcome = torch.zeros_like(hope)
        for number in torch.unique(found.domains.question[hope]).tolist():
            mine = (hope & (found.domains.question == number)).nonzero()[:, 0]
            weights, rows = self.mixing.of_domains(found, mine, self.questions[number])
            leaves = self.translation.leaves(found, mine, weights, rows)
            proved = self._proved(self.questions[number], leaves)
            self._keep(number, [leaf for leaf, p in zip(leaves, proved.tolist(), strict=True) if p])
            outcome[mine] = torch.from_numpy(proved)
        return outcome.to(found.empty.device)

    def trees(self, part: int) -> Iterator[Tree]:
        """One for each question about a part; raises ``ValueError`` where leaves are missing."""
        hidden, rows = ("leaf", None) if self.tighten else ("root", self.roots[part].rows)
        for number, q in enumerate(self.questions):
            if q.part == part:
                yield tree(q.part, q.clauses, hidden, self.leaves.get(number, []), self.sight.sizes, rows)

    def _keep(self, question: int, leaves: Sequence[Leaf]) -> None:
        self.leaves.setdefault(question, []).extend(leaves)
        if sum(leaf.bytes for group in self.leaves.values() for leaf in group) > self.memory:
            raise OutOfMemory

    def _proved(self, question: Question, leaves: Sequence[Leaf]) -> Array:
        """Which leaves the chain proves, (leaves,)."""
        known = None if self.tighten else self.roots[question.part].facts
        return np.asarray((self.sight.lower(question, leaves, known) > 0).all(1))
