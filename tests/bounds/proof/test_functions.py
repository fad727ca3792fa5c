"""Curved functions: lines around them hold, by mpmath, whatever their slope."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from bounds.proof import Refused
from bounds.proof.arithmetic import Exact, Floats
from bounds.proof.basics import Array
from bounds.proof.check import Checker
from bounds.proof.functions import Function, Relu
from bounds.proof.more.functions import FUNCTIONS, Curved, Reciprocal, Steps, power
from tests.bounds.proof.nets import mlp

A = Floats()
CURVED = {"sigmoid": FUNCTIONS["Sigmoid"], "tanh": FUNCTIONS["Tanh"]}
SMOOTH: dict[str, tuple[Function, Callable[[mpmath.mpf], mpmath.mpf]]] = {
    "sigmoid": (FUNCTIONS["Sigmoid"], lambda z: 1 / (1 + mpmath.exp(-z))),
    "tanh": (FUNCTIONS["Tanh"], mpmath.tanh),
    "exp": (FUNCTIONS["Exp"], mpmath.exp),
    "reciprocal": (Reciprocal(), lambda z: 1 / z),
    "square": (power(2), lambda z: z**2),
    "cube": (power(3), lambda z: z**3),
    "eighth": (power(8), lambda z: z**8),
    "sine": (FUNCTIONS["Sin"], mpmath.sin),
    "cosine": (FUNCTIONS["Cos"], mpmath.cos),
    "floor": (Steps(np.floor), mpmath.floor),
    "sign": (Steps(np.sign), mpmath.sign),
}


def truth(does: Function, z: float) -> mpmath.mpf:
    [function] = [f for each, f in SMOOTH.values() if each == does]
    with mpmath.workdps(60):
        return function(mpmath.mpf(float(z)))


def intervals(rng: np.random.Generator, does: Function, count: int) -> tuple[Array, Array]:
    """Of all scales, many with zero, or a jump, at an end or inside."""
    middle = rng.normal(size=count) * 10.0 ** rng.uniform(-8, 1.5, count) * (rng.random(count) < 0.8)
    width = 10.0 ** rng.uniform(-8, 1.2, count) * (rng.random(count) < 0.9)
    low, high = middle - width * rng.random(count), middle + width * rng.random(count)
    if isinstance(does, Reciprocal):  # one side of zero
        low, high = np.abs(middle) + 1e-9, np.abs(middle) + 1e-9 + width
        turned = rng.random(count) < 0.5
        low, high = np.where(turned, -high, low), np.where(turned, -low, high)
    low = np.where(rng.random(count) < 0.1, np.round(low), low)
    high = np.maximum(low, np.where(rng.random(count) < 0.1, np.round(high), high))
    keep = (low * high > 0) if isinstance(does, Reciprocal) else np.ones(count, bool)
    return low[keep], high[keep]


@pytest.mark.parametrize("name", SMOOTH)
def test_images_and_lines_hold_on_dense_points(name: str) -> None:
    """Any slope, from its own to garbage: nothing between the ends lies beyond the line, by mpmath."""
    (does, _), rng = SMOOTH[name], np.random.default_rng(6)
    low, high = intervals(rng, does, 150)
    codes = rng.integers(0, 256, len(low)).astype(np.uint8)
    garbage = rng.normal(size=len(low)) * 10.0 ** rng.uniform(-9, 4, len(low))
    with np.errstate(all="ignore"):
        least, most = does.image(low, high, A)
        slopes = {
            sign: [does.slope(low, high, None, A, sign), does.slope(low, high, codes, A, sign), garbage]
            for sign in (1, -1)
        }
        lines = [(sign, s, does.least(low, high, s, A, sign)) for sign in slopes for s in slopes[sign]]
    assert np.isfinite(least).all()
    assert np.isfinite(most).all()
    for k in range(len(low)):
        points = np.unique(np.append(np.linspace(low[k], high[k], 25), [np.round(low[k]), 0.0]))
        points = points[(points >= low[k]) & (points <= high[k])]
        values = [(x, truth(does, x)) for x in points]
        assert all(least[k] <= y <= most[k] for _, y in values)
        with mpmath.workdps(60):
            for sign, slope, c in lines:
                assert all(c[k] <= sign * (y - mpmath.mpf(slope[k]) * mpmath.mpf(x)) for x, y in values)


@pytest.mark.parametrize("name", sorted(set(SMOOTH) - {"floor", "sign"}))
def test_own_lines_of_small_intervals_are_close(name: str) -> None:
    """As close as the curve bends, also of what is very small or large."""
    (does, _), rng = SMOOTH[name], np.random.default_rng(7)
    low = rng.choice([-1.0, 1.0], 100) * 10.0 ** rng.uniform(-2, 1, 100)
    if name == "reciprocal":
        low *= 10.0 ** rng.uniform(-6, 6, 100)
    high = low + np.abs(low) * 1e-3
    scale = np.abs([float(truth(does, z)) for z in high]) + np.abs(does.slope(low, high, None, A, 1) * low)
    with np.errstate(all="ignore"):
        for sign in (1, -1):
            slope = does.slope(low, high, None, A, sign)
            least = does.least(low, high, slope, A, sign)
            for z in (low, (low + high) / 2, high):
                over = np.array([sign * float(truth(does, x)) for x in z]) - sign * slope * z - least
                assert (over <= 1e-4 * np.maximum(scale, np.minimum(np.abs(low) ** 2, 1))).all()


@pytest.mark.parametrize(
    "ends", [(-1.0, 1.0), (0.0, 1.0), (-0.0, 1.0), (-1.0, 0.0), (0.0, 0.0), (-1.0, -0.0)]
)
def test_nothing_is_known_of_a_reciprocal_of_zero(ends: tuple[float, float]) -> None:
    does, (low, high) = Reciprocal(), np.array(ends)[:, None]
    with np.errstate(all="ignore"):
        for slope in (-1.0, 0.0, 1.0):
            for sign in (1, -1):
                assert not does.least(low, high, np.array([slope]), A, sign) > -np.inf


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


def test_tangents_hold_wherever_they_touch() -> None:
    rng = np.random.default_rng(3)
    sigmoid = FUNCTIONS["Sigmoid"]
    assert isinstance(sigmoid, Curved)
    does = replace(sigmoid, point=lambda slope, sign: rng.normal(size=slope.shape) * 3)
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
