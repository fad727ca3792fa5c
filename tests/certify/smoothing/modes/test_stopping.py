"""Tables of stops: their error by exact enumeration and simulation, their power."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy.stats import binom

from certify.smoothing.modes.stopping import StopTable, acceptance, stop_table


def exact_acceptance(table: StopTable, p: Fraction) -> Fraction:
    """The chance that the table accepts, without rounding: over the number of draws and of hits."""
    alive, before, accepted = {0: Fraction(1)}, 0, Fraction(0)
    for n, accept, give_up in zip(table.looks.tolist(), table.accept, table.give_up, strict=True):
        steps = [comb(n - before, k) * p**k * (1 - p) ** (n - before - k) for k in range(n - before + 1)]
        after: dict[int, Fraction] = {}
        for hits, chance in alive.items():
            for k, step in enumerate(steps):
                after[hits + k] = after.get(hits + k, Fraction(0)) + chance * step
        accepted += sum((c for h, c in after.items() if h >= accept), Fraction(0))
        alive, before = {h: c for h, c in after.items() if give_up < h < accept}, n
    assert not alive
    return accepted


@pytest.mark.parametrize("alpha", [0.3, 0.05, 1e-3])
@pytest.mark.parametrize("p", [0.5, 0.55, 0.7, 0.9])
@pytest.mark.parametrize(("n_max", "futility"), [(10, 0.1), (40, 1e-3), (70, 0.3), (100, 0.01)])
def test_exact_error(p, alpha, n_max, futility):
    """At most alpha at p and below, rising with the probability; close to alpha where counts are fine."""
    table = stop_table(p, alpha, n_max, futility)
    grid = [Fraction(p) * i / 10 for i in range(1, 11)]
    chances = [exact_acceptance(table, q) for q in grid]
    assert chances == sorted(chances)
    assert chances[-1] <= Fraction(alpha)
    if alpha == 0.3 and n_max > 10:
        assert chances[-1] > 0.15


@pytest.mark.parametrize("p", [0.5, 0.8])
def test_sum_over_paths_is_an_upper_bound(p):
    table = stop_table(p, 0.05, 80, 0.05)
    early, ends = acceptance(table, p)
    total = early + ends[table.accept[-1] :].sum()
    exact = exact_acceptance(table, Fraction(p))
    assert exact <= Fraction(early) + sum(map(Fraction, ends[table.accept[-1] :])) * (1 + Fraction(1, 10**9))
    assert total == pytest.approx(float(exact), rel=1e-7)


@pytest.mark.parametrize("n_max", [1, 15, 16, 17, 1000, 100_000])
def test_table_is_complete(n_max):
    table = stop_table(0.6, 0.01, n_max, 0.01)
    assert table.looks[-1] == n_max
    assert (np.diff(table.looks) > 0).all()
    assert (np.diff(table.accept - table.give_up)[:0] >= 0).all()
    assert (table.give_up < table.accept).all()
    assert table.give_up[-1] == table.accept[-1] - 1


def simulate(table: StopTable, p: float, runs: int, seed: int) -> tuple[float, float]:
    """The share of runs that accept and their mean number of draws."""
    rng = np.random.default_rng(seed)
    hits, before, accepted, draws = np.zeros(runs, dtype=np.int64), 0, 0, 0
    for n, accept, give_up in zip(table.looks.tolist(), table.accept, table.give_up, strict=True):
        hits = hits + rng.binomial(n - before, p, len(hits))
        draws, before = draws + len(hits) * (n - before), n
        accepted += int((hits >= accept).sum())
        hits = hits[(hits > give_up) & (hits < accept)]
    return accepted / runs, draws / runs


@pytest.mark.parametrize("p", [0.5, 0.8413, 0.977, 0.9987])
def test_simulated_error_and_power_at_full_size(p):
    """At p itself about alpha, and no more; where a fixed test has all power, all of it at a fraction."""
    alpha, n_max, runs = 0.01, 100_000, 40_000
    table = stop_table(p, alpha, n_max, 1e-3)
    accepted, _ = simulate(table, p, runs, seed=1)
    assert binom.cdf(accepted * runs, runs, alpha) < 0.9999
    assert accepted > alpha / 2
    better = p + 10 * np.sqrt(p * (1 - p) / n_max)
    accepted, draws = simulate(table, better, 2000, seed=2)
    assert accepted > 0.995
    assert draws < n_max / 2


def test_looking_without_a_table_breaks_the_error():
    """A fixed test's threshold at every look accepts far more often than alpha; the table does not."""
    p, alpha, runs = 0.7, 0.01, 20_000
    table = stop_table(p, alpha, 2000, 0.01)
    naive = (binom.isf(alpha, table.looks, p) + 1).astype(np.int64)
    peeking = StopTable(table.looks, naive, np.minimum(naive - 1, -1))
    assert simulate(peeking, p, runs, seed=3)[0] > 4 * alpha
    assert simulate(table, p, runs, seed=3)[0] < 1.3 * alpha


def test_tables_are_made_once_and_read_only():
    table = stop_table(0.6, 0.01, 500, 0.01)
    assert stop_table(0.6, 0.01, 500, 0.01) is table
    with pytest.raises(ValueError, match="read-only"):
        table.accept[0] = 0
