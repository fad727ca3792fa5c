"""Bounds of the class and of its strongest rival, by one look at a fixed number of draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from certify.binomial import check_alpha
from certify.smoothing.intervals import lower_bounds
from certify.smoothing.laws.base import NoiseLaw
from certify.smoothing.modes.base import ESTIMATION, Ask, Estimation
from certify.smoothing.modes.fixed import check_draws, concluded


@dataclass(frozen=True)
class TwoSided:
    """``n`` draws; Clopper-Pearson bounds, at alpha / 2 each, of the class from below, the others from above.

    The second is the upper bound for the largest of the other counts. It needs no factor for their number:
    the likeliest other class is one class, fixed before the draws, and its own bound, which holds at
    1 - alpha / 2, is no larger. The better of it and ``1 - p_lower`` is taken, which costs nothing beyond the
    first bound. Certifies inputs whose class has a probability below 1/2, where the law can use that.
    Raises ``UsageError`` unless n is an integer >= 1.
    """

    n: int = 100_000

    name: ClassVar[str] = "two-sided"
    continuable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_draws("n", self.n)

    def estimate(self, law: NoiseLaw, alpha: float, selected: int) -> Estimation:
        check_alpha(alpha)
        votes = yield Ask(ESTIMATION, self.n)
        hits = int(votes[selected])
        rival = int(np.delete(votes, selected).max(initial=0))
        # the rival's misses bound its complement's probability from below
        p_lower, rest = lower_bounds(np.array([hits, self.n - rival]), self.n, alpha / 2).tolist()
        p_other = float(np.nextafter(1.0 - rest, 1.0))
        return concluded(law, p_lower, hits, self.n, p_other)
