"""Time that somebody gets beside the one who leads a search."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace


@dataclass(eq=False)
class Slices:
    """Ever longer slices, as long as they are a small share of the time of whoever leads.

    share: of that time. seconds: of the next slice; each further one is twice as long. spent: on those
    before.
    """

    share: float
    seconds: float
    spent: float = 0.0

    @property
    def due(self) -> float:
        """Seconds of the leader's from which on the next slice is due."""
        return (self.spent + self.seconds) / self.share

    def after(self, led: float) -> Slices:
        """The same for somebody who has led up to some seconds of the leaders' time."""
        return replace(self, spent=led * self.share)

    @contextmanager
    def taken(self) -> Iterator[float]:
        """Take a slice; gives its end, on the clock ``time.monotonic``."""
        began = time.monotonic()
        try:
            yield began + self.seconds
        finally:
            self.spent += time.monotonic() - began
            self.seconds *= 2
