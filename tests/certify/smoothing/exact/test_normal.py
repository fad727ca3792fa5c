"""The enclosed normal distribution function beside mpmath's."""

from fractions import Fraction

import mpmath
import pytest

from certify.smoothing.exact import normal
from certify.smoothing.exact.normal import BITS, half_mass

TENTH = Fraction(0.1)  # a float's worth of digits


def exact(t: Fraction) -> mpmath.mpf:
    root = mpmath.mpf(t.numerator) / t.denominator / mpmath.sqrt(2)
    return mpmath.ldexp(mpmath.erf(root) / 2, BITS)


def test_pi():
    with mpmath.workprec(400):
        assert int(mpmath.floor(mpmath.ldexp(mpmath.pi, 256))) == normal._PI
        assert normal._ROOT_LOW <= mpmath.ldexp(mpmath.sqrt(2 * mpmath.pi), BITS) <= normal._ROOT_HIGH


@pytest.mark.parametrize(
    "t", [Fraction(1, 10**90), Fraction(1, 1000), TENTH, Fraction(1), 31 * TENTH, Fraction(9), Fraction(10)]
)
def test_encloses_closely(t):
    low, high = half_mass(t)
    with mpmath.workprec(600):
        assert low <= exact(t) <= high
    assert high - low <= 1 << 9


@pytest.mark.parametrize("t", [Fraction(10) + TENTH, Fraction(40), Fraction(10**300)])
def test_encloses_far_out(t):
    low, high = half_mass(t)
    with mpmath.workprec(20_000 if t < 100 else 400):
        assert low <= exact(t) <= high
    assert high - low <= 1 << (BITS - 76)
