"""Curves: counts, shares and their order, against exact sums."""

import csv
import io
from fractions import Fraction
from math import comb

import pytest

from certify.curve import Share, curve, radius_csv, radius_curve, share
from certify.errors import UsageError
from certify.rows import Basis
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
    found, exact = Share(count, n, 0, 1), Fraction(100 * count, n)
    below, above = (Fraction(str(value)) for value in (found.at_least, found.at_most))
    assert exact - Fraction(1, 10) < below <= exact <= above < exact + Fraction(1, 10)


def test_no_samples_give_no_share():
    with pytest.raises(UsageError, match="nothing was evaluated"):
        share(0, 0)


def test_a_point_counts_every_verdict():
    (point,) = curve({0.1: [M, F, F, V, V, V, U, E]}).points
    assert [point.counts[v] for v in Verdict] == [1, 2, 3, 1, 1]
    assert (point.clean.count, point.attacked.count, point.verified.count) == (7, 5, 3)
    assert point.n == 8


def test_points_ascend_and_the_csv_holds_them():
    found = curve({0.3: [F, U], 0.1: [V, U], 0.2: [V, V]})
    rows = list(csv.DictReader(io.StringIO(found.csv())))
    assert [row["eps"] for row in rows] == ["0.1", "0.2", "0.3"]
    assert [row["verified_accuracy"] for row in rows] == ["0.500000", "1.000000", "0.000000"]
    for row in rows:
        assert sum(int(row[v.value]) for v in Verdict) == int(row["n"]) == 2
        for name in ("clean", "attacked", "verified"):
            low, value, high = (float(row[f"{name}_accuracy{end}"]) for end in ("_low", "", "_high"))
            assert low <= value <= high


def test_radii_count_strictly_and_only_with_the_true_label():
    truth, label, radius = [0, 0, 1, 1, 2], [0, 0, 1, 2, -1], [0.5, 0.25, 0.25, 9.0, 0.0]
    basis = Basis("Gaussian(sigma=0.25)", "L2", "a theorem", "real inputs", "Fixed(n=100)", "Execution()")
    found = radius_curve(0.25, 0.001, basis, truth, label, radius)
    assert [(r, s.count) for r, s in found.steps] == [(0.0, 3), (0.25, 1), (0.5, 0)]
    assert (found.abstained, found.wrong) == (1, 1)
    for r in (0.0, 0.1, 0.25, 0.3, 0.5, 7.0):
        expected = sum(a == b and c > r for a, b, c in zip(truth, label, radius, strict=True))
        assert found.at(r).count == expected
    rows = list(csv.DictReader(io.StringIO(radius_csv([found, found]))))
    assert [float(row["radius"]) for row in rows] == [0.0, 0.25, 0.5] * 2
