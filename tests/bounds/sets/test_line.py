"""Clipped segments, against a fine grid of their parameter."""

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

import bounds

from .conformance import ALL, InputSetConformance


class TestLine(InputSetConformance):
    convex = False
    clip = (0.0, 1.0)

    def make(self, dtype: torch.dtype) -> bounds.Line:
        g = torch.Generator().manual_seed(5)
        center = torch.rand(3, 2, 4, generator=g, dtype=dtype)
        direction = torch.randn(3, 2, 4, generator=g, dtype=dtype)
        direction[0, 0, 0] = 0
        lower, upper = torch.tensor([[-0.5, -1.0, 0.0], [0.5, 0.2, 2.0]]).double()
        return bounds.Line(center, direction, lower, upper, self.clip)

    def grid(self, region: bounds.Line, i: int, steps: int = 20001) -> Tensor:
        """Many points of one sample's segment; (steps, 8)."""
        t = torch.linspace(float(region.lower[i]), float(region.upper[i]), steps).double()
        center, direction = region.center[i].flatten().double(), region.direction[i].flatten().double()
        return (center + t[:, None] * direction).clamp(*self.clip)

    def test_support_and_box_are_those_of_the_segment(self) -> None:
        region = self.make(torch.float64)
        a = torch.stack([self.noise(region, seed) for seed in range(9)], dim=1)
        support, box = region.support(a, ALL), region.box()
        for i in range(3):
            points = self.grid(region, i)
            largest = (a[i].flatten(1) @ points.T).amax(1)
            assert (support[i] >= largest - 1e-12).all()
            torch.testing.assert_close(support[i], largest, rtol=0, atol=2e-3)
            torch.testing.assert_close(box.lower[i].flatten(), points.amin(0), rtol=0, atol=1e-6)
            torch.testing.assert_close(box.upper[i].flatten(), points.amax(0), rtol=0, atol=1e-6)

    def test_project_is_the_nearest_of_the_segment(self) -> None:
        region = self.make(torch.float64)
        for seed, scale in enumerate([0.1, 1.0, 1.0, 3.0, 10.0]):
            z = self.noise(region, seed, scale)
            away = (region.project(z) - z).flatten(1).norm(dim=1)
            for i in range(3):
                best = (self.grid(region, i) - z[i].flatten()).norm(dim=1).min()
                assert away[i] <= best + 1e-12
                assert away[i] >= best - 1e-3

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_members_are_near_the_exact_segment_and_others_are_refused(self, dtype: torch.dtype) -> None:
        region = self.make(dtype)
        unit = torch.finfo(dtype).eps
        for i in range(3):
            one = region[torch.tensor([i])]
            points = self.grid(region, i, 101).to(dtype).view(-1, 1, 2, 4)
            assert all(one.contains(z) for z in points)
            for z in points:
                assert not one.contains(
                    z + 1e3 * unit * torch.tensor([1.0, -1, 1, 1, -1, 1, -1, 1]).view(2, 4)
                )
                assert not one.contains(z - 2)
        assert float(region.to(torch.float64)._slack.max()) < 100 * unit

    def test_support_bounds_every_member_exactly(self) -> None:
        region = self.make(torch.float64)
        for i in range(3):
            one, index = region[torch.tensor([i])], torch.tensor([0])
            for z in self.grid(region, i, 31).view(-1, 1, 2, 4):
                a = self.noise(one, 3)
                bound = Fraction(float(one.support(a[:, None], index, rounded=True)))
                pairs = zip(a.flatten().tolist(), z.flatten().tolist(), strict=True)
                assert sum(Fraction(p) * Fraction(q) for p, q in pairs) <= bound


class TestLineWithoutRange(TestLine):
    clip = (-math.inf, math.inf)

    def test_it_is_the_subspace_of_one_direction(self) -> None:
        region = self.make(torch.float64)
        ends = (region.lower[:, None], region.upper[:, None])
        other = bounds.Subspace(region.center, region.direction[:, None], *ends)
        for seed in range(5):
            z = self.noise(region, seed)
            support = (each.support(z[:, None], ALL) for each in (region, other))
            torch.testing.assert_close(*support)
            torch.testing.assert_close(region.project(z), other.project(z))


def test_a_line_of_no_length_is_its_center() -> None:
    x, none = torch.rand(2, 5), torch.zeros(2, dtype=torch.float64)
    region = bounds.Line(x, torch.ones(2, 5), none, none, (0.0, 1.0))
    assert region.is_box
    assert torch.equal(region.box().lower, x)
    assert torch.equal(region.box().upper, x)
    assert region.contains(x).all()
    assert not region.contains(x * (1 - 1e-6)).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"direction": torch.ones(2, 3)}, "direction of a line"),
        ({"direction": torch.full((2, 2), math.nan)}, "NaN or Inf"),
        ({"lower": torch.zeros(2)}, "lower of a line"),
        ({"lower": torch.ones(2).double()}, "both sides of zero"),
        ({"upper": torch.full((2,), math.inf).double()}, "both sides of zero"),
        ({"slack": -torch.ones(2).double()}, "slack"),
        ({"clip": (0.6, 1.0)}, "outside the input range"),
    ],
)
def test_bad_lines_are_refused(change: dict[str, object], message: str) -> None:
    zero = torch.zeros(2).double()
    good = {"center": torch.full((2, 2), 0.5), "direction": torch.ones(2, 2), "lower": zero, "upper": zero}
    with pytest.raises(bounds.InvalidInput, match=message):
        bounds.Line(**(good | change))
