"""Evidence that a probability exceeds p, which may be looked at after every draw.

Robbins (1970), *Statistical methods related to the law of the iterated logarithm*: a mixture of likelihood
ratios against p is a nonnegative supermartingale that starts at 1, so by Ville (1939) it ever reaches
1 / alpha with probability at most alpha. The mixture here is Beta(1/2, 1/2) truncated to (p, 1]. Each ratio
with q > p is a supermartingale not only under p but under every smaller probability, for its mean over one
draw grows with the true probability and is 1 at p: the evidence is against all probabilities <= p at once.
"""

from __future__ import annotations

import math

import numpy as np

from certify.binomial import check_alpha
from certify.smoothing.intervals import FloatArray, IntArray

# The formula was off by at most 3e-16 of the sum of its terms on 4,000 points (n up to 10^9, p from 10^-6 to
# 1 - 10^-9); this allows 3,000 times that, which costs a relative 3e-6 of alpha at n = 100,000.
_CUSHION = 2.0**-40


def log_evidence(hits: IntArray, n: IntArray, p: FloatArray) -> FloatArray:
    """A lower bound of the logarithm of the evidence against "the probability is <= p", by broadcasting.

    hits: out of ``n`` draws. Needs 0 < p < 1. Where hits / n <= p, there is no evidence: the bound is -inf.
    """
    # slow to load, and only sampling needs it
    from scipy.special import betaincc, gammaln

    hits, n, p = np.broadcast_arrays(hits, n, p)
    misses = n - hits
    above, below = gammaln(hits + 0.5) + gammaln(misses + 0.5), gammaln(n + 1.0)
    likelihood = hits * np.log(p) + misses * np.log1p(-p)
    weight = np.log(2 * np.arctan2(np.sqrt(1 - p), np.sqrt(p)))  # pi times the prior mass of (p, 1]
    promising = hits > n * p
    # where hits / n > p, at least about half of the posterior lies above p: no cancellation, no underflow
    share = np.log(betaincc(hits + 0.5, misses + 0.5, p, where=promising, out=np.ones(p.shape)))
    largest = np.abs(above) + np.abs(below) + np.abs(likelihood) + np.abs(weight) + 1
    found: FloatArray = above - below - likelihood - weight + share - largest * _CUSHION
    return np.where(promising, found, -np.inf)


def least_evident(n: IntArray, p: float, alpha: float) -> IntArray:
    """The least hits out of each ``n`` with evidence 1 / alpha against "<= p"; n + 1 where none has it."""
    wanted = math.log(1 / alpha) * (1 + 2.0**-40)
    low, high = np.floor(n * p).astype(np.int64), n + 1
    while (high - low > 1).any():
        middle = (low + high) // 2
        # evidence grows with hits, for each ratio does
        enough = (log_evidence(np.minimum(middle, n), n, np.array(p)) >= wanted) & (middle <= n)
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high


def lower_sequence(hits: int, n: int, alpha: float) -> float:
    """The lower end, after ``n`` draws, of a confidence sequence: it holds for all n at once, at 1 - alpha.

    The largest p found whose evidence reaches 1 / alpha. All smaller ones are rejected with it: with
    p = sin(t)^2 the prior is uniform in t and the log-likelihood concave in it, so below hits / n the
    evidence falls as p grows (each ratio at a fixed share of the way from t to pi / 2 does); beyond, it is
    below 1.
    Raises ``UsageError`` for alpha outside (0, 1).
    """
    check_alpha(alpha)
    wanted = math.log(1 / alpha) * (1 + 2.0**-40)
    low, high = 0.0, hits / n
    while True:
        middle = (low + high) / 2
        if not low < middle < high:
            return low
        enough = log_evidence(np.array(hits), np.array(n), np.array(middle)) >= wanted
        low, high = (middle, high) if enough else (low, middle)
