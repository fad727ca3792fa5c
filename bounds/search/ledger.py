"""What is decided of every sample, and when."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bounds.propagate.cascade import Attempt
from bounds.rounding import Level
from bounds.search.result import Decision, Gap, Status
from bounds.spec import Spec


@dataclass(frozen=True, eq=False)
class Ledger:
    """The book of one call; the first decision on a sample stands.

    lower: of each sample the least bound, at the level, of the parts that are proved.
    joint: whether all samples are parts of one property, so that one that fails ends the search.
    gaps: of each sample, what would be missing if it ended now.
    """

    began: float
    level: Level
    joint: bool
    decisions: list[Decision | None]
    domains: list[int]
    lower: list[float]
    gaps: list[Gap]

    @classmethod
    def blank(cls, began: float, level: Level, joint: bool, samples: int) -> Ledger:
        """Nothing is decided yet. began: on the clock ``time.monotonic``."""
        gap = Gap(-math.inf, -math.inf, math.inf)
        return cls(
            began, level, joint, [None] * samples, [0] * samples, [math.inf] * samples, [gap] * samples
        )

    @property
    def open(self) -> list[int]:
        """Samples without a decision; none where one has failed that speaks for all."""
        failed = (each is not None and each.status is Status.FALSIFIED for each in self.decisions)
        if self.joint and any(failed):
            return []
        return [sample for sample, each in enumerate(self.decisions) if each is None]

    def proved(self, samples: Iterable[int], bounds: Iterable[float]) -> None:
        """Note bounds of parts of samples that are proved."""
        for sample, bound in zip(samples, bounds, strict=True):
            self.lower[sample] = min(self.lower[sample], bound)

    def bounded(self, samples: Tensor, bounds: Tensor, whole: bool) -> None:
        """Note the bounds of all open parts of some samples; (parts,) each. whole: nothing is cut yet."""
        for sample, worst in self._worst(samples, bounds):
            gap, bound = self.gaps[sample], min(0.0, worst)
            root = max(gap.root, bound) if whole else gap.root
            self.gaps[sample] = replace(gap, root=root, bound=max(gap.bound, bound))

    def gained(self, samples: Tensor) -> Tensor:
        """By how much cuts have raised the bounds of some samples; (samples,)."""
        gaps = [self.gaps[sample] for sample in samples.tolist()]
        return torch.tensor([gap.bound - gap.root for gap in gaps]).nan_to_num(0, 0, 0)

    def _worst(self, samples: Tensor, bounds: Tensor) -> list[tuple[int, float]]:
        """The least number of each sample that has any."""
        least = bounds.new_full((len(self.decisions),), torch.inf).scatter_reduce(0, samples, bounds, "amin")
        of = torch.unique(samples)
        return list(zip(of.tolist(), least[of].tolist(), strict=True))

    def tried(self, samples: Tensor, values: Tensor, broken: Iterable[tuple[int, Tensor]]) -> None:
        """Note the values at points of samples, (points,) each, and settle those that some have broken."""
        for sample, value in self._worst(samples, values):
            self.gaps[sample] = replace(self.gaps[sample], attack=min(self.gaps[sample].attack, value))
        for sample, point in broken:
            self.settle([sample], Status.FALSIFIED, point)

    def noted(self, spec: Spec, found: Attempt, group: Tensor) -> Attempt:
        """Settle those samples of a group that bounds at the level have proved: the ones not left over."""
        proved = torch.ones(len(group), dtype=torch.bool).index_fill(0, found.left, False)
        clauses = spec.clauses(found.rows.lower)
        lower = clauses.masked_fill(clauses <= 0, torch.inf).amin(1)
        self.proved(group.tolist(), lower.tolist())
        self.bounded(group[found.left], clauses[found.left].amin(1), whole=True)
        self.settle(group[proved].tolist(), Status.VERIFIED)
        return found

    def undecided(self, found: Attempt, group: Tensor) -> Attempt:
        """Without those samples of the group that are decided."""
        is_open = [self.decisions[sample] is None for sample in group[found.left].tolist()]
        return found.of(torch.tensor(is_open, dtype=torch.bool))

    def settle(self, samples: Iterable[int], status: Status, witness: Tensor | None = None) -> None:
        """Decide samples that are not decided yet."""
        seconds = time.monotonic() - self.began
        for sample in samples:
            if self.decisions[sample] is None:
                decided = status in (Status.VERIFIED, Status.FALSIFIED)
                lower = self.lower[sample] if status is Status.VERIFIED else None
                gap = None if decided else self.gaps[sample]
                self.decisions[sample] = Decision(
                    status, self.level, lower, witness, self.domains[sample], seconds, gap
                )

    def closed(self, otherwise: Status) -> list[Decision]:
        """All decisions, where samples without one get the status that is given."""
        self.settle(range(len(self.decisions)), otherwise)
        return [each for each in self.decisions if each is not None]
