"""The normal distribution function enclosed in integers."""

from __future__ import annotations

from fractions import Fraction
from math import isqrt

# Numbers are in units of 2^-192: the 60 bits that are kept, and what the sums below may lose.
BITS = 192
_ONE = 1 << BITS
# pi * 2^256, rounded down
_PI = 0x3243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89
# sqrt(2 pi) in 2^-BITS, from both sides
_ROOT_LOW = isqrt((2 * _PI) << (2 * BITS - 256))
_ROOT_HIGH = isqrt((2 * _PI + 2) << (2 * BITS - 256)) + 1
# Beyond it less than 2^-76 is left, and the sums would only grow longer.
_FAR = Fraction(10)


def half_mass(t: Fraction) -> tuple[int, int]:
    """P[0 <= g <= t] for a standard normal g, t > 0: the ends of an interval that holds it, in 2^-BITS.

    By t / sqrt(2 pi) * sum_n t^2n / (2n + 1)!! / exp(t^2 / 2) (Abramowitz & Stegun 1964, 26.2.11). The
    exponential is a sum like the other one, and all terms of both are positive: nothing cancels, and every
    step rounds its end outward.
    """
    near = min(t, _FAR)
    above_low, above_high = _series(near * near, 3)
    below_low, below_high = _series(near * near, 2)
    a, b = near.as_integer_ratio()
    low = (a * above_low << 2 * BITS) // (b * below_high * _ROOT_HIGH)
    high = _up(a * above_high << 2 * BITS, b * below_low * _ROOT_LOW)
    return (low, high) if t <= _FAR else (low, _ONE >> 1)


def _series(square: Fraction, first: int) -> tuple[int, int]:
    """1 + square / first + square^2 / (first * (first + 2)) + ..., enclosed likewise."""
    num, den = square.as_integer_ratio()
    low = high = term_low = term_high = _ONE
    factor = first
    while term_high > 1 or 2 * num > den * factor:
        term_low = term_low * num // (den * factor)
        term_high = _up(term_high * num, den * factor)
        low += term_low
        high += term_high
        factor += 2
    # each further term is at most half of the one before it
    return low, high + term_high


def _up(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)
