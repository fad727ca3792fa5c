"""What a search costs, per sample."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, eq=False)
class Tally:
    """Counters of one search by sample id; a sample whose copies are looked at together pays for each.

    forwards, backwards: passes through the network. seconds: from the start until the sample's last look.
    """

    forwards: Counter[int] = field(default_factory=Counter)
    backwards: Counter[int] = field(default_factory=Counter)
    seconds: dict[int, float] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)

    def looked(self, samples: tuple[int, ...]) -> None:
        """One forward pass for each of these samples."""
        self.forwards.update(samples)
        self.seconds.update(dict.fromkeys(samples, time.perf_counter() - self.began))

    def detail(self, sample: int) -> dict[str, int | float | str]:
        """The counts of one sample, for its evidence."""
        return {"forwards": self.forwards[sample], "backwards": self.backwards[sample]}
