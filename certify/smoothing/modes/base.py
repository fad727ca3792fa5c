"""What a mode of estimation is: how many draws it asks for, and what it concludes from their votes."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from certify.errors import UsageError
from certify.smoothing.intervals import IntArray
from certify.smoothing.laws.base import NoiseLaw

SELECTION = "selection"
ESTIMATION = "estimation"


@dataclass(frozen=True)
class Ask:
    """``count`` further draws of a stream, which follow those asked for before; streams are independent."""

    stream: str
    count: int


@dataclass(frozen=True)
class Estimate:
    """What a mode concludes for one sample about the class it was given.

    Holds with probability 1 - alpha, before anything was drawn, whatever the class is: p_lower bounds its
    probability from below, p_other every other class's from above; radius follows by the law, 0 where
    nothing is certified. n: the draws that this rests on, hits: those that voted for the class.
    """

    radius: float
    p_lower: float
    p_other: float
    hits: int
    n: int


# Asks, gets the votes per class of just these draws (classes,), and in the end concludes.
Estimation = Generator[Ask, IntArray, Estimate]
# Per ask, in order, the votes for the class and those of the most voted other one: all that an estimate
# follows from, given mode, law and alpha.
Trace = tuple[tuple[int, int], ...]


def traced(estimation: Estimation, selected: int) -> Generator[Ask, IntArray, tuple[Estimate, Trace]]:
    """The same estimation, which keeps what it was answered."""
    answers: list[tuple[int, int]] = []
    ask = next(estimation)
    while True:
        votes = yield ask
        answers.append((int(votes[selected]), int(np.delete(votes, selected).max(initial=0))))
        try:
            ask = estimation.send(votes)
        except StopIteration as end:
            return end.value, tuple(answers)


class Mode(Protocol):
    """A way to estimate: a frozen dataclass, whose ``repr`` stands in every record."""

    @property
    def name(self) -> str:
        """How records and configurations call it."""

    @property
    def continuable(self) -> bool:
        """Whether more draws may be added once its estimate has been seen."""

    def estimate(self, law: NoiseLaw, alpha: float, selected: int) -> Estimation:
        """The estimation of one sample, for the class ``selected``, which was chosen by other draws.

        Looks at the votes of this class and at the most that another one has, and at nothing else.
        """


def retraced(mode: Mode, law: NoiseLaw, alpha: float, trace: Trace) -> Estimate:
    """What a mode concludes from recorded votes; raises ``UsageError`` for votes that it did not ask for."""
    estimation = mode.estimate(law, alpha, 0)
    ask = next(estimation)
    for place, (hits, rival) in enumerate(trace):
        if not (hits >= 0 and rival >= 0 and hits + rival <= ask.count):
            raise UsageError(f"{hits} and {rival} are no votes of {ask.count} draws")
        try:
            ask = estimation.send(np.array([hits, rival]))
        except StopIteration as end:
            if place < len(trace) - 1:
                break
            estimate: Estimate = end.value
            return estimate
    raise UsageError(f"{mode!r} asks for other draws than the {len(trace)} that are recorded")
