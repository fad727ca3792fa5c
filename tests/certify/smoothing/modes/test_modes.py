"""Every mode: exact coverage by enumeration, parity with formulas, bad input."""

import math
from dataclasses import FrozenInstanceError, fields
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, multinomial, norm

from certify.errors import UsageError
from certify.smoothing import Ablation, DiscreteGaussian, Gaussian, Laplace, Uniform, UniformLinf
from certify.smoothing.modes import MODES, Anytime, Decide, Fixed, Grid, Planned, TwoSided
from certify.smoothing.modes.base import ESTIMATION
from certify.smoothing.modes.decide import needed_probability
from certify.smoothing.modes.fixed import concluded
from certify.smoothing.modes.planned import PILOT
from tests.certify.smoothing.modes.driving import LAW, drive, misses, outcomes, replay

SMALL = [
    Fixed(1),
    Fixed(20),
    TwoSided(20),
    Decide(0.1, n_max=40),
    Decide(0.5, n_max=48, futility=0.2),
    Grid((0.1, 0.3, 0.6), n_max=48),
    Grid((0.1, 0.2), n_max=45, futility=0.3),
    Planned(0.3, n_max=40, pilot=8),
    Anytime(20),
]


@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.3])
@pytest.mark.parametrize("mode", SMALL, ids=repr)
def test_exact_coverage(mode, alpha):
    """Over all possible votes, p_lower exceeds the probability with chance <= alpha: no tolerance."""
    chances = misses(mode, alpha)
    assert max(chances.values()) <= Fraction(alpha)
    assert max(chances.values()) > 0 or mode == Fixed(1)


@pytest.mark.parametrize("mode", SMALL, ids=repr)
def test_outcomes_are_complete_and_consistent(mode):
    """Probabilities sum to 1; the radius is the law's, above what was asked for; counts are those drawn."""
    found = list(outcomes(mode, 0.1))
    assert sum(o.chance(Fraction(3, 7)) for o in found) == 1
    for o in found:
        e = o.estimate
        assert e.p_other >= 1 - e.p_lower or isinstance(mode, TwoSided)
        assert e.radius == LAW.radius(np.array([e.p_lower]), np.array([e.p_other]))[0]
        kept = [(a.count, h) for a, h in zip(o.asks, o.hits, strict=True) if a.stream == ESTIMATION]
        assert (e.n, e.hits) == (sum(n for n, _ in kept), sum(h for _, h in kept))
        # a grid's radius may have been accepted before draws for the next one
        assert e.p_lower == 0 or e.p_lower < e.hits / e.n or isinstance(mode, Grid)


def test_two_sided_coverage_with_three_classes():
    """Exactly: either bound fails with chance <= alpha, whichever of many votes come."""
    n, alpha = 14, 0.1
    votes = [(a, b, n - a - b) for a in range(n + 1) for b in range(n + 1 - a)]
    found = []
    for v in votes:
        estimation = TwoSided(n).estimate(LAW, alpha, 0)
        next(estimation)
        with pytest.raises(StopIteration) as stop:
            estimation.send(np.array(v))
        found.append(stop.value.value)
    for a in np.linspace(0.05, 0.9, 18):
        for share in (0.1, 0.5, 0.8, 1.0):
            b, c = (1 - a) * share, (1 - a) * (1 - share)
            wrong = [e.p_lower > a or e.p_other < max(b, c) for e in found]
            assert multinomial.pmf(np.array(votes)[wrong], n, [a, b, c]).sum() <= alpha


def test_fixed_is_the_formula():
    hits, n, alpha, sigma = 930, 1000, 1e-3, 0.25
    _, found = replay(Fixed(n), alpha, [hits], Gaussian(sigma))
    plain = beta.ppf(alpha, hits, n - hits + 1)
    assert found.p_lower == pytest.approx(plain, rel=1e-12)
    assert found.radius == pytest.approx(sigma * norm.ppf(plain), rel=1e-12)
    assert found.radius < sigma * norm.ppf(plain) * (1 + 1e-15)


