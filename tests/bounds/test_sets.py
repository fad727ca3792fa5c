"""Conformance of input sets: what a bound and an attack may rely on, for every set."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import Tensor

import bounds
from tests.strategies import Net

ALL = torch.arange(3)


class InputSetConformance:
    """Inherit, give ``make(dtype)`` with a batch of three, and all of these hold."""

    convex = True

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
            exact = 1e-12 if dtype is torch.float64 else 1e-5
            torch.testing.assert_close(support, value, rtol=exact, atol=exact * 10)

    def test_project_finds_a_nearest_point(self) -> None:
        """A point p of a convex set is nearest to z where (z - p) . q over the set is largest at q = p."""
        region = self.make(torch.float64)
        for seed, scale in enumerate([0.1, 1.0, 10.0] * 5):
            z = self.noise(region, seed, scale)
            p = region.project(z)
            if self.convex:
                normal = z - p
                largest = region.support(normal[:, None], ALL)[:, 0]
                assert (largest <= (normal * p).flatten(1).sum(1) + 1e-9 * (1 + scale)).all()
            for other in range(20):
                q = region.project(p + self.noise(region, 1000 + other, scale / 10))
                assert ((z - p).flatten(1).norm(dim=1) <= (z - q).flatten(1).norm(dim=1) + 1e-12).all()

    def test_the_gradient_of_the_support_is_its_maximiser(self) -> None:
        region = self.make(torch.float64)
        a = self.noise(region, 3).requires_grad_()
        (gradient,) = torch.autograd.grad(region.support(a[:, None], ALL).sum(), a)
        torch.testing.assert_close(gradient, region.argmax(a.detach()), rtol=1e-6, atol=1e-6)

    def test_support_is_rounded_up_and_hardly_so(self) -> None:
        region = self.make(torch.float64)
        for seed in range(5):
            a = self.noise(region, seed)[:, None] * 10.0 ** (5 * seed - 10)
            plain, rounded = region.support(a, ALL), region.support(a, ALL, rounded=True)
            assert (rounded > plain).all()
            torch.testing.assert_close(rounded, plain, rtol=1e-11, atol=1e-11 * float(a.abs().sum()))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_bounds_of_a_network_hold_and_gain_from_the_set(self, dtype: torch.dtype) -> None:
        region = self.make(dtype)
        net = Net(region.shape, seed=1).flatten().linear(6).relu().linear(5).relu().linear(4).build()
        found = bounds.bound(net, region, method="crown")
        box = bounds.bound(net, bounds.Box(region.box().lower, region.box().upper), method="crown")
        widths = [(each.upper - each.lower).mean() for each in (found, box)]
        assert widths[0] < widths[1] * (1 + 1e-6)
        exact = net.to(torch.float64, region.box().lower.device)
        slack = 0 if dtype is torch.float64 else 1e-4
        for seed in range(30):
            push = self.noise(region, seed, 10.0)
            for z in (region.argmax(push), region.project(region.box().centre + push / 100)):
                y = exact(z.double())
                assert (y >= found.lower - slack).all()
                assert (y <= found.upper + slack).all()

    def test_rows_and_samples_are_kept_apart(self) -> None:
        region = self.make(torch.float64)
        a = torch.stack([self.noise(region, seed) for seed in range(7)], dim=1)
        order = torch.tensor([2, 0, 2, 1])
        support = region.support(a[order], order)
        for row in range(7):
            one = region.support(a[:, row : row + 1], ALL)[:, 0]
            torch.testing.assert_close(support[:, row], one[order], rtol=1e-12, atol=1e-12)

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


class PartsConformance(InputSetConformance):
    """Sets of changed parts: against every part in turn, as a box."""

    convex = False
    clip = (-0.2, 1.1)

    def centre(self, dtype: torch.dtype) -> Tensor:
        return torch.rand(3, 2, 3, 4, generator=torch.Generator().manual_seed(5), dtype=dtype)

    def parts(self) -> Tensor:
        """The masks of all parts, (parts, 2, 3, 4)."""
        raise NotImplementedError

    def boxes(self) -> list[bounds.Box]:
        """For each part the box of the points that differ in no other."""
        centre = self.centre(torch.float64)
        low, high = self.clip
        return [bounds.Box(torch.where(m, low, centre), torch.where(m, high, centre)) for m in self.parts()]

    def test_support_is_the_largest_over_all_parts(self) -> None:
        region = self.make(torch.float64)
        a = torch.stack([self.noise(region, seed) for seed in range(5)], dim=1)
        largest = torch.stack([box.support(a, ALL) for box in self.boxes()]).amax(0)
        torch.testing.assert_close(region.support(a, ALL), largest, rtol=1e-12, atol=1e-12)

    def test_project_is_the_nearest_over_all_parts(self) -> None:
        region = self.make(torch.float64)
        for seed in range(5):
            z = self.noise(region, seed)
            nearest = torch.stack([(box.project(z) - z).flatten(1).norm(dim=1) for box in self.boxes()])
            torch.testing.assert_close((region.project(z) - z).flatten(1).norm(dim=1), nearest.amin(0))

    def test_the_box_is_the_hull_of_the_parts(self) -> None:
        box = self.make(torch.float64).box()
        assert (box.lower == torch.stack([each.lower for each in self.boxes()]).amin(0)).all()
        assert (box.upper == torch.stack([each.upper for each in self.boxes()]).amax(0)).all()

    def test_membership_is_that_of_some_part(self) -> None:
        region, g = self.make(torch.float64), torch.Generator().manual_seed(7)
        centre, seen = self.centre(torch.float64), set()
        for k in range(200):
            count = int(torch.randint(0, 5, (), generator=g))
            where = torch.rand(3, 24, generator=g).argsort(1).view_as(centre) < count
            if k % 2:
                part = self.parts()[int(torch.randint(len(self.parts()), (), generator=g))]
                where = part & (torch.rand(centre.shape, generator=g) < 0.9)
            z = torch.where(where, 2 * torch.rand(centre.shape, generator=g) - 0.4, centre)
            inside = torch.stack([box.contains(z) for box in self.boxes()]).any(0)
            assert (region.contains(z) == inside).all()
            seen |= set(inside.tolist())
        assert seen == {True, False}

    def test_a_part_changed_by_one_unit_in_the_last_place_counts(self) -> None:
        region = self.make(torch.float64)
        assert region.contains(self.centre(torch.float64)).all()
        assert not region.contains(
            torch.nextafter(self.centre(torch.float64), torch.tensor(2.0).double())
        ).any()


class TestL0(PartsConformance):
    def make(self, dtype: torch.dtype) -> bounds.L0Ball:
        return bounds.L0Ball(self.centre(dtype), eps=2, clip=self.clip)

    def parts(self) -> Tensor:
        places = torch.combinations(torch.arange(24), 2)
        return torch.zeros(len(places), 24, dtype=torch.bool).scatter(1, places, True).view(-1, 2, 3, 4)


class TestL0Pixels(PartsConformance):
    def make(self, dtype: torch.dtype) -> bounds.L0Ball:
        return bounds.L0Ball(self.centre(dtype), eps=3, clip=self.clip, pixels=True)

    def parts(self) -> Tensor:
        places = torch.combinations(torch.arange(12), 3)
        mask = torch.zeros(len(places), 12, dtype=torch.bool).scatter(1, places, True)
        return mask.view(-1, 1, 3, 4).expand(-1, 2, 3, 4)


class TestPatchAnywhere(PartsConformance):
    places: tuple[tuple[int, int], ...] | None = None

    def make(self, dtype: torch.dtype) -> bounds.Patch:
        return bounds.Patch(self.centre(dtype), self.clip, size=(2, 2), locations=self.places)

    def parts(self) -> Tensor:
        places = self.places or [(i, j) for i in range(2) for j in range(3)]
        masks = torch.zeros(len(places), 2, 3, 4, dtype=torch.bool)
        for mask, (i, j) in zip(masks, places, strict=True):
            mask[:, i : i + 2, j : j + 2] = True
        return masks


class TestPatchAtSomePlaces(TestPatchAnywhere):
    places = ((0, 1), (1, 0))


class TestPatchAtOneKnownPlace(InputSetConformance):
    def make(self, dtype: torch.dtype) -> bounds.Box:
        g = torch.Generator().manual_seed(5)
        centre = torch.rand(3, 2, 3, 4, generator=g, dtype=dtype)
        return bounds.Patch.at(centre, (2, 3), (0.0, 1.0), torch.tensor([[0, 0], [1, 1], [1, 0]]))

    def test_only_the_patch_is_free(self) -> None:
        box = self.make(torch.float64).box()
        free = (box.lower == 0) & (box.upper == 1)
        assert (free | (box.lower == box.upper)).all()
        assert free[1, 1].tolist() == [[False] * 4, [False, True, True, True], [False, True, True, True]]
        assert free.flatten(1).sum(1).tolist() == [12, 12, 12]


def test_an_l0_ball_of_no_or_all_elements_is_a_box() -> None:
    x = torch.full((1, 4), 0.5)
    for eps, width in ((0, 0.0), (4, 1.0), (9, 1.0)):
        region = bounds.L0Ball(x, eps=eps, clip=(0.0, 1.0))
        assert region.is_box
        assert (region.box().upper - region.box().lower == width).all()
        assert float(region.support(torch.ones(1, 1, 4), torch.tensor([0]))) == 2 + 2 * width


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: bounds.Ball(x, -0.1), "eps is -0.1"),
        (lambda x: bounds.Ball(x, math.nan), "eps is nan"),
        (lambda x: bounds.Ball(x, 0.1, norm=3), "norm 3 is not known"),
        (lambda x: bounds.Ball(x * math.nan, 0.1), "NaN or Inf"),
        (lambda x: bounds.Ball(x + 2, 0.1, clip=(0, 1)), "sample 0 lies outside the input range"),
        (lambda x: bounds.L0Ball(x, (0, 1), 1.5), "eps is 1.5"),
        (lambda x: bounds.L0Ball(x, (0, 1), -1), "eps is -1"),
        (lambda x: bounds.L0Ball(x, (0, math.inf), 1), "finite input range"),
        (lambda x: bounds.L0Ball(x + 1, (0, 1), 1), "sample 0 lies outside the input range"),
        (lambda x: bounds.L0Ball(x, (0, 1), 1, pixels=True), "no channels"),
        (lambda x: bounds.Patch(x, (0, 1), (1, 1)), "no images"),
        (lambda x: bounds.Patch(x[None], (0, 1), (3, 1)), "3 x 1 does not fit"),
        (lambda x: bounds.Patch(x[None], (0, 1), (1, 1), []), "at least one"),
        (lambda x: bounds.Patch(x[None], (0, 1), (2, 2), [(0, 1), (1, 0)]), r"at \(1, 0\) leaves the image"),
        (lambda x: bounds.Patch.at(x[None], (1, 1), (0, 1), torch.zeros(2, 2).long()), "corners have shape"),
        (lambda x: bounds.Patch.at(x[None], (1, 1), (0, 1), torch.tensor([[0, 3]])), "leaves the image"),
        (lambda x: bounds.Box(x, x - 1), "sample 0 is empty"),
        (lambda x: bounds.Box(x, x[:1]), "corners of a box differ"),
        (lambda x: bounds.Box(x.long(), x.long()), "floating-point"),
    ],
)
def test_bad_sets_are_refused(make: object, message: str) -> None:
    with pytest.raises(bounds.InvalidInput, match=message):
        make(torch.ones(2, 3))  # type: ignore[operator]
