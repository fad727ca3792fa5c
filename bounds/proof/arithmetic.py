"""The numbers a check is done in: float64 with an account of every rounding, or exact fractions without.

Formulas: Higham (2002), *Accuracy and Stability of Numerical Algorithms*, section 3.1. A sum of n products in
any order, fused or not, is off by at most ``gamma(n) sum |a_i| |b_i|``, and by what underflows.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

import numpy as np

from bounds.proof.basics import Array, refuse

# Covers the rounding of error accounts themselves, sums of fewer than 2^32 terms.
_INFLATE = 1.0 + 2.0**-20


class Floats:
    """Arrays of float64, and how far operations on them may be off.

    dtype: of the arrays. half: one half. tiny: more than all that can underflow in one step. exact: whether
    nothing is off.
    """

    dtype: type = np.float64
    half: float | Fraction = 0.5
    tiny: float = 2.0**-1000
    exact = False

    def array(self, x: object) -> Array:
        """The same numbers, which are floats or integers, exactly."""
        return np.asarray(x, np.float64)

    def gamma(self, n: int, u: float = 2.0**-53) -> float:
        """How far a sum of n products may be off, relative to the sum of their magnitudes.

        At least ``n u / (1 - n u)``; raises ``Refused`` where the formula says nothing. u: the unit roundoff.
        """
        refuse(n * u >= 2.0**-10, "network", f"sums of {n} terms are too long for an error account")
        return n * u / (1.0 - n * u) * _INFLATE

    def down(self, x: Array) -> Array:
        """At most what the last operation would have given exactly."""
        # At least one number further down. Infinity, which may be a sum that was finite, becomes NaN.
        return x - (np.abs(x) * 2.0**-52 + 2.0**-1074)

    def up(self, x: Array) -> Array:
        """At least what the last operation would have given exactly."""
        return x + (np.abs(x) * 2.0**-52 + 2.0**-1074)

    def zeros(self, *shape: int) -> Array:
        """Zeros."""
        return np.zeros(shape, self.dtype)


class Exact(Floats):
    """Arrays of fractions; for small networks of affine steps and (leaky) ReLUs."""

    dtype = object
    half = Fraction(1, 2)
    tiny = 0  # no float, which would make floats of fractions
    exact = True

    def array(self, x: object) -> Array:
        return np.asarray(np.frompyfunc(Fraction, 1, 1)(np.asarray(x)), object)

    def gamma(self, n: int, u: float = 0.0) -> float:
        return 0

    def down(self, x: Array) -> Array:
        return x

    up = down


@cache
def probe() -> None:
    """Refuse a machine whose float64 matrix products are not ordinary dot products with gradual underflow.

    Strassen-like products, reduced precision and flush-to-zero all show in rows and columns of very
    different scales, whose products must be exact to within ``gamma`` of their own sums of magnitudes. Once
    in a process.
    """
    n = 64
    grid = np.arange(n * n, dtype=np.float64).reshape(n, n)
    scale = 2.0 ** (np.arange(n) - n / 2)
    a, b = np.sin(grid + 1) * scale[:, None], np.cos(3 * grid + 2) * scale[::-1]
    rows = [0, 1, n - 2, n - 1]
    exact = np.array([[math.fsum(a[i] * column) for column in b.T] for i in rows])
    allowed = 2 * Floats().gamma(n + 4) * (np.abs(a) @ np.abs(b))[rows]
    tiny = np.array([2.0**-1070])
    wrong = (np.abs((a @ b)[rows] - exact) > allowed).any() or not (tiny * 0.5)[0] > 0
    refuse(wrong, "machine", "float64 products are not ordinary IEEE dot products; switch off fast modes")
