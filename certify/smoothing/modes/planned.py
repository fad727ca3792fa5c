"""A pilot says how many draws are worth their cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from certify.binomial import check_alpha
from certify.errors import UsageError
from certify.smoothing.intervals import FloatArray, IntArray
from certify.smoothing.laws.base import NoiseLaw
from certify.smoothing.modes.base import Ask, Estimation
from certify.smoothing.modes.fixed import Fixed, check_draws, concluded

PILOT = "pilot"

_LEAST = 50
_GROWTH = 1.03
# The pilot's proportion may be this many standard errors too low: radii of inputs near 1 hang on it.
_OPTIMISM = 0.84


@dataclass(frozen=True)
class Planned:
    """``pilot`` draws plan a number of draws, at most ``n_max``; further ones give one Clopper-Pearson bound.

    The plan is the least number at which the radius to be expected falls short of that of n_max draws by no
    more than the share ``tolerance``, for the pilot's proportion and for its upper end at one standard error;
    where that expects no radius at all, the sample abstains at once. The bound rests on draws of another
    stream than the pilot's: given the plan, its number is fixed, so it holds at 1 - alpha.
    Raises ``UsageError`` unless tolerance lies in (0, 1) and the numbers of draws are integers >= 1.
    """

    tolerance: float
    n_max: int = 100_000
    pilot: int = 1000

    name: ClassVar[str] = "planned"
    continuable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise UsageError(f"tolerance is {self.tolerance}; give the share of the radius that may be lost")
        check_draws("n_max", self.n_max)
        check_draws("pilot", self.pilot)
        object.__setattr__(self, "tolerance", float(self.tolerance))

    def estimate(self, law: NoiseLaw, alpha: float, selected: int) -> Estimation:
        check_alpha(alpha)
        votes = yield Ask(PILOT, self.pilot)
        n = self.plan(law, alpha, int(votes[selected]))
        if n == 0:
            return concluded(law, 0.0, 0, 0)
        return (yield from Fixed(n).estimate(law, alpha, selected))

    def plan(self, law: NoiseLaw, alpha: float, hits: int) -> int:
        """The number of draws that follows from the pilot's hits; 0 where none is worthwhile."""
        from scipy.special import betaincinv

        at_most = betaincinv(hits + 1, self.pilot - hits, _OPTIMISM) if hits < self.pilot else 1.0
        shares = (hits / self.pilot, float(at_most))
        return max(_sufficient(law, alpha, share, self.tolerance, self.n_max) for share in shares)


@lru_cache(maxsize=4096)
def _sufficient(law: NoiseLaw, alpha: float, share: float, tolerance: float, n_max: int) -> int:
    """The least n whose radius at this share of hits is within the tolerance of that at ``n_max``."""
    wanted = (1 - tolerance) * float(_radii(law, alpha, share, np.array([n_max]))[0])
    if not wanted > 0:
        return 0
    count = int(np.log(max(n_max / _LEAST, 1)) / np.log(_GROWTH)) + 1
    candidates = np.unique(np.append((_LEAST * _GROWTH ** np.arange(count)).astype(np.int64), n_max))
    candidates = candidates[candidates <= n_max]
    enough = _radii(law, alpha, share, candidates) >= wanted
    return int(candidates[np.argmax(enough)])


def _radii(law: NoiseLaw, alpha: float, share: float, n: IntArray) -> FloatArray:
    """The radii where just this share of n draws hits, for planning alone: not proved, nor rounded."""
    from scipy.special import betaincinv

    lower = betaincinv(np.maximum(share * n, 1e-9), (1 - share) * n + 1, alpha)
    return law.radius(lower, 1 - lower)