def test_two_sided_certifies_below_one_half():
    """A class at 0.45 with many rivals: no other mode can say anything."""
    rng = np.random.default_rng(0)
    p = [0.45, *[0.05] * 11]
    found = drive(TwoSided(10_000), p, rng)
    assert found.p_lower < 0.5
    assert found.radius == pytest.approx(0.5 * (norm.ppf(0.45) - norm.ppf(0.05)), rel=0.1)
    assert drive(Fixed(10_000), p, rng).radius == 0


def test_two_sided_formula():
    votes = np.array([700, 40, 260])
    estimation = TwoSided(1000).estimate(LAW, 0.01, 0)
    next(estimation)
    with pytest.raises(StopIteration) as stop:
        estimation.send(votes)
    found = stop.value.value
    assert found.p_lower == pytest.approx(beta.ppf(0.005, 700, 301), rel=1e-12)
    assert found.p_other == pytest.approx(beta.ppf(0.995, 261, 740), rel=1e-12)
    assert found.p_other >= beta.ppf(0.995, 261, 740) * (1 - 1e-13)


@pytest.mark.parametrize("radius", [1e-6, 0.25, 1.0, 3.5])
@pytest.mark.parametrize("sigma", [0.12, 1.0])
def test_needed_probability(radius, sigma):
    """The radius follows from it, and from no smaller float; it is the formula's."""
    p = needed_probability(Gaussian(sigma), radius * sigma)
    assert concluded(Gaussian(sigma), p, 0, 0).radius > radius * sigma
    assert concluded(Gaussian(sigma), math.nextafter(p, 0), 0, 0).radius <= radius * sigma
    assert p == pytest.approx(norm.cdf(radius), abs=1e-9)


@pytest.mark.parametrize(
    ("law", "radius"),
    [
        (Laplace(0.5), 0.2),
        (Uniform(0.5), 0.3),
        (UniformLinf(0.5, 12), 0.01),
        (Ablation(10, 100, 0.0), 1.0),
        (DiscreteGaussian(0.5), 0.4),
    ],
    ids=repr,
)
def test_decisions_under_other_laws(law, radius):
    """Whatever the law, the certificate is beyond the radius that was asked for, and just so."""
    p = needed_probability(law, radius)
    found = drive(Decide(radius, 5000), [1.0], np.random.default_rng(0), law=law)
    assert found.p_lower == p
    assert found.radius > radius
    assert drive(Decide(radius, 5000), [p - 0.2, 1.2 - p], np.random.default_rng(0), law=law).radius == 0


def test_decisions_match_those_of_many_draws():
    rng = np.random.default_rng(0)
    law = Gaussian(0.5)
    for p, holds in [(0.3, False), (0.8, False), (0.88, True), (0.99, True), (1.0, True)]:
        found = drive(Decide(0.5), [p, 1 - p], rng, law=law)
        assert (found.radius > 0.5) == holds
        assert found.n < 20_000
        assert found.radius < 0.5 + 1e-9


def test_grid_finds_the_largest_radius_below():
    rng = np.random.default_rng(1)
    radii = (0.1, 0.5, 1.0, 1.5, 2.0)
    for true in (0.05, 0.3, 0.75, 1.2, 1.8, 2.6):
        p = float(norm.cdf(true))
        found = drive(Grid(radii), [p, 1 - p], rng)
        best = max((r for r in radii if r < true), default=0.0)
        assert found.radius == pytest.approx(best, abs=1e-9)
        assert found.radius > best or best == 0


def test_grid_of_one_is_decide():
    for path in ([16, 16], [12, 9], [3]):
        assert replay(Grid((0.3,), 48), 0.1, path) == replay(Decide(0.3, 48), 0.1, path)


def test_grid_leaves_out_what_is_beyond_reach():
    assert drive(Grid((0.5, 9.0), n_max=1000), [1.0], np.random.default_rng(0)).radius > 0.5


def test_planned_keeps_the_streams_apart():
    asks, _ = replay(Planned(0.05, 10_000, 500), 1e-3, [450])
    assert [a.stream for a in asks] == [PILOT, ESTIMATION]
    assert 100 < asks[1].count < 10_000
    found = replay(Planned(0.05, 10_000, 500), 1e-3, [240])[1]
    assert (found.radius, found.n) == (0, 0)


