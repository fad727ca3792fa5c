"""Statements about data sets: coverage by simulation and exact binomials, and what breaks it."""

import math
import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.stats import beta, binom

from certify.errors import UsageError
from certify.run import Run
from certify.smoothing import Anytime, Gaussian, Smoothing
from certify.smoothing.intervals import lower_bounds
from certify.smoothing.modes.decide import needed_probability
from certify.smoothing.statements import (
    Certificates,
    Covers,
    bonferroni,
    few_failures,
    holm,
    per_sample,
    population,
    shared_alpha,
)
from tests.certify.smoothing.models import halfspace

N = 200  # votes per input in the simulations
LAW = Gaussian(1.0)


def certificates(count: int, of: int, alpha: float = 1e-3, radius: float = 1.0) -> Certificates:
    """``count`` certificates of the same radius, the other inputs abstain."""
    correct = np.arange(of) < count
    return Certificates(correct, np.where(correct, radius, 0.0), np.full(of, alpha))


def critical(alpha: float) -> tuple[int, float]:
    """A number of hits out of N and a probability just below its lower bound: the bound's worst case."""
    hits = 160
    return hits, float(np.nextafter(lower_bounds(np.array([hits]), N, alpha)[0], 0))


def test_counts_and_what_they_cover():
    some = certificates(30, 100)
    assert per_sample(some, 0.5).accuracy == 0.3
    assert per_sample(some, 0.5).failure == 1e-3
    assert per_sample(some, 0.5).covers is Covers.EACH
    assert per_sample(some, 1.0).certified == 0
    assert bonferroni(some, 0.5).failure == pytest.approx(0.1)
    assert bonferroni(some, 0.5).covers is few_failures(some, 0.5, 0.01).covers is Covers.ALL
    assert population(some, 0.5, 0.01).covers is Covers.POPULATION
    assert few_failures(some, 0.5, 0.01).certified == 29  # more than 1 of 100 fail: 4.6e-3
    assert few_failures(some, 0.5, 1e-3).certified == 28  # more than 2: 1.5e-4


@pytest.mark.parametrize("failure", [0.3, 0.01, 1e-6])
@pytest.mark.parametrize("alpha", [0.2, 0.01, 1e-3])
@pytest.mark.parametrize("n", [1, 7, 500])
def test_number_of_failures_is_the_least(n, alpha, failure):
    """Against the exact binomial of n certificates that each fail with chance alpha."""
    statement = few_failures(certificates(n, n, alpha), 0.5, failure)
    k = n - round(statement.accuracy * n)

    def exceeds(k: int) -> Fraction:
        a = Fraction(alpha)
        return 1 - sum(math.comb(n, j) * a**j * (1 - a) ** (n - j) for j in range(k + 1))

    assert exceeds(k) <= Fraction(failure)
    assert k == 0 or exceeds(k - 1) > Fraction(failure) * (1 - Fraction(1, 10**12))


def test_population_bound_is_the_formula():
    statement = population(certificates(310, 500, 0.01), 0.5, 0.05)
    c = beta.ppf(0.05, 310, 191)
    assert statement.accuracy == pytest.approx((c - 0.01) / 0.99, rel=1e-12)
    assert statement.accuracy < (c - 0.01) / 0.99
    assert population(certificates(0, 5), 0.5, 0.05).accuracy == 0


def test_population_coverage_and_why_alpha_enters():
    """Inputs of which none is robust, each certified with chance alpha: Clopper-Pearson alone is wrong."""
    alpha, failure, inputs, runs = 0.05, 0.02, 400, 4000
    rng = np.random.default_rng(0)
    hits, p = critical(alpha)
    for robust in (0.0, 0.5):
        sure = rng.binomial(inputs, robust, runs)
        chance = binom.sf(hits - 1, N, p)
        assert alpha * 0.7 < chance <= alpha
        counts = sure + rng.binomial(inputs - sure, chance)
        values, at = np.unique(counts, return_inverse=True)
        bounds = np.array([population(certificates(c, inputs, alpha), 0.5, failure).accuracy for c in values])
        wrong = int((bounds[at] > robust).sum())
        assert binom.cdf(wrong, runs, failure) < 0.9999
        unaware = lower_bounds(values, inputs, failure)[at]
        assert (unaware > robust).mean() > 5 * failure


