"""When to stop a test of "the probability is at least p": tables of integers, made once.

After the looks' numbers of draws, so many hits accept and so few give up. The table's own error is the
chance of acceptance under a probability < p. It is computed here, for all paths, rather than argued for:
see ``acceptance``. Acceptance is likelier the larger the probability is (couple two sequences of draws so
that one has all hits of the other: where the other accepts, it has not given up before and accepts by
then), so p itself is the worst case.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from certify.binomial import check_alpha
from certify.smoothing.intervals import FloatArray, IntArray
from certify.smoothing.modes.mixture import least_evident

# Rounds are dear for an engine and late looks cost draws: a finer schedule takes three times the rounds to
# save a few percent of the draws.
_STEP = 16
_GROWTH = 1.06
# Of the sum over paths: rounding may make it smaller by a relative 10^-9 (see ``acceptance``) and what is
# dropped by an absolute 10^-20. Ten times that.
_RELATIVE, _ABSOLUTE = 1e-8, 1e-19
_DROPPED = 1e-40


@dataclass(frozen=True, eq=False)
class StopTable:
    """After ``looks[k]`` draws, at least ``accept[k]`` hits accept, at most ``give_up[k]`` give up.

    All int64 (looks,), looks rising; at the last one, every number of hits does one or the other. ``accept``
    is one more than the draws where nothing accepts, ``give_up`` -1 where nothing gives up.
    """

    looks: IntArray
    accept: IntArray
    give_up: IntArray

    @property
    def can_accept(self) -> bool:
        """Whether any number of hits accepts."""
        return bool((self.accept <= self.looks).any())


@lru_cache(maxsize=256)
def stop_table(p: float, alpha: float, n_max: int, futility: float) -> StopTable:
    """A test of at most ``n_max`` draws that accepts "the probability is >= p" wrongly with chance <= alpha.

    At each look it accepts where the evidence against "<= p" has reached 1 / alpha (Ville 1939; see
    ``mixture``). Having looked only so often and at most n_max times it spends less than alpha; the rest goes
    to the last look. It gives up where a fixed test of n_max draws has, by either of two accounts, a chance
    of about ``futility`` left: evidence against the least share of hits that this test accepts, or the
    remaining draws under that share (Lan, Simon & Halperin 1982, stochastic curtailment). Giving up is part
    of the table and never undone. Needs 0 < p < 1.
    """
    check_alpha(alpha)
    check_alpha(futility)
    looks = _looks(n_max)
    accept = least_evident(looks, p, alpha)
    give_up = _futile(looks, p, alpha, futility)
    accept[-1] = n_max + 1
    give_up = np.minimum(give_up, accept - 1)
    table = StopTable(looks, accept, give_up)
    spent, ends = acceptance(table, p)
    accept[-1] = n_max + 1 - _affordable(ends, alpha - spent)
    give_up[-1] = accept[-1] - 1
    for array in (looks, accept, give_up):
        array.setflags(write=False)  # the cache hands out one table to all
    return table


def _affordable(ends: FloatArray, left: float) -> int:
    """How many of the largest numbers of hits may accept at the last look, given the chance that is left."""
    costs = np.cumsum(ends[::-1]) * (1 + _RELATIVE) + _ABSOLUTE
    return int(np.searchsorted(costs, left, side="right"))


def _looks(n_max: int) -> IntArray:
    """Numbers of draws after which it is looked: rising by some percent, ``n_max`` the last."""
    looks, n = [], _STEP
    while n < n_max:
        looks.append(n)
        n = max(n + _STEP, int(n * _GROWTH))
    return np.array([*looks, n_max], dtype=np.int64)


def _futile(looks: IntArray, p: float, alpha: float, futility: float) -> IntArray:
    """The most hits that leave a fixed test at the last look next to no chance; -1 where there is none."""
    from scipy.stats import binom

    n_max = int(looks[-1])
    needed = int(binom.isf(alpha, n_max, p)) + 1
    share = needed / n_max
    if share >= 1:
        return looks - 1
    against = looks - least_evident(looks, 1 - share, futility)
    lacking = binom.ppf(1 - futility, n_max - looks, share)
    curtailed: IntArray = needed - 1 - lacking.astype(np.int64)
    found: IntArray = np.maximum(np.maximum(against, curtailed), -1)
    return found


def acceptance(table: StopTable, p: float) -> tuple[float, FloatArray]:
    """The chance that the table accepts before its last look, and those of the hits that are left then.

    The first is an upper bound, and so is each of the second, (n_max + 1,), but for a relative 10^-9 and an
    absolute 10^-20: forward through the looks, the chance of each number of hits is spread by the binomial of
    the draws between. All terms are positive, so each sum of m products errs by a relative m * 2^-53, some
    10^-11 over all looks. Binomial terms are made from neighbours and scaled to sum 1.
    """
    alive, low, before, accepted = np.ones(1), 0, 0, 0.0
    for n, accept, give_up in zip(
        table.looks.tolist(), table.accept.tolist(), table.give_up.tolist(), strict=True
    ):
        steps, first = _binomial(n - before, p)
        alive, low, before = np.convolve(alive, steps), low + first, n
        if n == int(table.looks[-1]):
            break
        accepted += float(alive[max(accept - low, 0) :].sum())
        kept = slice(max(give_up + 1 - low, 0), max(accept - low, 0))
        alive, low = alive[kept], low + kept.start
        alive = alive if len(alive) else np.zeros(1)
    ends = np.zeros(int(table.looks[-1]) + 1)
    ends[low : low + len(alive)] = alive[: len(ends) - low]
    return accepted * (1 + _RELATIVE) + _ABSOLUTE, ends


def _binomial(n: int, p: float) -> tuple[FloatArray, int]:
    """P[Binomial(n, p) = k] from some least k on, which is returned too.

    Products of the ratios of neighbours, outwards from the mode, so that the relative error is some n *
    2^-51; terms below 10^-40 of the largest are dropped, the others raised to sum 1.
    """
    mode = min(int((n + 1) * p), n)
    up = np.arange(mode + 1, n + 1, dtype=np.float64)
    down = np.arange(mode, 0, -1, dtype=np.float64)
    odds = p / (1 - p)
    right = np.cumprod((n - up + 1) / up * odds)
    left = np.cumprod(down / (n - down + 1) / odds)
    right, left = right[right > _DROPPED], left[left > _DROPPED]
    terms = np.concatenate([left[::-1], np.ones(1), right])
    return terms / math.fsum(terms.tolist()), mode - len(left)
