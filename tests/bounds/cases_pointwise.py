"""Instances and exact forms of every pointwise operator; the grid check walks this table."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import mpmath

from bounds.kinds import Pointwise
from bounds.ops.convex import Exp, Log, Power, Reciprocal, Rsqrt, Softplus, Sqrt
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


@dataclass(frozen=True)
class Case:
    """An operator, its exact form, and where intervals of it may lie."""

    op: Pointwise
    exact: Exact
    low: float = -math.inf
    high: float = math.inf


def softplus(beta: float) -> Exact:
    return lambda z: mpmath.log1p(mpmath.exp(beta * z)) / beta


CASES: list[Case] = [
    Case(LeakyReLU(), leaky(0.0)),
    Case(LeakyReLU(0.1), leaky(0.1)),
    Case(LeakyReLU(float(Fraction(1, 3))), leaky(float(Fraction(1, 3)))),
    Case(Clip(0.0, 6.0), clip(0.0, 6.0)),
    Case(Clip(-1.0, 1.0), clip(-1.0, 1.0)),
    Case(Clip(0.25, float("inf")), clip(0.25, float("inf"))),
    Case(Clip(float("-inf"), 0.5), clip(float("-inf"), 0.5)),
    Case(Sigmoid(), lambda z: 1 / (1 + mpmath.exp(-z))),
    Case(Tanh(), mpmath.tanh),
    Case(Exp(), mpmath.exp),
    Case(Log(), mpmath.log, low=1e-3),
    Case(Sqrt(), mpmath.sqrt, low=0.0),
    Case(Rsqrt(), lambda z: 1 / mpmath.sqrt(z), low=1e-3),
    Case(Reciprocal(), lambda z: 1 / z, low=1e-3),
    Case(Reciprocal(), lambda z: 1 / z, high=-1e-3),
    Case(Power(2.0), lambda z: z**2),
    Case(Power(3.0), lambda z: z**3),
    Case(Power(4.0), lambda z: z**4),
    Case(Power(1.5), lambda z: z ** mpmath.mpf(1.5), low=0.0),
    Case(Power(0.25), lambda z: z ** mpmath.mpf(0.25), low=0.0),
    Case(Softplus(), softplus(1.0)),
    Case(Softplus(2.5), softplus(2.5)),
    Case(Derivative(LeakyReLU()), step(0.0, 0.0, 1.0)),
    Case(Derivative(LeakyReLU(0.1)), step(0.0, 0.1, 1.0)),
    Case(Derivative(Clip(0.25, float("inf"))), step(0.25, 0.0, 1.0)),
    Case(Derivative(Clip(-1.0, 1.0)), lambda z: mpmath.mpf(-1 < z <= 1)),
    Case(Derivative(Sigmoid()), lambda z: mpmath.sech(z / 2) ** 2 / 4),
    Case(Bell(1.0, 1.0), lambda z: mpmath.sech(z / 2) ** 2 / 4),
    Case(Bell(4.0, 2.0), lambda z: mpmath.sech(z) ** 2),
]
