"""Functions beyond those of ordinary networks: jumps, waves, powers and quotients, products of two values.

As those of the core, they give lines whose slopes need no trust; see ``bounds.proof.functions``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bounds.proof.arithmetic import Floats
from bounds.proof.basics import Array
from bounds.proof.functions import ERROR, Curved, Function, shares


def _over(least: Array, low: Array, high: Array, slope: Array, a: Floats, sign: int) -> Array:
    """At most ``least - sign slope z``."""
    return a.down(least - a.up(np.maximum(sign * slope * low, sign * slope * high)))


@dataclass(frozen=True)
class Steps(Function):
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
class Wave(Function):
    """Sine or cosine and its derivative, by a parabola at the middle: f'' = -f, and f' is at most 1."""

    value: Callable[[Array], Array]
    derivative: Callable[[Array], Array]

    def below(self, z: Array, a: Floats, sign: int = 1) -> Array:
        return np.maximum(sign * self.value(z) - ERROR * (1 + np.abs(z)), -1.0)

    def slope(self, low: Array, high: Array, codes: Array | None, a: Floats, sign: int) -> Array:
        return np.where(high - low < 2, self.derivative((low + high) / 2), 0.0)

    def least(self, low: Array, high: Array, slope: Array, a: Floats, sign: int) -> Array:
        middle = (low + high) / 2
        radius = a.up(np.maximum(high - middle, middle - low))
        room = ERROR * (1 + np.abs(middle))
        bend = np.clip(sign * self.value(middle) + room + radius, 0.0, 1.0)
        fall = (np.abs(self.derivative(middle) - slope) + room + bend * radius / 2) * radius
        parabola = a.down(self._at(middle, slope, a, sign) - (fall * (1 + 2.0**-40) + a.tiny))
        level = _over(np.full(low.shape, -1.0), low, high, slope, a, sign)
        return np.asarray(np.maximum(parabola, level))


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


class Product(Function):
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
    "Exp": Bent(
        np.exp, lambda z, y: y, lambda slope, sign: np.log(np.abs(slope)), rises=True, limits=(0.0, np.inf)
    ),
    "Reciprocal": Reciprocal(),
    "Sin": Wave(np.sin, np.cos),
    "Cos": Wave(np.cos, lambda z: -np.sin(z)),
    "Floor": Steps(np.floor),
    "Sign": Steps(np.sign),
}
