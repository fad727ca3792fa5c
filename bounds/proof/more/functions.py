"""Functions beyond ReLU: sigmoids, powers and quotients, waves, jumps, products of two values.

As those of the core, they give lines whose slopes need no trust; see ``bounds.proof.functions``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bounds.proof.arithmetic import Floats
from bounds.proof.basics import Array
from bounds.proof.functions import Function, shares

_ERROR = 2.0**-44  # of exp, tanh, powers and waves in float64: hundreds of units of the last place
_ROUNDS = 30  # of bisection for a tangent


class Valued(Function):
    """A function that is computed in floats.

    value: nearly. limits: the least and the largest value there is.
    """

    value: Callable[[Array], Array]
    limits: tuple[float, float] = (-math.inf, math.inf)

    def below(self, z: Array, a: Floats, sign: int = 1) -> Array:
        y = self.value(z)
        return np.maximum(sign * y - (np.abs(y) * _ERROR + a.tiny), min(sign * end for end in self.limits))


def _over(least: Array, low: Array, high: Array, slope: Array, a: Floats, sign: int) -> Array:
    """At most ``least - sign slope z``."""
    return a.down(least - a.up(np.maximum(sign * slope * low, sign * slope * high)))


@dataclass(frozen=True)
class Steps(Valued):
    """Floor or sign, which are level between jumps."""

    value: Callable[[Array], Array]
    rises = True

    def deployed(self) -> tuple[float, float]:
        return (0.0, 0.0)

    def below(self, z: Array, a: Floats, sign: int = 1) -> Array:
        return sign * self.value(z)

    def slope(self, low: Array, high: Array, codes: Array | None, a: Floats, sign: int) -> Array:
        return a.zeros(*low.shape)

    def least(self, low: Array, high: Array, slope: Array, a: Floats, sign: int) -> Array:
        return _over(self.below(low if sign > 0 else high, a, sign), low, high, slope, a, sign)


@dataclass(frozen=True)
class Wave(Valued):
    """Sine or cosine and its derivative, by a parabola at the middle: f'' = -f, and f' is at most 1."""

    value: Callable[[Array], Array]
    derivative: Callable[[Array], Array]

    def below(self, z: Array, a: Floats, sign: int = 1) -> Array:
        return np.maximum(sign * self.value(z) - _ERROR * (1 + np.abs(z)), -1.0)

    def slope(self, low: Array, high: Array, codes: Array | None, a: Floats, sign: int) -> Array:
        return np.where(high - low < 2, self.derivative((low + high) / 2), 0.0)

    def least(self, low: Array, high: Array, slope: Array, a: Floats, sign: int) -> Array:
        middle = (low + high) / 2
        radius = a.up(np.maximum(high - middle, middle - low))
        room = _ERROR * (1 + np.abs(middle))
        bend = np.clip(sign * self.value(middle) + room + radius, 0.0, 1.0)
        fall = (np.abs(self.derivative(middle) - slope) + room + bend * radius / 2) * radius
        parabola = a.down(self._at(middle, slope, a, sign) - (fall * (1 + 2.0**-40) + a.tiny))
        level = _over(np.full(low.shape, -1.0), low, high, slope, a, sign)
        return np.asarray(np.maximum(parabola, level))


@dataclass(frozen=True)
class Curved(Valued):
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


@dataclass(frozen=True)
class Bent(Curved):
    """Bent in one direction each below zero and above it, with tangents and chords for lines."""

    def slope(self, low: Array, high: Array, codes: Array | None, a: Floats, sign: int) -> Array:
        """Of the tangent at the middle, or where codes ask for it, if f bends away; else of the chord."""
        share = 0.5 if codes is None else np.where(codes > 0, shares(codes, a), 0.5)
        p, first, last = low + share * (high - low), self.value(low), self.value(high)
        wide, start = high > low, self.derivative(low, first)
        chord = np.where(wide, (last - first) / np.where(wide, high - low, 1.0), start)
        return np.where(sign * self.bend(low, high) > 0, self.derivative(p, self.value(p)), chord)

    def bend(self, low: Array, high: Array) -> Array:
        """How it bends in the middle of an interval."""
        return np.where(low + high > 0, self.bends[1], self.bends[0])


def power(exponent: int) -> Bent:
    """A whole power of 2 or more."""

    def point(slope: Array, sign: Any) -> Array:
        side = sign if exponent % 2 else np.sign(slope)
        return np.asarray(side * (np.abs(slope) / exponent) ** (1 / (exponent - 1)))

    bends = (-1, 1) if exponent % 2 else (1, 1)
    return Bent(lambda z: z**exponent, lambda z, y: exponent * z ** (exponent - 1), point, bends)


@dataclass(frozen=True)
class Reciprocal(Bent):
    """``1 / z``, of which nothing is known where z may be zero.

    count: where these add up to one, so many of them next to each other.
    """

    value: Callable[[Array], Array] = lambda z: 1 / z
    derivative: Callable[[Array, Array], Array] = lambda z, y: -(y**2)
    point: Callable[[Array, Any], Array] = lambda slope, sign: sign * np.sqrt(1 / np.abs(slope))
    bends: tuple[int, int] = (-1, 1)
    count: int = 0


class Product(Valued):
    """``x y`` of two values that enter one behind the other.

    A plane ``p x + q y + c`` has any slopes, as lines around functions have; c is found at the corners of a
    box: only ends count for what is linear in x and in y. With p and q in the middle of y and x it lies
    half-way between the two planes of McCormick (1976), *Computability of global solutions to factorable
    nonconvex programs*.
    """

    def value(self, z: Array) -> Array:
        x, y = np.split(z, 2, 1)
        return np.asarray(x * y)

    def slope(self, low: Array, high: Array, codes: Array | None, a: Floats, sign: int) -> Array:
        """Half-way between the planes, or as far from there as codes ask for."""
        (x, y), (dx, dy) = (np.split(each, 2, 1) for each in ((low + high) / 2, (high - low) / 2))
        turn = 0 if codes is None else np.where(codes > 0, 2 * shares(codes, a) - 1, 0.0)
        return np.concatenate([y + sign * turn * dy, x + turn * dx], 1)

    def least(self, low: Array, high: Array, slope: Array, a: Floats, sign: int) -> Array:
        (p, q), corners = np.split(slope, 2, 1), list[Array]()
        xs, ys = zip(np.split(low, 2, 1), np.split(high, 2, 1), strict=True)
        for x in xs:
            for y in ys:
                over = a.down(a.down(sign * x * y) - a.up(sign * p * x))
                corners.append(a.down(over - a.up(sign * q * y)))
        return np.asarray(np.minimum.reduce(corners))


FUNCTIONS: dict[str, Function] = {
    "Sigmoid": Sigmoid(
        lambda z: 1 / (1 + np.exp(-z)), lambda z, y: y * (1 - y), _on_sigmoid, limits=(0.0, 1.0)
    ),
    "Tanh": Sigmoid(np.tanh, lambda z, y: 1 - y**2, _on_tanh, limits=(-1.0, 1.0)),
    "Exp": Bent(
        np.exp, lambda z, y: y, lambda slope, sign: np.log(np.abs(slope)), rises=True, limits=(0.0, np.inf)
    ),
    "Reciprocal": Reciprocal(),
    "Sin": Wave(np.sin, np.cos),
    "Cos": Wave(np.cos, lambda z: -np.sin(z)),
    "Floor": Steps(np.floor),
    "Sign": Steps(np.sign),
}
