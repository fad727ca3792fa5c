"""Boxes and Lp balls, against linear programs and bisection."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import Tensor

import bounds

from .conformance import ALL, InputSetConformance


class TestBox(InputSetConformance):
    def make(self, dtype: torch.dtype) -> bounds.Box:
        lower = torch.linspace(-1, 1, 3 * 2 * 3, dtype=dtype).view(3, 2, 3)
        return bounds.Box(lower, lower + torch.linspace(0, 0.7, 6, dtype=dtype).view(2, 3))


class BallConformance(InputSetConformance):
    norm = math.inf
    clip: tuple[float, float] | None = None
    eps = 0.3

    def make(self, dtype: torch.dtype) -> bounds.Ball:
        g = torch.Generator().manual_seed(5)
        centre = torch.rand(3, 2, 3, generator=g, dtype=dtype)
        return bounds.Ball(centre, self.eps, norm=self.norm, clip=self.clip)

    def test_points_just_outside_are_refused(self) -> None:
        region = self.make(torch.float64)
        direction = torch.zeros_like(region.center)
        direction[:, 0, 0] = 1.0
        sign = torch.where(region.center[:, :1, :1] > 0.5, -1.0, 1.0)  # stay inside the clip range
        assert region.contains(region.center + sign * direction * self.eps * (1 - 1e-9)).all()
        assert not region.contains(region.center + sign * direction * self.eps * (1 + 1e-9)).any()

    def test_no_budget_leaves_the_centre(self) -> None:
        for dtype in (torch.float32, torch.float64):
            region = bounds.Ball(self.make(dtype).center, 0.0, norm=self.norm, clip=self.clip)
            assert (region.project(self.noise(region, 1)) == region.center).all()


class TestBallInf(BallConformance):
    pass


class TestBallInfClipped(BallConformance):
    clip = (0.0, 1.0)


class TestBall2(BallConformance):
    norm = 2


class TestBall2Clipped(BallConformance):
    norm, clip = 2, (0.0, 1.0)


class TestBall1(BallConformance):
    norm = 1


class TestBall1Clipped(BallConformance):
    norm, clip = 1, (0.0, 1.0)


class TestBall2MostlyRange(BallConformance):
    """So large that the range cuts nearly every side, and ends before the ball."""

    norm, clip, eps = 2, (0.0, 1.0), 0.9
    test_points_just_outside_are_refused = None


class TestBall1MostlyRange(TestBall2MostlyRange):
    norm, eps = 1, 1.9


def _clipped(seed: int, d: int, norm: float, eps: float) -> tuple[bounds.Ball, Tensor]:
    """Centres with many coordinates at the ends of the range; rows with entries that vanish or tie."""
    g = torch.Generator().manual_seed(seed)
    centre = torch.rand(3, d, generator=g, dtype=torch.float64) * 1.6 - 0.3
    a = torch.randn(3, 4, d, generator=g, dtype=torch.float64)
    a = torch.where(torch.rand(a.shape, generator=g) < 0.2, 0, a)
    a = torch.where(torch.rand(a.shape, generator=g) < 0.2, a.sign(), a)
    return bounds.Ball(centre.clamp(0, 1), eps, norm, (0.0, 1.0)), a


def _largest(a: Tensor, low: Tensor, high: Tensor, eps: float, norm: float) -> float:
    """max a . s over ``low <= s <= high, |s| <= eps``: by the LP for 1, by bisection on the scale for 2."""
    d = len(a)
    if norm == 1:  # s = p - q with p, q >= 0
        found = linprog(
            torch.cat([-a, a]).numpy(),
            A_ub=torch.ones(1, 2 * d).numpy(),
            b_ub=[eps],
            bounds=[(0, float(h)) for h in high] + [(0, -float(x)) for x in low],
        )
        return -float(found.fun)
    short, long = 0.0, 1e12
    for _ in range(200):
        middle = (short + long) / 2
        fits = bool((middle * a).clamp(low, high).norm() <= eps)
        short, long = (middle, long) if fits else (short, middle)
    return float((short * a).clamp(low, high) @ a)


@pytest.mark.parametrize("norm", [1, 2])
@given(seed=st.integers(0, 10**6), d=st.integers(1, 40), eps=st.floats(1e-3, 8.0))
@settings(max_examples=25, deadline=None)
def test_support_of_a_clipped_ball_is_exact(norm: float, seed: int, d: int, eps: float) -> None:
    ball, a = _clipped(seed, d, norm, eps)
    for rounded in (False, True):
        support = ball.support(a, ALL, rounded)
        for i in range(3):
            c = ball.center[i]
            for row, found in zip(a[i], support[i].tolist(), strict=True):
                largest = float(row @ c) + _largest(row, -c, 1 - c, eps, norm)
                assert found == pytest.approx(largest, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("norm", [1, 2])
def test_the_intersection_is_tighter_than_ball_and_box(norm: float) -> None:
    ball, a = _clipped(1, 30, norm, 1.0)
    over_ball = bounds.Ball(ball.center, ball.eps, norm).support(a, ALL)
    over_box = ball.box().support(a, ALL, rounded=False)
    gap = torch.minimum(over_ball, over_box) - ball.support(a, ALL)
    assert (gap >= -1e-12).all()
    assert (gap > 1e-3).sum() >= 8


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e-90, 1e90, 1e200])
def test_extreme_rows_are_bounded(norm: float, scale: float) -> None:
    ball, a = _clipped(2, 12, norm, 0.7)
    a = a * scale
    support = ball.support(a, ALL, rounded=True)
    assert support.isfinite().all()
    for row in range(4):
        z = ball.argmax(a[:, row])
        for i in range(3):
            pairs = zip(a[i, row].tolist(), z[i].tolist(), strict=True)
            assert Fraction(float(support[i, row])) >= sum(Fraction(p) * Fraction(q) for p, q in pairs)


def test_membership_in_a_cube_is_exact_though_the_difference_rounds() -> None:
    """0.7 - 0.1 rounds to the float nearest 0.6, but lies above it in exact arithmetic or not."""
    g = torch.Generator().manual_seed(0)
    centre = torch.rand(500, 1, generator=g, dtype=torch.float64)
    for eps in (0.1, 0.3, 1e-3):
        ball = bounds.Ball(centre, eps)
        for z in (centre + eps, centre - eps, torch.nextafter(centre + eps, centre * 0 + 9)):
            exact = [
                abs(Fraction(p) - Fraction(c)) <= Fraction(eps)
                for p, c in zip(z.flatten().tolist(), centre.flatten().tolist(), strict=True)
            ]
            assert ball.contains(z).tolist() == exact


def test_the_float32_box_of_a_ball_covers_the_stated_radius() -> None:
    """Where centre and eps nearly cancel, float32 rounding would cut the box short."""
    centre = torch.tensor([[0.1, 0.30000001, 1.0, 1e-8]])
    box = bounds.Ball(centre, 0.1).box()
    for c, low, high in zip(centre[0].tolist(), box.lower[0].tolist(), box.upper[0].tolist(), strict=True):
        assert Fraction(low) <= Fraction(c) - Fraction(0.1)
        assert Fraction(high) >= Fraction(c) + Fraction(0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: bounds.Ball(x, -0.1), "eps is -0.1"),
        (lambda x: bounds.Ball(x, math.nan), "eps is nan"),
        (lambda x: bounds.Ball(x, 0.1, norm=3), "norm 3 is not known"),
        (lambda x: bounds.Ball(x * math.nan, 0.1), "NaN or Inf"),
        (lambda x: bounds.Ball(x + 2, 0.1, clip=(0, 1)), "sample 0 lies outside the input range"),
        (lambda x: bounds.Box(x, x - 1), "sample 0 is empty"),
        (lambda x: bounds.Box(x, x[:1]), "corners of a box differ"),
        (lambda x: bounds.Box(x.long(), x.long()), "floating-point"),
    ],
)
def test_bad_sets_are_refused(make: object, message: str) -> None:
    with pytest.raises(bounds.InvalidInput, match=message):
        make(torch.ones(2, 3))
