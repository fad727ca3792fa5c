"""What a bound and an attack may rely on, for every set."""

from fractions import Fraction

import pytest
import torch
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
