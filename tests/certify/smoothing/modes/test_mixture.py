"""The evidence against sixty digits, and what may be looked at after every draw."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certify.smoothing.modes.mixture import least_evident, log_evidence, lower_sequence


def exact_log_evidence(hits: int, n: int, p: float) -> mpmath.mpf:
    """By the definition: the mean likelihood ratio under Beta(1/2, 1/2) truncated to (p, 1]."""
    p = mpmath.mpf(p)
    a, b = mpmath.mpf(hits) + 0.5, mpmath.mpf(n - hits) + 0.5
    mass = mpmath.betainc(a, b, p, 1) / mpmath.betainc(0.5, 0.5, p, 1)
    return mpmath.log(mass) - hits * mpmath.log(p) - (n - hits) * mpmath.log1p(-p)


@pytest.mark.parametrize("p", [1e-6, 0.01, 0.5, 0.8413, 0.999, 1 - 1e-9])
def test_evidence_is_a_lower_bound(p):
    with mpmath.workdps(60):
        for n in (1, 2, 17, 400, 1500):
            spread = (n * p * (1 - p)) ** 0.5
            for hits in {n, *(min(n, int(n * p + z * spread) + 1) for z in (0, 1, 4, 9))}:
                if hits <= n * p:
                    continue
                exact = exact_log_evidence(hits, n, p)
                found = float(log_evidence(np.array(hits), np.array(n), np.array(p)))
                assert exact - 1e-6 <= found <= exact


@pytest.mark.parametrize("n", [10**5, 10**7, 10**9])
def test_terms_of_large_numbers(n):
    """All but the posterior share, which lies in (0, 1] and here is next to 1: within the cushion."""
    with mpmath.workdps(60):
        for p in (0.3, 0.9, 0.9999):
            hits = min(n, int(n * p + 6 * (n * p * (1 - p)) ** 0.5) + 1)
            a, b = mpmath.mpf(hits) + 0.5, mpmath.mpf(n - hits) + 0.5
            # far above p: next to all of the posterior
            exact = mpmath.log(mpmath.beta(a, b)) - mpmath.log(2 * mpmath.acos(mpmath.sqrt(mpmath.mpf(p))))
            exact -= hits * mpmath.log(mpmath.mpf(p)) + (n - hits) * mpmath.log1p(-mpmath.mpf(p))
            found = float(log_evidence(np.array(hits), np.array(n), np.array(p)))
            cushion = 2.0**-40 * 3 * float(mpmath.loggamma(n + 1))
            assert exact - cushion - 1e-4 <= found <= exact


def test_no_evidence_where_hits_are_few():
    found = log_evidence(np.array([0, 3, 5]), np.array([10, 10, 10]), np.array(0.5))
    assert (found == -np.inf).all()


@pytest.mark.parametrize("alpha", [0.3, 0.01])
@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_looking_after_every_draw(p, alpha):
    """The exact chance that evidence reaches 1 / alpha within 150 draws: at most alpha at p and below."""
    looks = np.arange(1, 151)
    accept = least_evident(looks, p, alpha)
    assert (np.diff(accept) >= 0).all()
    for q in (Fraction(p), Fraction(p) * Fraction(9, 10), Fraction(p) / 2):
        alive, reached = {0: Fraction(1)}, Fraction(0)
        for threshold in accept.tolist():
            after: dict[int, Fraction] = {}
            for hits, chance in alive.items():
                after[hits + 1] = after.get(hits + 1, Fraction(0)) + chance * q
                after[hits] = after.get(hits, Fraction(0)) + chance * (1 - q)
            reached += sum((c for h, c in after.items() if h >= threshold), Fraction(0))
            # 200 bits are kept, rounded up: sound, and fast
            alive = {h: Fraction(-(-c * 2**200 // 1), 2**200) for h, c in after.items() if h < threshold}
        assert reached <= Fraction(alpha)
    assert reached < Fraction(alpha) / 2


def test_evidence_is_a_supermartingale_below_p():
    """Its mean over the next draw is at most its value, at p (equal, but for the cushion) and below."""
    n, p = 30, 0.6
    hits = np.arange(22, 29)
    now = np.exp(log_evidence(hits, np.array(n), np.array(p)))
    hit = np.exp(log_evidence(hits + 1, np.array(n + 1), np.array(p)))
    miss = np.exp(log_evidence(hits, np.array(n + 1), np.array(p)))
    for q in (0.6, 0.5, 0.1):
        mean = q * hit + (1 - q) * miss
        assert (mean <= now * (1 + 1e-6)).all()
    assert (0.6 * hit + 0.4 * miss >= now * (1 - 1e-6)).all()


@given(n=st.integers(1, 3000), share=st.floats(0, 1), alpha=st.sampled_from([1e-9, 1e-3, 0.05, 0.5]))
@settings(max_examples=40, deadline=None)
def test_lower_sequence_is_where_evidence_ends(n, share, alpha):
    hits = round(share * n)
    bound = lower_sequence(hits, n, alpha)
    assert 0 <= bound < 1
    assert bound == 0 if hits == 0 else 0 < bound < hits / n
    if hits:
        below = bound * np.linspace(0.01, 1, 60)
        above = bound + (1 - bound) * np.linspace(1e-9, 0.99, 60)
        assert (log_evidence(np.array(hits), np.array(n), below) >= np.log(1 / alpha)).all()
        assert (log_evidence(np.array(hits), np.array(n), above) < np.log(1 / alpha) + 1e-9).all()
        assert bound >= lower_sequence(hits - 1, n, alpha)
        assert bound >= lower_sequence(hits, n + 1, alpha)
        assert bound <= lower_sequence(hits + 1, n + 1, alpha)
