"""What a search returns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from bounds.rounding import Level


class Status(Enum):
    """How a question ended."""

    VERIFIED = "verified"
    FALSIFIED = "falsified"
    UNKNOWN = "unknown"  # the search cannot go on
    TIMEOUT = "timeout"


@dataclass(frozen=True)
class Gap:
    """What is missing to a decision, in units of the deciding value, by the search's arithmetic: no claim.

    root: a lower bound on the whole region; bound: the worst lower bound of any part that is still open; -inf
    where there is none yet. attack: the least value at any point that was tried, inf where none was: the
    truth is at most that.
    """

    root: float
    bound: float
    attack: float


@dataclass(frozen=True, eq=False)
class Decision:
    """The answer for one sample.

    level: what "verified" claims. lower: for verified, a lower bound > 0 of the deciding value at that level.
    witness: for falsified, a point of the region where the specification fails (a tie does) when the network
    is run in ``witness.dtype``. domains: how many were bounded. seconds: from the start of the call.
    gap: what is missing where there is no verdict.
    """

    status: Status
    level: Level
    lower: float | None
    witness: Tensor | None
    domains: int
    seconds: float
    gap: Gap | None = None
