"""Curves: counts, shares and their order, against exact sums."""

from fractions import Fraction
from math import comb

import pytest

from certify.errors import UsageError
from certify.reporting.rates import points, share, smoothed
from certify.reporting.schema import Share
from certify.rows import RadiusRow
from certify.verdict import Verdict

M, F, V, U, E = Verdict


def tail(k, n, p):
    """P[Binomial(n, p) >= k], exact."""
    p = Fraction(p)
    return sum(comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(k, n + 1))


@pytest.mark.parametrize(("count", "n"), [(0, 7), (3, 7), (7, 7), (50, 60)])
def test_intervals_are_clopper_and_pearsons(count, n):
    found = share(count, n)
    assert found.value == count / n
    if count:
        assert float(tail(count, n, found.low)) == pytest.approx(0.025, rel=1e-9)
    else:
        assert found.low == 0
    if count < n:
        assert float(1 - tail(count + 1, n, found.high)) == pytest.approx(0.025, rel=1e-9)
    else:
        assert found.high == 1


@pytest.mark.parametrize(("count", "n"), [(0, 7), (1, 3), (2, 3), (61, 100), (919, 919), (333, 1000)])
def test_percentages_of_bounds_are_rounded_outward(count, n):
    found, exact = Share(count=count, n=n, value=count / n, low=0, high=1), Fraction(100 * count, n)
    below, above = (Fraction(str(value)) for value in (found.at_least, found.at_most))
    assert exact - Fraction(1, 10) < below <= exact <= above < exact + Fraction(1, 10)


def test_no_samples_give_no_share():
    with pytest.raises(UsageError, match="nothing was evaluated"):
        share(0, 0)


def test_a_point_counts_every_verdict():
    (point,) = points({0.1: [M, F, F, V, V, V, U, E]})
    assert [point.counts[v] for v in Verdict] == [1, 2, 3, 1, 1]
    assert (point.clean_accuracy.count, point.attacked_accuracy.count) == (7, 5)
    assert (point.verified_accuracy.count, point.undecided.count) == (3, 2)
    assert point.n == 8


def test_points_ascend():
    found = points({0.3: [F, U], 0.1: [V, U], 0.2: [V, V]})
    assert [p.eps for p in found] == [0.1, 0.2, 0.3]
    assert [p.verified_accuracy.value for p in found] == [0.5, 1.0, 0.0]


def test_radii_count_strictly_and_only_with_the_true_label():
    truth, label, radius = [0, 0, 1, 1, 2], [0, 0, 1, 2, -1], [0.5, 0.25, 0.25, 9.0, 0.0]
    names = ("law", "norm", "reference", "domain", "mode", "execution")
    detail = {**dict.fromkeys(names, "x"), "n": 100}
    facts = zip(truth, label, radius, strict=True)
    rows = [RadiusRow(0.25, i, *each, 0.001, detail) for i, each in enumerate(facts)]
    (found,) = smoothed({0.25: rows})
    steps = [(s.radius, s.certified_accuracy.count) for s in found.steps]
    assert steps == [(0.0, 3), (0.25, 1), (0.5, 0)]
    assert (found.abstained, found.wrong, found.n) == (1, 1, 5)
    for r in (0.0, 0.1, 0.25, 0.3, 0.5, 7.0):
        expected = sum(a == b and c > r for a, b, c in zip(truth, label, radius, strict=True))
        assert found.at(r).count == expected
    assert found.samples[0].detail == {"n": 100}
