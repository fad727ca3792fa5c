"""A bound that holds at all times, so that draws may be added after a look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from certify.smoothing.laws.base import NoiseLaw
from certify.smoothing.modes.base import ESTIMATION, Ask, Estimation
from certify.smoothing.modes.fixed import check_draws, concluded
from certify.smoothing.modes.mixture import lower_sequence


@dataclass(frozen=True)
class Anytime:
    """``n`` draws and the lower end of a confidence sequence, which may be topped up and looked at again.

    With probability 1 - alpha the bounds at all n hold together (see ``mixture``), so whoever asks again with
    a larger n, having seen the estimate, keeps the statement; the draws made before are the first of the new
    ones. The price is a bound lower than ``Fixed``'s of the same n.
    Raises ``UsageError`` unless n is an integer >= 1.
    """

    n: int = 100_000

    name: ClassVar[str] = "anytime"
    continuable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_draws("n", self.n)

    def estimate(self, law: NoiseLaw, alpha: float, selected: int) -> Estimation:
        votes = yield Ask(ESTIMATION, self.n)
        hits = int(votes[selected])
        return concluded(law, lower_sequence(hits, self.n, alpha), hits, self.n)
