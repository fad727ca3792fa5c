"""Curved functions: lines around them hold, by mpmath, whatever their slope."""

from dataclasses import dataclass
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from bounds.proof import Refused
from bounds.proof.arithmetic import Exact, Floats
from bounds.proof.check import Checker
from bounds.proof.format import Array
from bounds.proof.functions import Function, Relu, Sigmoid, Tanh
from tests.bounds.proof.nets import mlp

A = Floats()
CURVED = {"sigmoid": Sigmoid(), "tanh": Tanh()}


def truth(does: Function, z: float) -> mpmath.mpf:
    with mpmath.workdps(60):
        return mpmath.tanh(z) if isinstance(does, Tanh) else 1 / (1 + mpmath.exp(-mpmath.mpf(z)))


@pytest.mark.parametrize("name", CURVED)
def test_values_are_enclosed(name: str) -> None:
    does, rng = CURVED[name], np.random.default_rng(0)
    z = np.concatenate(
        [rng.normal(size=300) * 10.0 ** rng.uniform(-12, 3, 300), [0.0, -800.0, 800.0, -37.0, 37.0]]
    )
    with np.errstate(all="ignore"):
        low, high = does.below(z, A), -does.below(z, A, -1)
    for x, lo, hi in zip(z, low, high, strict=True):
        assert lo <= truth(does, x) <= hi
        assert hi - lo <= 1e-12


@pytest.mark.parametrize("name", CURVED)
def test_lines_with_any_slope_hold_and_are_close(name: str) -> None:
    does, rng = CURVED[name], np.random.default_rng(1)
    ends = np.sort(rng.normal(size=(2, 60)) * 10.0 ** rng.uniform(-6, 1.5, 60), 0)
    low, high = ends
    own = [does.slope(low, high, None, A, sign) for sign in (1, -1)]
    codes = rng.integers(1, 256, 60).astype(np.uint8)
    garbage = rng.normal(size=60) * 10.0 ** rng.uniform(-9, 6, 60)
    for slope in (*own, does.slope(low, high, codes, A, 1), garbage, np.zeros(60)):
        for sign in (1, -1):
            with np.errstate(all="ignore"):
                least = does.least(low, high, slope, A, sign)
            for k in range(60):
                z = np.linspace(low[k], high[k], 41)
                with mpmath.workdps(40):
                    there = [sign * (truth(does, x) - mpmath.mpf(slope[k]) * mpmath.mpf(x)) for x in z]
                assert least[k] <= min(there)
                bend = (high[k] - low[k]) ** 2 / 1600
                assert float(min(there)) - least[k] <= 1e-9 + bend + 1e-9 * abs(slope[k]) * (1 + abs(z).max())


@pytest.mark.parametrize("name", CURVED)
@pytest.mark.parametrize("sign", [1, -1])
def test_own_lines_leave_the_least_area(name: str, sign: int) -> None:
    """No other slope leads to a line that is closer at the middle, where areas are told apart."""
    does, rng = CURVED[name], np.random.default_rng(4)
    ends = rng.normal(size=(2, 300)) * 10.0 ** rng.uniform(-1, 1, (2, 300))
    low, high = np.sort(ends, 0)
    own = does.slope(low, high, None, A, sign)
    middle = (low + high) / 2

    def there(slope: Array) -> Array:
        return does.least(low, high, slope, A, sign) + sign * slope * middle

    for share in np.linspace(0, 1, 101):
        assert (there(own) >= there(np.full(300, share)) - 1e-6).all()


@pytest.mark.parametrize("leak", [0.0, 0.25, 1.0])
def test_relu_lines(leak: float) -> None:
    does, rng = Relu(leak), np.random.default_rng(2)
    low, high = np.sort(rng.normal(size=(2, 50)), 0)
    slope = rng.normal(size=50)
    for sign in (1, -1):
        least = does.least(low, high, slope, A, sign)
        z = np.linspace(low, high, 101)
        there = sign * (np.where(z > 0, z, leak * z) - slope * z)
        assert (least <= there.min(0) + 1e-15).all()
        assert (least >= there.min(0) - 0.2).all()


@pytest.mark.parametrize("function", ["Sigmoid", "Tanh"])
def test_fractions_have_no_curved_functions(function: str) -> None:
    data = mlp([np.ones((2, 1)), np.ones((1, 2))], [np.zeros(2), np.zeros(1)], function)
    with pytest.raises(Refused):
        does = Checker(data, "real", exact=True).chain.network.steps[1].does
        assert isinstance(does, Function)
        does.below(Exact().array([0.5]), Exact())


@dataclass(frozen=True)
class Astray(Sigmoid):
    """Touches the curve anywhere."""

    def point(self, slope: Array, sign: int) -> Array:
        return np.random.default_rng(0).normal(size=slope.shape) * 3


def test_tangents_hold_wherever_they_touch() -> None:
    does, rng = Astray(), np.random.default_rng(3)
    low, high = np.sort(rng.normal(size=(2, 200)) * 4, 0)
    for slope in (rng.random(200) * 0.25, rng.normal(size=200)):
        for sign in (1, -1):
            least = does.least(low, high, slope, A, sign)
            z = np.linspace(low, high, 201)
            assert (least <= (sign * (1 / (1 + np.exp(-z)) - slope * z)).min(0) + 1e-14).all()


def test_gamma_is_no_less_than_the_formula() -> None:
    for n in (1, 2, 3, 10, 1000, 10**6, 10**9):
        exact = Fraction(n, 2**53) / (1 - Fraction(n, 2**53))
        assert exact < Fraction(A.gamma(n)) < exact * Fraction(1001, 1000)
    with pytest.raises(Refused, match="too long"):
        A.gamma(10**15)
