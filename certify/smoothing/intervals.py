"""Bounds from counts, rounded so that floating point never makes a claim larger than the formula.

The lower end of a proportion is Clopper & Pearson (1934), *The use of confidence or fiducial limits
illustrated in the case of the binomial*: the largest p with P[Binomial(n, p) >= successes] <= alpha.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from certify.binomial import check_alpha, tail_at_most
from certify.errors import UsageError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# ndtri was off by at most 8e-16 relative on 16,000 points of (1/2, 1); this allows 35 times that.
_QUANTILE_CUSHION = 2.0**-45


def lower_bounds(successes: IntArray, n: int, alpha: float) -> FloatArray:
    """One-sided lower confidence bounds of the success probability, each at confidence 1 - alpha.

    successes: counts out of ``n`` independent trials, any shape; the result has the same shape and lies in
    [0, 1). Each bound is statsmodels' value, lowered until the binomial tail is proved to be <= alpha there,
    which takes a few units in the last place.
    Raises ``UsageError`` for counts outside [0, n] or alpha outside (0, 1).
    """
    # slow to load, and only sampling needs it
    from statsmodels.stats.proportion import proportion_confint

    check_alpha(alpha)
    if n < 1 or (successes < 0).any() or (successes > n).any():
        raise UsageError(f"success counts lie in [0, n] with n >= 1; n is {n}")
    values, where = np.unique(successes, return_inverse=True)
    # twice alpha: statsmodels spends half of it on the upper end, which is not used
    estimates, _ = proportion_confint(values, n, alpha=2 * alpha, method="beta")
    proved = [_proved(int(k), n, float(p), alpha) for k, p in zip(values, estimates, strict=True)]
    return np.array(proved, dtype=np.float64)[where].reshape(successes.shape)


def _proved(successes: int, n: int, estimate: float, alpha: float) -> float:
    """The largest number found at or below ``estimate`` at which the tail is proved to be <= alpha."""
    if successes == 0:
        return 0.0
    p = math.nextafter(min(estimate, 1.0), 0.0)
    step = math.ulp(p)
    while p > 0 and not tail_at_most(successes, n, p, alpha):
        p -= step
        step *= 2
    return max(p, 0.0)


def normal_quantile_below(p: FloatArray) -> FloatArray:
    """A lower bound of the standard normal quantile of p; -inf for p <= 0, +inf only for p >= 1."""
    return _quantile(p, -1.0)


def normal_quantile_above(p: FloatArray) -> FloatArray:
    """An upper bound of the standard normal quantile of p; -inf only for p <= 0, +inf for p >= 1."""
    return _quantile(p, 1.0)


def _quantile(p: FloatArray, side: float) -> FloatArray:
    from scipy.special import ndtri

    estimate: FloatArray = ndtri(np.clip(p, 0.0, 1.0))
    cushion = np.where(np.isfinite(estimate), np.abs(estimate) * _QUANTILE_CUSHION, 0.0)
    return estimate + side * cushion
