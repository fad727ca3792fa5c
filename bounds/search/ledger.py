"""What is decided of every sample, and when."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from bounds.rounding import Level
from bounds.search.result import Decision, Gap, Status


@dataclass(frozen=True, eq=False)
class Ledger:
    """The book of one call; the first decision on a sample stands.

    lower: of each sample the least bound, at the level, of the parts that are proved.
    joint: whether all samples are parts of one property, so that one that fails ends the search.
    gaps: of each sample, what would be missing if it ended now.
    hopeless: samples with parts that can be neither proved nor cut, and the worst bound of these; they can
        still be falsified.
    """

    began: float
    level: Level
    joint: bool
    decisions: list[Decision | None]
    domains: list[int]
    lower: list[float]
    gaps: list[Gap]
    hopeless: dict[int, float] = field(default_factory=dict)

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

    def anew(self, samples: Iterable[int]) -> None:
        """What a search could not cut is in all of some samples, which is proved, or searched again."""
        for sample in samples:
            self.hopeless.pop(sample, None)

    def lost(self, samples: Tensor, bounds: Tensor) -> None:
        """Note parts that can be neither proved nor cut; (parts,) each."""
        for sample, bound in self._worst(samples, bounds):
            self.hopeless[sample] = min(self.hopeless.get(sample, 0.0), bound)

    def bounded(self, samples: Tensor, bounds: Tensor, whole: bool) -> None:
        """Note the bounds of all open parts of some samples; (parts,) each. whole: nothing is cut yet."""
        for sample, worst in self._worst(samples, bounds):
            gap, bound = self.gaps[sample], min(self.hopeless.get(sample, 0.0), worst)
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

    def settle(self, samples: Iterable[int], status: Status, witness: Tensor | None = None) -> None:
        """Decide samples that are not decided yet; where hope was lost, "verified" becomes "unknown"."""
        seconds = time.monotonic() - self.began
        for sample in samples:
            if self.decisions[sample] is None:
                lost = status is Status.VERIFIED and sample in self.hopeless
                found = Status.UNKNOWN if lost else status
                lower = self.lower[sample] if found is Status.VERIFIED else None
                gap = self.gaps[sample]
                if lost:
                    gap = replace(gap, bound=max(gap.bound, self.hopeless[sample]))
                decided = found in (Status.VERIFIED, Status.FALSIFIED)
                self.decisions[sample] = Decision(
                    found, self.level, lower, witness, self.domains[sample], seconds, None if decided else gap
                )

    def closed(self, otherwise: Status) -> list[Decision]:
        """All decisions, where samples without one get the status that is given."""
        self.settle(range(len(self.decisions)), otherwise)
        return [each for each in self.decisions if each is not None]
