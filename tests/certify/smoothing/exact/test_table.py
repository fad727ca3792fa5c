"""The sampled law of whole numbers beside references in exact integers and in mpmath."""

from bisect import bisect_right
from fractions import Fraction
from itertools import pairwise

import mpmath
import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from certify.smoothing.exact.table import REACH, Table, table

CPU = torch.device("cpu")
SCALES = [Fraction(sigma) * 255 for sigma in (0.001, 0.12, 1.0, 40.0)]
EXTREME = [Fraction(1e-300), Fraction(1e300)]


def distribution(k: Fraction, scale: Fraction) -> mpmath.mpf:
    """P[scale * g <= k]."""
    t = k / scale
    return mpmath.erfc(-mpmath.mpf(t.numerator) / t.denominator / mpmath.sqrt(2)) / 2


def reference(law: Table, word: int) -> int:
    """The inverse distribution function in Python's integers, for a signed word of 64 bits."""
    return -REACH + bisect_right(law.thresholds.tolist(), word >> 4)


@pytest.mark.parametrize("scale", SCALES)
def test_thresholds_are_rounded_to_nearest(scale):
    found = table(scale, CPU).thresholds.tolist()
    assert len(found) == 2 * REACH
    with mpmath.workprec(300):
        for j, threshold in enumerate(found):
            ideal = distribution(j - REACH + Fraction(1, 2), scale) - mpmath.mpf(1) / 2
            assert abs(mpmath.ldexp(ideal, 60) - threshold) < mpmath.mpf(1) / 2


@pytest.mark.parametrize("scale", SCALES)
def test_masses(scale):
    """Each differs by less than 2^-60 from the ideal law's, whose ends take all that lies beyond."""
    masses = table(scale, CPU).masses()
    assert sum(masses) == 1 << 60
    assert masses == masses[::-1]
    with mpmath.workprec(300):
        for k, mass in zip(range(-REACH, REACH + 1), masses, strict=True):
            half = Fraction(1, 2)
            above = 1 if k == REACH else distribution(k + half, scale)
            below = 0 if k == -REACH else distribution(k - half, scale)
            assert abs(mpmath.ldexp(above - below, 60) - mass) <= 1


@pytest.mark.parametrize("scale", SCALES)
def test_total_variation(scale):
    """Brute force over all outcomes; the bound is above it and no looser than the enclosures' width."""
    law, half = table(scale, CPU), Fraction(1, 2)
    with mpmath.workprec(300):
        ends = [distribution(k + half, scale) for k in range(-REACH, REACH)]
        ideal = [b - a for a, b in pairwise([mpmath.mpf(0), *ends, mpmath.mpf(1)])]
        sampled = [mpmath.mpf(mass) / 2**60 for mass in law.masses()]
        truth = sum(abs(p - q) for p, q in zip(ideal, sampled, strict=True)) / 2
        bound = mpmath.mpf(law.total_variation.numerator) / law.total_variation.denominator
        assert truth <= bound <= truth + REACH * mpmath.mpf(2) ** -75
        assert 0 < bound < 2 * REACH * mpmath.mpf(2) ** -61


@pytest.mark.parametrize("scale", SCALES + EXTREME)
def test_numbers_on_every_boundary(scale):
    """The words around every threshold and every edge of the guide, and those at the ends."""
    law = table(scale, CPU)
    edges = law.thresholds.tolist() + [cell << 46 for cell in range(-(1 << 13), 1 << 13)]
    words = {(edge + step) * 16 + low for edge in edges for step in (-1, 0, 1) for low in (0, 15)}
    inside = sorted(word for word in words if -(1 << 63) <= word < 1 << 63)
    inside += [-(1 << 63), (1 << 63) - 1]
    found = law.numbers(torch.tensor(inside))
    assert found.dtype == torch.int16
    assert found.tolist() == [reference(law, word) for word in inside]


@pytest.mark.parametrize("scale", SCALES)
def test_numbers_of_random_words(scale):
    law = table(scale, CPU)
    raw = np.random.Philox(key=5).random_raw(20_000).view(np.int64)
    words = torch.from_numpy(raw).view(100, 200)[:, :190]  # rows need not lie side by side
    found = law.numbers(words)
    assert found.shape == (100, 190)
    assert found.flatten().tolist() == [reference(law, word) for word in words.flatten().tolist()]
    assert torch.equal(law._search(words).short(), found)  # how a GPU goes


def test_numbers_follow_the_masses():
    law, count = table(Fraction(20), CPU), 400_000
    words = torch.from_numpy(np.random.Philox(key=9).random_raw(count).view(np.int64))
    seen = np.bincount(law.numbers(words).numpy() + REACH, minlength=2 * REACH + 1)
    expected = np.array(law.masses(), dtype=np.float64) / 2.0**60 * count
    common = expected >= 20
    rest = [seen[~common].sum()], [expected[~common].sum()]
    observed, ideal = np.concatenate([seen[common], rest[0]]), np.concatenate([expected[common], rest[1]])
    assert chisquare(observed, ideal).pvalue > 1e-4
    # a standard deviation 2% off would show
    other = np.array(table(Fraction(204, 10), CPU).masses(), dtype=np.float64) / 2.0**60 * count
    wrong = np.concatenate([other[common], [other[~common].sum()]])
    assert chisquare(observed, wrong).pvalue < 1e-8


@pytest.mark.parametrize("scale", EXTREME)
def test_extreme_scales(scale):
    """No noise at all, and nothing but ends."""
    masses = table(scale, CPU).masses()
    if scale < 1:
        assert masses[REACH] == 1 << 60
    else:
        assert masses[0] == masses[-1] == 1 << 59
