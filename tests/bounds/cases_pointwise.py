"""Instances and exact forms of every pointwise operator; the grid check walks this table."""

from collections.abc import Callable
from fractions import Fraction

import mpmath

from bounds.kinds import Pointwise
from bounds.ops.derivative import Bell, Derivative
from bounds.ops.relu import Clip, LeakyReLU
from bounds.ops.sshape import Sigmoid, Tanh

Exact = Callable[[mpmath.mpf], mpmath.mpf]


def leaky(slope: float) -> Exact:
    return lambda z: z if z > 0 else z * mpmath.mpf(slope)


def clip(low: float, high: float) -> Exact:
    return lambda z: min(max(z, mpmath.mpf(low)), mpmath.mpf(high))


def step(at: float, left: float, right: float) -> Exact:
    return lambda z: mpmath.mpf(right if z > at else left)


CASES: list[tuple[Pointwise, Exact]] = [
    (LeakyReLU(), leaky(0.0)),
    (LeakyReLU(0.1), leaky(0.1)),
    (LeakyReLU(float(Fraction(1, 3))), leaky(float(Fraction(1, 3)))),
    (Clip(0.0, 6.0), clip(0.0, 6.0)),
    (Clip(-1.0, 1.0), clip(-1.0, 1.0)),
    (Clip(0.25, float("inf")), clip(0.25, float("inf"))),
    (Clip(float("-inf"), 0.5), clip(float("-inf"), 0.5)),
    (Sigmoid(), lambda z: 1 / (1 + mpmath.exp(-z))),
    (Tanh(), mpmath.tanh),
    (Derivative(LeakyReLU()), step(0.0, 0.0, 1.0)),
    (Derivative(LeakyReLU(0.1)), step(0.0, 0.1, 1.0)),
    (Derivative(Clip(0.25, float("inf"))), step(0.25, 0.0, 1.0)),
    (Derivative(Clip(-1.0, 1.0)), lambda z: mpmath.mpf(-1 < z <= 1)),
    (Derivative(Sigmoid()), lambda z: mpmath.sech(z / 2) ** 2 / 4),
    (Bell(1.0, 1.0), lambda z: mpmath.sech(z / 2) ** 2 / 4),
    (Bell(4.0, 2.0), lambda z: mpmath.sech(z) ** 2),
]
