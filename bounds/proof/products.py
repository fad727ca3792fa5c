"""Products of two values, and what they make: quotients, matrix products, softmax and averages by it.

A product's plane ``p x + q y + c`` has any slopes, as lines around functions have; c is found at the corners
of a box: only ends count for what is linear in x and in y. With p and q in the middle of y and x it lies
half-way between the two planes of McCormick (1976), *Computability of global solutions to factorable
nonconvex programs*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bounds.proof.arithmetic import Floats
from bounds.proof.basics import Array
from bounds.proof.functions import Curved, Function, Power, shares
from bounds.proof.network import Input, Made, Reader, Value


class Product(Function):
    """``x y`` of two values that enter one behind the other."""

    def value(self, z: Array) -> Array:
        x, y = np.split(z, 2, 1)
        return np.asarray(x * y)

    def slope(self, low: Array, high: Array, codes: Array | None, a: Floats, sign: int) -> Array:
        """Half-way between the planes, or as far from there as codes ask for."""
        (x, y), (dx, dy) = (np.split(each, 2, 1) for each in ((low + high) / 2, (high - low) / 2))
        turn = 0 if codes is None else np.where(codes > 0, 2 * shares(codes) - 1, 0.0)
        return np.concatenate([y + sign * turn * dy, x + turn * dx], 1)

    def least(self, low: Array, high: Array, slope: Array, a: Floats, sign: int) -> Array:
        (p, q), corners = np.split(slope, 2, 1), list[Array]()
        xs, ys = zip(np.split(low, 2, 1), np.split(high, 2, 1), strict=True)
        for x in xs:
            for y in ys:
                over = a.down(a.down(sign * x * y) - a.up(sign * p * x))
                corners.append(a.down(over - a.up(sign * q * y)))
        return np.asarray(np.minimum.reduce(corners))


class Exp(Curved):
    """The exponential function."""

    rises = True
    limits = (0.0, np.inf)

    def value(self, z: Array) -> Array:
        return np.exp(z)

    def derivative(self, z: Array, y: Array) -> Array:
        return y

    def point(self, slope: Array, sign: Any) -> Array:
        return np.log(np.abs(slope))


class Reciprocal(Curved):
    """``1 / z``, of which nothing is known where z may be zero."""

    def bends(self) -> tuple[int, int]:
        return (-1, 1)

    def value(self, z: Array) -> Array:
        return np.asarray(1 / z)

    def derivative(self, z: Array, y: Array) -> Array:
        return np.asarray(-(y**2))

    def point(self, slope: Array, sign: Any) -> Array:
        return np.asarray(sign * np.sqrt(1 / np.abs(slope)))


@dataclass(frozen=True)
class Share(Reciprocal):
    """One over a sum, where so many of them, next to each other, add up to one."""

    count: int


def multiplied(r: Reader, x: Value, y: Value) -> Value:
    """``x y``, elementwise."""
    if x == y:
        return r.add(Power(2), [x], x.shape)
    shape = np.broadcast_shapes(x.shape, y.shape)
    return r.add(Product(), [r.spread(x, shape), r.spread(y, shape)], shape)


def divided(r: Reader, x: Input, y: Value) -> Value:
    """``x / y``."""
    over = r.add(Reciprocal(), [y], y.shape)
    return multiplied(r, x, over) if isinstance(x, Value) else r.scaled(over, r.numbers(x))


def contracted(r: Reader, x: Value, y: Value) -> Value:
    """The matrix product, sums of single products.

    Averages, where a row of x adds up to one, are a mean, and sums of what else there is.
    """
    n, mean = x.shape[-1], None
    wrong = min(len(x.shape), len(y.shape)) < 2 or y.shape[-2] != n
    r.refuse(wrong, f"values of shapes {x.shape} and {y.shape} are no matrices that can be multiplied")
    does = r.steps[x.index - 1].does if x.index else None
    if isinstance(does, Share) and does.count == n:
        turned = r.value(_turned(r, y))
        mean = r.dense(turned, np.full((1, n), 1 / n))
        y = r.value(_turned(r, r.sum(turned, mean, -1)))
    left = r.value(r.moved(x, lambda i: i[..., :, None, :]))
    right = r.value(r.moved(_turned(r, y), lambda i: i[..., None, :, :]))
    total = r.value(r.moved(r.dense(multiplied(r, left, right), np.ones((1, n))), lambda i: i[..., 0]))
    return total if mean is None else r.sum(total, r.moved(mean, lambda i: i[..., None, :, 0]), 1)


def _turned(r: Reader, x: Input) -> Made:
    return r.moved(x, lambda i: i.swapaxes(-1, -2))


def softmax(r: Reader, x: Input) -> Value:
    """``1 / sum exp(x_j - x_i)``, where that for i = j is exact."""
    value = r.value(x)
    axis, n = r.take("axis", 1 if r.opset < 13 else -1), value.shape[-1]
    r.refuse(axis not in (-1, len(value.shape) - 1), "it is supported along the last axis only")
    r.room([n] * 3)
    one = np.eye(n)
    away = r.dense(value, (one - one[:, None]).reshape(n * n, n))
    pairs = r.value(r.moved(away, lambda i: i.reshape(*value.shape, n)))
    total = r.dense(r.add(Exp(), [pairs], pairs.shape), np.ones((1, n)))
    return r.add(Share(n), [r.value(r.moved(total, lambda i: i[..., 0]))], value.shape)