@pytest.mark.parametrize("tolerance", [0.01, 0.05, 0.2])
def test_planned_keeps_its_tolerance(tolerance):
    """On average over pilots and draws, the radius is that of n_max draws but for the tolerance."""
    rng = np.random.default_rng(0)
    for p in (0.8, 0.95, 0.999):
        full = np.mean([drive(Fixed(20_000), [p, 1 - p], rng).radius for _ in range(60)])
        found = [drive(Planned(tolerance, 20_000), [p, 1 - p], rng) for _ in range(60)]
        assert np.mean([e.radius for e in found]) > full * (1 - tolerance) * 0.985
        assert np.mean([e.n for e in found]) < 20_000


def test_anytime_may_be_topped_up():
    """More of the same draws raise the bound, to within the price of looking at any time."""
    rng = np.random.default_rng(0)
    hits = np.cumsum(rng.binomial(1000, 0.9, 20))
    bounds = [replay(Anytime((k + 1) * 1000), 1e-3, [int(h)])[1].p_lower for k, h in enumerate(hits)]
    assert bounds[-1] > bounds[0]
    fixed = replay(Fixed(20_000), 1e-3, [int(hits[-1])])[1].p_lower
    assert fixed - 0.01 < bounds[-1] < fixed


def test_only_anytime_may_be_continued():
    assert [name for name, mode in MODES.items() if mode.continuable] == ["anytime"]


@pytest.mark.parametrize("mode", SMALL, ids=repr)
def test_modes_are_values(mode):
    assert MODES[mode.name] is type(mode)
    assert eval(repr(mode), {type(mode).__name__: type(mode)}) == mode
    assert hash(mode) == hash(eval(repr(mode), {type(mode).__name__: type(mode)}))
    with pytest.raises(FrozenInstanceError):
        setattr(mode, fields(mode)[0].name, 1)


def test_integers_and_floats_have_one_repr():
    assert repr(Decide(1)) == repr(Decide(1.0))
    assert repr(Grid([1, 2])) == repr(Grid((1.0, 2.0)))


@given(hits=st.integers(0, 200), n=st.integers(200, 400), a=st.sampled_from([1e-6, 1e-3, 0.2]))
@settings(max_examples=25, deadline=None)
def test_bounds_rise_with_hits_and_alpha(hits, n, a):
    for kind in (Fixed, TwoSided, Anytime):
        low = replay(kind(n), a, [hits])[1]
        assert low.radius <= replay(kind(n), a, [min(hits + 1, n)])[1].radius
        assert low.p_lower <= replay(kind(n), min(2 * a, 0.5), [hits])[1].p_lower


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fixed(0), "n is 0"),
        (lambda: TwoSided(-1), "n is -1"),
        (lambda: Anytime(1.5), "n is 1.5"),
        (lambda: Anytime(True), "n is True"),
        (lambda: Decide(0.0), "radii"),
        (lambda: Decide(-1.0), "radii"),
        (lambda: Decide(math.nan), "radii"),
        (lambda: Decide(math.inf), "radii"),
        (lambda: Decide(0.5, n_max=0), "n_max is 0"),
        (lambda: Decide(0.5, n_max=10**9), "at most"),
        (lambda: Decide(0.5, futility=0.0), "futility"),
        (lambda: Decide(0.5, futility=1.0), "futility"),
        (lambda: Grid(()), "radii"),
        (lambda: Grid((0.5, 0.25)), "do not rise"),
        (lambda: Grid((0.5, 0.5)), "do not rise"),
        (lambda: Grid((0.0, 0.5)), "radii"),
        (lambda: Planned(0.0), "tolerance"),
        (lambda: Planned(1.0), "tolerance"),
        (lambda: Planned(0.1, pilot=0), "pilot is 0"),
        (lambda: Planned(0.1, n_max=0), "n_max is 0"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize("mode", SMALL, ids=repr)
@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.5, 2.0, math.nan])
def test_alpha_outside_its_domain(mode, alpha):
    with pytest.raises(UsageError, match="alpha"):
        replay(mode, alpha, [7, 30])


@pytest.mark.parametrize("mode", [Decide(3.0, n_max=1000), Grid((3.0, 3.5), n_max=1000), Decide(50.0)])
def test_radii_that_no_draws_can_certify(mode):
    with pytest.raises(UsageError, match="never certify"):
        replay(mode, 1e-3, [])
