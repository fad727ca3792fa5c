"""Confidence bounds against exact rational enumeration, radii against 60 digits."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from certify.binomial import tail_at_most
from certify.errors import UsageError
from certify.smoothing.intervals import lower_bounds, normal_quantile_above, normal_quantile_below
from certify.smoothing.laws import Gaussian

ALPHAS = [1e-3, 0.05, 0.3, 0.6]


def exact_tail(k: int, n: int, p: Fraction) -> Fraction:
    """P[Binomial(n, p) >= k] without rounding."""
    return sum((math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(k, n + 1)), Fraction(0))


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n", [1, 2, 5, 12, 30])
def test_coverage_by_enumeration(n, alpha):
    """P[lower(K) <= p] >= 1 - alpha with no tolerance, on a grid and where coverage is smallest."""
    lower = [Fraction(v) for v in lower_bounds(np.arange(n + 1), n, alpha).tolist()]
    assert lower == sorted(lower)
    grid = [Fraction(i, 100) for i in range(101)]
    # just below lower(k) the bound misses whenever K >= k: the worst cases
    grid += [v - Fraction(1, 2**80) for v in lower[1:]]
    for p in grid:
        misses = next((k for k in range(n + 1) if lower[k] > p), None)
        if misses is not None:
            assert exact_tail(misses, n, p) <= Fraction(alpha)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n", [1, 3, 17, 40])
def test_bound_is_the_largest(n, alpha):
    """Raising a bound by a relative 1e-12 makes the tail exceed alpha: nothing is given away."""
    for k, bound in enumerate(lower_bounds(np.arange(n + 1), n, alpha).tolist()):
        if k == 0:
            assert bound == 0
            continue
        assert exact_tail(k, n, Fraction(bound)) <= Fraction(alpha)
        assert exact_tail(k, n, Fraction(bound) * (1 + Fraction(1, 10**12))) > Fraction(alpha)


@pytest.mark.parametrize("alpha", [1e-9, 1e-3, 0.05])
@pytest.mark.parametrize("n", [100, 10_000, 100_000])
def test_all_successes_closed_form(n, alpha):
    """With n of n the bound is alpha^(1/n)."""
    bound = lower_bounds(np.array([n]), n, alpha)[0]
    with mpmath.workdps(50):
        exact = mpmath.mpf(alpha) ** (mpmath.mpf(1) / n)
        assert mpmath.mpf(bound) <= exact
        assert mpmath.mpf(bound) >= exact * (1 - mpmath.mpf(10) ** -14)


@pytest.mark.parametrize("k", [10_400, 15_000, 19_000, 19_990])
def test_large_counts_against_forty_digits(k):
    n, alpha = 20_000, 1e-3
    bound = lower_bounds(np.array([k]), n, alpha)[0]
    with mpmath.workdps(40):
        p = mpmath.mpf(bound)
        term = mpmath.binomial(n, k) * p**k * (1 - p) ** (n - k)
        tail = mpmath.mpf(0)
        for j in range(k, n + 1):
            tail += term
            term *= mpmath.mpf(n - j) / (j + 1) * p / (1 - p)
        assert tail <= alpha
        assert tail >= alpha * (1 - mpmath.mpf(10) ** -9)


@pytest.mark.parametrize("n", [1, 4, 23])
def test_tail_decision_is_never_wrong(n):
    """True only where the exact tail is <= alpha, also when alpha is the float next to it."""
    for k in range(1, n + 1):
        for p in [1e-12, 0.1, 0.5, 0.73, 1 - 2**-53]:
            exact = exact_tail(k, n, Fraction(p))
            nearest = float(exact)
            for alpha in {math.nextafter(nearest, 0), nearest, math.nextafter(nearest, 2)}:
                if not 0 < alpha < 1:
                    continue
                if tail_at_most(k, n, p, alpha):
                    assert exact <= Fraction(alpha)
                elif exact * (1 + Fraction(1, 2**60)) <= Fraction(alpha):
                    pytest.fail(f"needlessly undecided at k={k}, n={n}, p={p}")


def test_shapes_and_repeats():
    counts = np.array([[3, 3], [0, 10]])
    bounds = lower_bounds(counts, 10, 0.01)
    assert bounds.shape == (2, 2)
    assert bounds[0, 0] == bounds[0, 1] == lower_bounds(np.array([3]), 10, 0.01)[0]


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, math.nan])
def test_alpha_outside_its_domain(alpha):
    with pytest.raises(UsageError, match="alpha"):
        lower_bounds(np.array([1]), 10, alpha)


@pytest.mark.parametrize(("counts", "n"), [([-1], 5), ([6], 5), ([0], 0)])
def test_counts_outside_their_domain(counts, n):
    with pytest.raises(UsageError, match="counts"):
        lower_bounds(np.array(counts), n, 0.1)


def probabilities() -> np.ndarray:
    """Both ends of (1/2, 1) down to the last bit, the seam of the library's approximation, and between."""
    ulps = 2.0 ** -np.arange(2, 54)
    seam = 1 - math.exp(-2) + np.arange(-50, 50) * 2.0**-53
    return np.unique(
        np.concatenate([0.5 + ulps, 1 - ulps, seam, np.random.default_rng(0).uniform(0.5, 1, 400)])
    )


@pytest.mark.parametrize("sigma", [1e-3, 0.12, 0.25, 1.0, 7.3])
def test_radius_is_never_above_the_formula(sigma):
    p = probabilities()
    p = p[(p > 0.5) & (p < 1)]
    for p_other in (np.nextafter(1 - p, 1), (1 - p) / 3):
        radii = Gaussian(sigma).radius(p, p_other)
        with mpmath.workdps(60):
            for a, b, radius in zip(p.tolist(), p_other.tolist(), radii.tolist(), strict=True):
                exact = mpmath.mpf(sigma) / 2 * (quantile(a) - quantile(b))
                assert mpmath.mpf(radius) < exact
                assert mpmath.mpf(radius) > exact * (1 - mpmath.mpf(10) ** -13)


def quantile(p: float) -> mpmath.mpf:
    return mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(p) - 1)


def test_quantiles_enclose():
    p = probabilities()
    p = np.concatenate([p, 1 - p])
    p = p[(p > 0) & (p < 1)]
    below, above = normal_quantile_below(p), normal_quantile_above(p)
    with mpmath.workdps(60):
        for value, low, high in zip(p.tolist(), below.tolist(), above.tolist(), strict=True):
            assert low <= quantile(value) <= high
            assert high - low <= 1e-12 * max(abs(low), 1e-3)


def test_certain_and_impossible():
    ends = np.array([0.0, 1.0])
    assert normal_quantile_below(ends).tolist() == [-math.inf, math.inf]
    assert normal_quantile_above(ends).tolist() == [-math.inf, math.inf]


def test_no_radius_without_a_majority_over_the_others():
    p = np.array([0.0, 0.3, math.nextafter(0.5, 0), 0.5])
    assert (Gaussian(1.0).radius(p, np.nextafter(1 - p, 1)) == 0).all()
    assert Gaussian(1.0).radius(np.array([0.3]), np.array([0.2]))[0] > 0
