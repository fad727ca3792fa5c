"""Domains of a search are closed where the checker's own chain proves them, and kept as leaves of a proof."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bounds.proof.chain import Chain, Cuts, Facts, Rows
from bounds.proof.format import Array, Part, Tree
from bounds.proving.alternatives import Mixing, Question
from bounds.proving.leaves import Leaf, tree
from bounds.proving.translation import Translation
from bounds.search.bounding import Bounded

# Of the magnitudes in a mixture: more than its rounding, which the checker takes off.
_ROUNDING = 1e-12
_MEMORY = 2**27  # bytes of the facts of a batch of leaves
_WAY = ("layer", "element", "side", "at")


class OutOfMemory(Exception):
    """The leaves of a proof take more memory than they were given."""


@dataclass(frozen=True, eq=False)
class Notary:
    """Checks domains and keeps them.

    parts, roots: of the statement, and what the checker finds in the whole box of each. sizes: of the
    network's nonlinear steps. tighten: whether hidden layers are bounded anew in each leaf. memory: bytes for
    leaves. leaves: by question.
    """

    chain: Chain
    parts: Sequence[Part]
    roots: Sequence[Facts]
    questions: Sequence[Question]
    translation: Translation
    mixing: Mixing
    sizes: Sequence[int]
    tighten: bool
    memory: int
    leaves: dict[int, list[Leaf]] = field(default_factory=dict)

    def accept(self, found: Bounded) -> Tensor:
        """Which domains of a batch are proved, (domains,); these are kept. Raises ``OutOfMemory``."""
        hope = ((found.domains.lower > 0) | found.empty).cpu()
        outcome = torch.zeros_like(hope)
        for number in found.domains.question[hope].unique().tolist():  # type: ignore[no-untyped-call]
            mine = (hope & (found.domains.question == number)).nonzero()[:, 0]
            weights, rows = self.mixing.of_domains(found, mine, self.questions[number])
            leaves = self.translation.leaves(found, mine, weights, rows)
            proved = self._proved(self.questions[number], leaves)
            self._keep(number, [leaf for leaf, p in zip(leaves, proved.tolist(), strict=True) if p])
            outcome[mine] = torch.from_numpy(proved)
        return outcome.to(found.empty.device)

    def trees(self) -> Iterator[Tree]:
        """One for each question; raises ``ValueError`` where leaves are missing."""
        for number, q in enumerate(self.questions):
            hidden = "leaf" if self.tighten else "root"
            yield tree(q.part, q.clauses, hidden, self.leaves.get(number, []), self.sizes)

    def _keep(self, question: int, leaves: Sequence[Leaf]) -> None:
        self.leaves.setdefault(question, []).extend(leaves)
        if sum(leaf.bytes for group in self.leaves.values() for leaf in group) > self.memory:
            raise OutOfMemory

    def _proved(self, question: Question, leaves: Sequence[Leaf]) -> Array:
        """Which leaves the chain proves, in as few goes as memory allows; (leaves,)."""
        size = sum(step.size for step in self.chain.network.steps)
        most = max(1, min(_MEMORY // (100 * size), self.chain.rows_at_once // len(question.clauses)))
        parts = [leaves[first : first + most] for first in range(0, len(leaves), most)]
        with np.errstate(all="ignore"):
            return np.concatenate([self._bounded(question, part) for part in parts])

    def _bounded(self, question: Question, leaves: Sequence[Leaf]) -> Array:
        """As the checker does it, see ``bounds.proof.check``; (leaves,)."""
        chain, part, network = self.chain, self.parts[question.part], self.chain.network
        low, high = (np.tile(end, (len(leaves), 1)) for end in (part.lower, part.upper))
        values = np.array([0, *(network.steps[k].inputs[0] for k in network.functions)])
        layer, element, side, at = (np.concatenate([getattr(leaf, name) for leaf in leaves]) for name in _WAY)
        piece = np.arange(len(leaves)).repeat([len(leaf.layer) for leaf in leaves])
        cuts = Cuts(piece, values[layer], element, side, at)
        known, tighten = self.roots[question.part], None
        if self.tighten:
            tighten = np.zeros((len(network.steps) + 1, self.translation.elements), np.uint8)
        facts = chain.forward(low, high, cuts, None if self.tighten else known, tighten)
        rows, constant = self._rows(question, leaves, facts.size(network.output))
        count = rows.shape[1]
        asked = Rows(
            network.output,
            rows.reshape(len(leaves) * count, -1),
            np.arange(len(leaves)).repeat(count),
            constant.reshape(-1),
            cuts,
            np.concatenate([leaf.multipliers for leaf in leaves]).astype(np.float64),
            self._codes(leaves, count),
        )
        lower = chain.lower(facts, asked).reshape(len(leaves), count)
        proved: Array = facts.empty | (lower > 0).all(1)
        return proved

    def _codes(self, leaves: Sequence[Leaf], count: int) -> Array | None:
        none = np.zeros((count, self.translation.elements), np.uint8)
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