def test_joint_statements_by_simulation():
    """1000 inputs at the worst case, with draws of their own: hardly ever more failures than stated."""
    alpha, failure, inputs, runs = 0.01, 0.01, 1000, 3000
    hits, p = critical(alpha)
    rng = np.random.default_rng(1)
    failures = rng.binomial(inputs, binom.sf(hits - 1, N, p), runs)
    most = inputs - round(few_failures(certificates(inputs, inputs, alpha), 0.5, failure).accuracy * inputs)
    assert binom.cdf((failures > most).sum(), runs, failure) < 0.9999
    assert (failures > 0).mean() > 0.9  # per sample is not joint
    each = shared_alpha(failure, inputs)
    hits, p = critical(each)
    failures = rng.binomial(inputs, binom.sf(hits - 1, N, p), runs)
    assert binom.cdf((failures > 0).sum(), runs, failure) < 0.9999


def test_sharing_noise_between_inputs_breaks_the_joint_statement():
    """Equal inputs with one set of draws fail together: far more often than stated."""
    alpha, failure, inputs, runs = 0.05, 0.005, 1000, 20_000
    hits, p = critical(alpha)
    most = inputs - round(few_failures(certificates(inputs, inputs, alpha), 0.5, failure).accuracy * inputs)
    shared = np.where(np.random.default_rng(2).binomial(N, p, runs) >= hits, inputs, 0)
    assert (shared > most).mean() > 5 * failure


def test_the_certifier_shares_no_noise():
    """Equal inputs under different ids get votes of their own, so their failures are independent."""
    x = torch.full((40, 2), 0.1)
    result = Smoothing(sigma=0.5, n0=20, n=400, alpha=0.05).certify(halfspace, x, Run())
    assert len(set(result.hits.tolist())) > 10


def scattered(sigma: float = 0.5, n: int = 500):
    """A result over half-space inputs at several distances, and its labels."""
    x = torch.zeros(60, 2)
    x[:, 0] = torch.linspace(-0.2, 0.9, 60)
    result = Smoothing(sigma=sigma, n0=50, n=n, alpha=1e-3).certify(halfspace, x, Run())
    return result, torch.ones(60, dtype=torch.int64)


def test_holm_is_the_step_down_of_exact_tails():
    result, labels = scattered()
    law, radius, failure = Gaussian(0.5), 0.25, 0.05
    statement, rejected = holm(result, labels, law, radius, failure)
    p = needed_probability(law, radius)
    values = binom.sf(result.hits.numpy() - 1, 500, p)
    family = np.flatnonzero((result.selected == labels).numpy())
    expected = np.zeros(60, dtype=bool)
    for done, at in enumerate(family[np.argsort(values[family], kind="stable")]):
        if values[at] > failure / (len(family) - done):
            break
        expected[at] = True
    assert (rejected == expected).all()
    assert statement.certified == expected.sum() > 10
    assert statement.covers is Covers.ALL
    assert not statement.whole_curve
    # at least what Bonferroni over the family gives
    assert rejected[family].sum() >= (values[family] <= failure / len(family)).sum()


