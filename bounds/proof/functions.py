"""The nonlinear steps: what values a function takes on an interval, and lines below and above it there.

Slopes need no trust. Only how high a line with that slope may lie is computed with care: the least of
``f(z) - slope z``, rounded down. An upper line of f is a lower line of -f.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bounds.proof.arithmetic import Floats
from bounds.proof.basics import Array

_CODES = 254  # slope codes from 1 to 255; 0 asks for the checker's own
ERROR = 2.0**-44  # of exp, tanh, powers and waves in float64: hundreds of units of the last place
_ROUNDS = 30  # of bisection for a tangent


def shares(codes: Array, a: Floats) -> Array:
    """The numbers from 0 to 1 that codes from 1 on stand for."""
    return np.asarray(a.array(np.maximum(codes, 1) - 1.0) / _CODES)


class Function(ABC):
    """A function applied to every element, or to those of two values at the same place.

    value: the function, nearly. kinked: whether it is linear on either side of zero. rises: whether it never
    falls. limits: the least and the largest value there is.
    """

    value: Callable[[Array], Array]
    kinked: bool = False
    rises: bool = False
    limits: tuple[float, float] = (-math.inf, math.inf)

    def deployed(self) -> tuple[float, float] | None:
        """How far a float32 execution may be off, (relative to its value, absolute); None: nobody knows."""
        return None

    def below(self, z: Array, a: Floats, sign: int = 1) -> Array:
        """At most ``sign f(z)``."""
        y = self.value(z)
        return np.maximum(sign * y - (np.abs(y) * ERROR + a.tiny), min(sign * end for end in self.limits))

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


@dataclass(frozen=True)
class Curved(Function):
    """Bent in one direction each below zero and above it.

    derivative: at z, where the value is y; nearly, within 2^-40 of itself and of ``rough``. point: about
    where the derivative is some slope, and sign f is convex.
    bends: the signs of the second derivative below zero and above.
    """

    value: Callable[[Array], Array]
    derivative: Callable[[Array, Array], Array]
    point: Callable[[Array, Any], Array]
    bends: tuple[int, int] = (1, 1)
    rises: bool = False
    limits: tuple[float, float] = (-math.inf, math.inf)
    rough: float = 0.0

    def least(self, low: Array, high: Array, slope: Array, a: Floats, sign: int) -> Array:
        """Where the curve bends away from the line it is concave, and its ends decide; else, a tangent."""
        middle = np.minimum(np.maximum(low, 0.0), high)
        convex = [sign * bend > 0 for bend in self.bends]  # sign f is, below and above the middle
        start, end = (low if convex[0] else middle), (high if convex[1] else middle)
        p = np.minimum(np.maximum(self.point(slope, sign), start), end)
        steep = self.derivative(p, self.value(p))
        # sign (f(z) - slope z) >= that at p + (sign (f'(p) - slope)) (z - p)
        tilt = sign * (steep - slope)
        room = 2.0**-38 * (np.abs(slope) + np.abs(steep) + self.rough) + a.tiny
        left = (tilt + room) * (start - p)
        right = (tilt - room) * (end - p)
        fall = a.down(np.minimum(np.minimum(left, right) * (1 + 2.0**-40), 0.0)) - a.tiny
        tangent = a.down(self._at(p, slope, a, sign) + fall)
        return np.minimum(tangent, super().least(low, high, slope, a, sign))


@dataclass(frozen=True)
class Sigmoid(Curved):
    """Sigmoid or tanh: convex below zero and concave above."""

    bends: tuple[int, int] = (1, -1)
    rises: bool = True
    rough: float = 0.25

    def deployed(self) -> tuple[float, float]:
        return (0.0, 2.0**-20)

    def steepest(self, low: Array, high: Array) -> Array:
        """The largest derivative on an interval, nearly."""
        z = np.minimum(np.maximum(low, 0.0), high)
        return self.derivative(z, self.value(z))

    def slope(self, low: Array, high: Array, codes: Array | None, a: Floats, sign: int) -> Array:
        if codes is None:
            return self._tangent(low, high, sign)
        asked = shares(codes, a) * self.steepest(low, high)
        return asked if codes.all() else np.where(codes > 0, asked, self._tangent(low, high, sign))

    def _tangent(self, low: Array, high: Array, sign: int) -> Array:
        """The slope of the line below that leaves the least area: of the convex hull at the middle.

        That is f itself, or the tangent that meets the far end, or the chord.

        The line above f is, by symmetry, that below with low and high exchanged and negated.
        """
        if sign < 0:
            low, high = -high, -low
        first, last, middle = self.value(low), self.value(high), (low + high) / 2
        wide, start = high > low, self.derivative(low, first)
        chord = np.where(wide, (last - first) / np.where(wide, high - low, 1.0), start)
        left, right = low, np.minimum(np.maximum(low, 0.0), high)
        for _ in range(_ROUNDS):  # where the tangent meets the far end
            p = (left + right) / 2
            y = self.value(p)
            short = y + self.derivative(p, y) * (high - p) < last
            left, right = np.where(short, p, left), np.where(short, right, p)
        touched = np.minimum(right, middle)
        touching = self.derivative(touched, self.value(touched))
        return np.where(start * (high - low) >= last - first, chord, touching)


def _on_sigmoid(slope: Array, sign: Any) -> Array:
    root = np.sqrt(1 - 4 * np.clip(slope, 1e-15, 0.25))
    return np.asarray(-sign * np.log((1 + root) / (1 - root)))


def _on_tanh(slope: Array, sign: Any) -> Array:
    root = np.sqrt(1 - np.clip(slope, 1e-15, 1.0))
    return np.asarray(-sign * np.arctanh(root * (1 - 2.0**-53)))


FUNCTIONS: dict[str, Function] = {
    "Relu": Relu(),
    "Sigmoid": Sigmoid(
        lambda z: 1 / (1 + np.exp(-z)), lambda z, y: y * (1 - y), _on_sigmoid, limits=(0.0, 1.0)
    ),
    "Tanh": Sigmoid(np.tanh, lambda z, y: 1 - y**2, _on_tanh, limits=(-1.0, 1.0)),
}
