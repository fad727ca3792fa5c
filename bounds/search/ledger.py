"""What is decided of every sample, and when."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor

from bounds.rounding import Level
from bounds.search.result import Decision, Status


@dataclass(frozen=True, eq=False)
class Ledger:
    """The book of one call; the first decision on a sample stands.

    lower: of each sample the least bound, at the level, of the parts that are proved.
    joint: whether all samples are parts of one property, so that one that fails ends the search.
    hopeless: samples with a part that can be neither proved nor cut; they can still be falsified.
    """

    began: float
    level: Level
    joint: bool
    decisions: list[Decision | None]
    domains: list[int]
    lower: list[float]
    hopeless: set[int] = field(default_factory=set)

    @classmethod
    def blank(cls, began: float, level: Level, joint: bool, samples: int) -> Ledger:
        """Nothing is decided yet. began: on the clock ``time.monotonic``."""
        return cls(began, level, joint, [None] * samples, [0] * samples, [math.inf] * samples)

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

    def settle(self, samples: Iterable[int], status: Status, witness: Tensor | None = None) -> None:
        """Decide samples that are not decided yet; where hope was lost, "verified" becomes "unknown"."""
        seconds = time.monotonic() - self.began
        for sample in samples:
            if self.decisions[sample] is None:
                lost = status is Status.VERIFIED and sample in self.hopeless
                found = Status.UNKNOWN if lost else status
                lower = self.lower[sample] if found is Status.VERIFIED else None
                self.decisions[sample] = Decision(
                    found, self.level, lower, witness, self.domains[sample], seconds
                )

    def closed(self, otherwise: Status) -> list[Decision]:
        """All decisions, where samples without one get the status that is given."""
        self.settle(range(len(self.decisions)), otherwise)
        return [each for each in self.decisions if each is not None]