def test_holm_by_simulation():
    """Half of the inputs are just too weak, half strong: any wrong one has a chance of at most the stated."""
    failure, inputs, runs = 0.05, 40, 1500
    law, radius = Gaussian(0.5), 0.25
    weak = float(np.nextafter(needed_probability(law, radius), 0))
    result, _ = scattered()
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(runs):
        hits = np.append(rng.binomial(500, weak, inputs // 2), rng.binomial(500, 0.85, inputs // 2))
        votes = with_hits(result, hits)
        wrong += holm(votes, torch.ones(inputs, dtype=torch.int64), law, radius, failure)[1][:20].any()
    assert binom.cdf(wrong, runs, failure) < 0.9999
    assert wrong > 0


def with_hits(result, hits: np.ndarray):
    size = len(hits)
    return replace(
        result,
        label=torch.ones(size, dtype=torch.int64),
        selected=torch.ones(size, dtype=torch.int64),
        hits=torch.tensor(hits),
        n=torch.full((size,), 500),
    )


def test_holm_of_a_radius_beyond_the_law():
    result, labels = scattered()
    assert not holm(result, labels, Gaussian(0.5), 50.0, 0.05)[1].any()


def test_holm_refuses_what_has_no_tails():
    x = torch.ones(3, 2)
    result = Smoothing(sigma=0.5, n0=10, mode=Anytime(50)).certify(halfspace, x, Run())
    with pytest.raises(UsageError, match="fixed number"):
        holm(result, torch.ones(3, dtype=torch.int64), Gaussian(0.5), 0.1, 0.05)
    result, labels = scattered()
    with pytest.raises(UsageError, match="not of"):
        holm(result, labels, Gaussian(0.7), 0.1, 0.05)


def test_statements_from_a_result():
    result, labels = scattered()
    found = Certificates.of(result, labels)
    right = (result.label == labels) & (result.radius > 0.3)
    assert found.count(0.3) == int(right.sum()) > 0
    # accuracies fall in strength as the randomness they cover grows
    a, b, c = per_sample(found, 0.3), few_failures(found, 0.3, 0.01), population(found, 0.3, 0.01)
    assert a.accuracy >= b.accuracy > c.accuracy > 0


def test_records_and_sentences_name_the_randomness():
    some = certificates(30, 100)
    for statement in (per_sample(some, 0.5), bonferroni(some, 0.5), population(some, 0.5, 0.05)):
        assert statement.record()["covers"] == statement.covers.value
        assert statement.covers.value in str(statement)
    assert "30 of 100" in str(per_sample(some, 0.5))
    assert "at all radii at once" in str(bonferroni(some, 0.5))
    assert "at this radius" in str(population(some, 0.5, 0.05))
    assert "at least 28 of 100" in str(few_failures(some, 0.5, 1e-3))


@pytest.mark.parametrize("parts", [(1, 3), (2, 3), (1, 10), (49, 100), (1, 1), (0, 4)])
def test_accuracy_is_rounded_down(parts):
    accuracy = per_sample(certificates(*parts), 0.5).accuracy
    assert Fraction(accuracy) <= Fraction(*parts)
    assert accuracy == pytest.approx(parts[0] / parts[1], rel=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: certificates(0, 0), "radii"),
        (lambda: certificates(1, 2, alpha=0.0), "alpha"),
        (lambda: certificates(1, 2, radius=-1.0), "radii"),
        (lambda: certificates(1, 2, radius=math.nan), "radii"),
        (lambda: per_sample(certificates(1, 2), -0.1), "radii"),
        (lambda: per_sample(certificates(1, 2), math.nan), "radii"),
        (lambda: bonferroni(certificates(1, 2000), 0.1), "certify each at alpha / 2000"),
        (lambda: few_failures(certificates(1, 2), 0.1, 0.0), "alpha"),
        (lambda: population(certificates(1, 2), 0.1, 1.0), "alpha"),
        (lambda: shared_alpha(0.1, 0), "n is 0"),
        (lambda: shared_alpha(1.5, 3), "alpha"),
        (lambda: Certificates.of(scattered()[0], torch.ones(3)), "labels"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_shared_alpha_adds_up_to_no_more():
    for alpha, n in [(0.1, 3), (1e-3, 7), (0.05, 999)]:
        assert Fraction(shared_alpha(alpha, n)) * n <= Fraction(alpha)
        assert bonferroni(certificates(1, n, shared_alpha(alpha, n)), 0.5).failure <= alpha


def test_sentences_round_to_the_weaker_side():
    """A radius is printed no larger than it is, and a chance of failure no smaller."""
    certificates = Certificates(np.array([True]), np.array([1.0]), np.array([0.001234564]))
    text = str(per_sample(certificates, 0.1234567))
    radius = float(re.search(r"radius (\S+):", text)[1])
    failure = float(re.search(r"<= (\S+) over", text)[1])
    assert (radius, failure) == (0.1234567, 0.001234564)
    assert "radius 0.5:" in str(per_sample(certificates, 0.5))
