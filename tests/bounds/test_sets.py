"""Conformance of input sets: what a bound and an attack may rely on, for every set."""

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

import bounds

ALL = torch.arange(3)


class InputSetConformance:
    """Inherit, give ``make(dtype)`` with a batch of three, and all of these hold."""

    exact_argmax = True

    def make(self, dtype: torch.dtype) -> bounds.InputSet:
        raise NotImplementedError

    def noise(self, region: bounds.InputSet, seed: int, scale: float = 1.0) -> Tensor:
        g = torch.Generator().manual_seed(seed)
        return torch.randn(len(region), *region.shape, generator=g, dtype=region.box().lower.dtype) * scale

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_project_lands_in_the_set_without_tolerance(self, dtype: torch.dtype) -> None:
        region = self.make(dtype)
        for seed, scale in enumerate([1e-9, 0.1, 1.0, 100.0] * 5):
            z = region.project(self.noise(region, seed, scale))
            assert region.contains(z).all()
            torch.testing.assert_close(region.project(z), z, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_argmax_is_in_the_set_and_beats_other_points(self, dtype: torch.dtype) -> None:
        region = self.make(dtype)
        for seed in range(20):
            a = self.noise(region, seed)
            best = region.argmax(a)
            assert region.contains(best).all()
            value = (a * best).flatten(1).sum(1)
            support = region.support(a[:, None], ALL)[:, 0]
            assert (support >= value - 1e-4).all()
            if self.exact_argmax:
                torch.testing.assert_close(support, value, rtol=1e-5, atol=1e-4)

    def test_support_bounds_every_point_exactly(self) -> None:
        region = self.make(torch.float64)
        for seed in range(20):
            a = self.noise(region, seed)
            support = region.support(a[:, None], ALL, rounded=True)[:, 0]
            z = region.argmax(a) if seed % 2 else region.project(self.noise(region, 100 + seed))
            for i in range(3):
                pairs = zip(a[i].flatten().tolist(), z[i].flatten().tolist(), strict=True)
                assert Fraction(float(support[i])) >= sum(Fraction(p) * Fraction(q) for p, q in pairs)

    def test_box_encloses_the_set(self) -> None:
        for dtype in (torch.float32, torch.float64):
            region = self.make(dtype)
            box = region.box()
            for seed in range(10):
                z = region.project(self.noise(region, seed))
                assert ((z >= box.lower) & (z <= box.upper)).all()

    def test_samples_can_be_picked_and_cast(self) -> None:
        region = self.make(torch.float32)
        one = region[torch.tensor([2])]
        assert len(one) == 1
        assert (one.box().lower == region.box().lower[2:]).all()
        wide = region.to(torch.float64)
        z = region.project(self.noise(region, 1))
        assert wide.contains(z.double()).all()


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
    norm, clip, exact_argmax = 2, (0.0, 1.0), False


class TestBall1(BallConformance):
    norm = 1


class TestBall1Clipped(BallConformance):
    norm, clip, exact_argmax = 1, (0.0, 1.0), False


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
        make(torch.ones(2, 3))  # type: ignore[operator]
