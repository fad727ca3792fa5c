"""Tails of the binomial law, in integers, so that no rounding makes a test err more often than it says."""

from __future__ import annotations

import math

from certify.errors import UsageError

# Fixed point of the tail sums: relative errors below 2^-64 once a term falls under 2^64.
_ONE = 1 << 128
_SMALL = 1 << 64


def check_alpha(alpha: float) -> None:
    """Refuse a failure probability outside (0, 1)."""
    if not 0 < alpha < 1:
        raise UsageError(f"alpha is {alpha}; give a failure probability between 0 and 1, such as 0.001")


def tail_at_most(successes: int, n: int, p: float, alpha: float) -> bool:
    """Whether P[Binomial(n, p) >= successes] <= alpha, decided in integers; True only where it is so.

    With terms relative to P[X = successes] the tail is above / (above + below): no binomial coefficient and
    no power is needed. ``above`` is rounded up, remainder included, and ``below`` down, so their quotient is
    an upper bound of the tail. Needs 0 < p < 1 and 0 < successes <= n.
    """
    above, below = _tail_sums(successes, n, p)
    share, of = alpha.as_integer_ratio()
    return above * of <= share * (above + below)


def binomial_tail(successes: int, n: int, p: float) -> float:
    """P[Binomial(n, p) >= successes], rounded up: the p-value of a one-sided binomial test.

    Raises ``UsageError`` unless 0 <= successes <= n and 0 < p < 1.
    """
    if not (0 <= successes <= n and 0 < p < 1):
        raise UsageError(f"{successes} successes of {n} at p {p}; give 0 <= successes <= n and 0 < p < 1")
    if successes == 0:
        return 1.0
    above, below = _tail_sums(successes, n, p)
    return min(math.nextafter(above / (above + below), math.inf), 1.0)


def _tail_sums(successes: int, n: int, p: float) -> tuple[int, int]:
    """The terms from ``successes`` on, rounded up, and those before, rounded down, in one unit."""
    hit, whole = p.as_integer_ratio()
    miss = whole - hit
    return _sum_above(successes, n, hit, miss), _sum_below(successes, n, hit, miss)


def _sum_above(k: int, n: int, hit: int, miss: int) -> int:
    """Sum over j >= k of P[X = j] / P[X = k] in units of 2^-128, rounded up."""
    total = term = _ONE
    for j in range(k, n):
        gain, loss = (n - j) * hit, (j + 1) * miss
        if term < _SMALL and gain < loss:
            # the ratio of neighbours only falls from here: a geometric series bounds the rest
            return total - (-term * gain // (loss - gain))
        term = -(-term * gain // loss)
        total += term
    return total


def _sum_below(k: int, n: int, hit: int, miss: int) -> int:
    """Sum over j < k of P[X = j] / P[X = k] in units of 2^-128, rounded down; dropping terms is sound."""
    total, term = 0, _ONE
    for j in range(k, 0, -1):
        gain, loss = j * miss, (n - j + 1) * hit
        if term < total >> 64 and gain < loss:
            break
        term = term * gain // loss
        total += term
    return total
