"""What a mode of estimation is: how many draws it asks for, and what it concludes from their votes."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

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


class Mode(Protocol):
    """A way to estimate: a frozen dataclass, whose ``repr`` stands in every record."""

    @property
    def name(self) -> str:
        """How records and configurations call it."""

    @property
    def continuable(self) -> bool:
        """Whether more draws may be added once its estimate has been seen."""

    def estimate(self, law: NoiseLaw, alpha: float, selected: int) -> Estimation:
        """The estimation of one sample, for the class ``selected``, which was chosen by other draws."""
