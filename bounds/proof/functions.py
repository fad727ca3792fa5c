"""The nonlinear steps: what values a function takes on an interval, and lines below and above it there.

Slopes need no trust. Only how high a line with that slope may lie is computed with care: the least of
``f(z) - slope z``, rounded down. An upper line of f is a lower line of -f.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from bounds.proof.arithmetic import Floats
from bounds.proof.basics import Array

_CODES = 254  # slope codes from 1 to 255; 0 asks for the checker's own


def shares(codes: Array, a: Floats) -> Array:
    """The numbers from 0 to 1 that codes from 1 on stand for."""
    return np.asarray(a.array(np.maximum(codes, 1) - 1.0) / _CODES)


class Function(ABC):
    """A function applied to every element, or to those of two values at the same place.

    kinked: whether it is linear on either side of zero. rises: whether it never falls.
    """

    kinked: bool = False
    rises: bool = False

    def deployed(self) -> tuple[float, float] | None:
        """How far a float32 execution may be off, (relative to its value, absolute); None: nobody knows."""
        return None

    @abstractmethod
    def below(self, z: Array, a: Floats, sign: int = 1) -> Array:
        """At most ``sign f(z)``."""

    def image(self, low: Array, high: Array, a: Floats) -> tuple[Array, Array]:
        """An interval of its values on one."""
        if self.rises:
            return self.below(low, a), -self.below(high, a, -1)
        level = a.zeros(*low.shape)
        return self.least(low, high, level, a, 1), -self.least(low, high, level, a, -1)

    @abstractmethod
    def slope(self, low: Array, high: Array, codes: Array | None, a: Floats, sign: int) -> Array:
        """Slopes of lines below (sign 1) or above (-1): good ones, or those that codes ask for."""

    def least(self, low: Array, high: Array, slope: Array, a: Floats, sign: int) -> Array:
        """At most ``sign (f(z) - slope z)`` for all z from low to high: at both, or at zero in between."""
        middle = np.minimum(np.maximum(low, a.zeros()), high)  # in the interval whatever that is
        first, second, third = (self._at(z, slope, a, sign) for z in (low, middle, high))
        return np.minimum(np.minimum(first, second), third)

    def _at(self, z: Array, slope: Array, a: Floats, sign: int) -> Array:
        return a.down(self.below(z, a, sign) - a.up(sign * slope * z))


@dataclass(frozen=True)
class Relu(Function):
    """``z`` above zero, ``leak z`` below, with leak from 0 to 1."""

    leak: float = 0.0
    kinked = rises = True

    def deployed(self) -> tuple[float, float]:
        return (2.0**-23, 2.0**-149) if self.leak else (0.0, 0.0)

    def below(self, z: Array, a: Floats, sign: int = 1) -> Array:
        leaking = a.down(sign * a.array(self.leak) * z) if self.leak else a.zeros()
        return np.where(z <= 0, leaking, sign * z)

    def slope(self, low: Array, high: Array, codes: Array | None, a: Floats, sign: int) -> Array:
        leak, one = a.array(self.leak), a.array(1.0)
        split = (low < 0) & (high > 0)
        if sign < 0:
            inside = (high - leak * low) / np.where(split, high - low, one)
        else:
            inside = np.where(high > -low, one, leak)
            if codes is not None:
                inside = np.where(codes > 0, leak + shares(codes, a) * (1 - leak), inside)
        return np.where(split, inside, np.where(high > 0, one, leak))
