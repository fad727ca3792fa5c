"""The nonlinear steps: what values a function takes on an interval, and lines below and above it there.

Slopes need no trust. Only how high a line with that slope may lie is computed with care: the least of
``f(z) - slope z``, rounded down. An upper line of f is a lower line of -f.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from bounds.proof.arithmetic import Floats
from bounds.proof.format import Array

_CODES = 254  # slope codes from 1 to 255; 0 asks for the checker's own
_ERROR = 2.0**-44  # of exp and tanh in float64, relative: hundreds of units of the last place
_ROUNDS = 30  # of bisection for a tangent


class Function(ABC):
    """A function that never falls, applied to every element.

    deployed: how far a float32 execution of it may be off: (relative to its value, absolute).
    """

    deployed: tuple[float, float] = (0.0, 0.0)
    # Whether it is linear on either side of zero.
    kinked: bool = False

    @abstractmethod
    def below(self, z: Array, a: Floats, sign: int = 1) -> Array:
        """At most ``sign f(z)``."""

    @abstractmethod
    def slope(self, low: Array, high: Array, codes: Array | None, a: Floats, sign: int) -> Array:
        """Slopes of lines below (sign 1) or above (-1): good ones, or those that codes ask for."""

    def least(self, low: Array, high: Array, slope: Array, a: Floats, sign: int) -> Array:
        """At most ``sign (f(z) - slope z)`` for all z from low to high."""
        middle = np.minimum(np.maximum(low, a.zeros()), high)  # in the interval whatever that is
        first, second, third = (self._at(z, slope, a, sign) for z in (low, middle, high))
        return np.minimum(np.minimum(first, second), third)

    def _at(self, z: Array, slope: Array, a: Floats, sign: int) -> Array:
        return a.down(self.below(z, a, sign) - a.up(sign * slope * z))


@dataclass(frozen=True)
class Relu(Function):
    """``z`` above zero, ``leak z`` below, with leak from 0 to 1."""

    leak: float = 0.0
    kinked = True

    @property
    def deployed(self) -> tuple[float, float]:  # type: ignore[override]  # as a field it would be a setting
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
                share = a.array(np.maximum(codes, 1) - 1.0) / _CODES
                inside = np.where(codes > 0, leak + share * (1 - leak), inside)
        return np.where(split, inside, np.where(high > 0, one, leak))


@dataclass(frozen=True)
class Sigmoid(Function):
    """Sigmoid: convex below zero and concave above."""

    deployed = (0.0, 2.0**-20)
    limits = (0.0, 1.0)  # the least and the largest value there is

    def below(self, z: Array, a: Floats, sign: int = 1) -> Array:
        y = self.value(z)
        return np.maximum(sign * y - (np.abs(y) * _ERROR + a.tiny), min(sign * end for end in self.limits))

    def value(self, z: Array) -> Array:
        """The function, nearly."""
        return np.asarray(1 / (1 + np.exp(-z)))

    def derivative(self, y: Array) -> Array:
        """Its derivative where its value is y, nearly: within 2^-40 of it."""
        return np.asarray(y * (1 - y))

    def point(self, slope: Array) -> Array:
        """Where above zero the derivative is about so much."""
        root = np.sqrt(1 - 4 * np.clip(slope, 1e-15, 0.25))
        return np.asarray(np.log((1 + root) / (1 - root)))

    def slope(self, low: Array, high: Array, codes: Array | None, a: Floats, sign: int) -> Array:
        if codes is None:
            return self._tangent(low, high, sign)
        most = self.derivative(self.value(np.minimum(np.maximum(low, 0.0), high)))
        asked = (np.maximum(codes, 1) - 1.0) / _CODES * most
        return asked if codes.all() else np.where(codes > 0, asked, self._tangent(low, high, sign))

    def _tangent(self, low: Array, high: Array, sign: int) -> Array:
        """The slope of the line below that leaves the least area: of the convex hull at the middle.

        That is f itself, or the tangent that meets the far end, or the chord.

        The line above f is, by symmetry, that below with low and high exchanged and negated.
        """
        if sign < 0:
            low, high = -high, -low
        first, last, middle = self.value(low), self.value(high), (low + high) / 2
        wide, start = high > low, self.derivative(first)
        chord = np.where(wide, (last - first) / np.where(wide, high - low, 1.0), start)
        left, right = low, np.minimum(np.maximum(low, 0.0), high)
        for _ in range(_ROUNDS):  # where the tangent meets the far end
            p = (left + right) / 2
            y = self.value(p)
            short = y + self.derivative(y) * (high - p) < last
            left, right = np.where(short, p, left), np.where(short, right, p)
        touching = self.derivative(self.value(np.minimum(right, middle)))
        return np.where(start * (high - low) >= last - first, chord, touching)

    def least(self, low: Array, high: Array, slope: Array, a: Floats, sign: int) -> Array:
        """Where the curve bends away from the line it is concave, and its ends decide; else, a tangent."""
        middle = np.minimum(np.maximum(low, 0.0), high)
        start, end = (low, middle) if sign > 0 else (middle, high)  # sign f is convex there
        point = self.point(slope)
        p = np.minimum(np.maximum(-point if sign > 0 else point, start), end)
        # sign (f(z) - slope z) >= that at p + (sign (f'(p) - slope)) (z - p)
        tilt, room = sign * (self.derivative(self.value(p)) - slope), 2.0**-38 * (1 + np.abs(slope))
        left = (tilt + room) * (start - p)
        right = (tilt - room) * (end - p)
        fall = a.down(np.minimum(np.minimum(left, right) * (1 + 2.0**-40), 0.0)) - a.tiny
        tangent = a.down(self._at(p, slope, a, sign) + fall)
        return np.minimum(tangent, super().least(low, high, slope, a, sign))


@dataclass(frozen=True)
class Tanh(Sigmoid):
    """Hyperbolic tangent, which bends like the sigmoid."""

    limits = (-1.0, 1.0)

    def value(self, z: Array) -> Array:
        return np.asarray(np.tanh(z))

    def derivative(self, y: Array) -> Array:
        return np.asarray(1 - y**2)

    def point(self, slope: Array) -> Array:
        return np.asarray(np.arctanh(np.sqrt(1 - np.clip(slope, 1e-15, 1.0)) * (1 - 2.0**-53)))
