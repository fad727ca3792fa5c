"""Low-dimensional perturbations, against linear programs and least squares."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear
from torch import Tensor

import bounds

from .conformance import ALL, InputSetConformance


class TestSubspace(InputSetConformance):
    directions, shared = 3, False

    def make(self, dtype: torch.dtype) -> bounds.Subspace:
        g = torch.Generator().manual_seed(5)
        centre = torch.rand(3, 2, 4, generator=g, dtype=dtype)
        basis = torch.randn(1 if self.shared else 3, self.directions, 2, 4, generator=g, dtype=dtype)
        lower = -torch.rand(3, self.directions, generator=g, dtype=dtype)
        upper = torch.rand(1, self.directions, generator=g, dtype=dtype)
        return bounds.Subspace(centre, basis, lower, upper)

    def parts(self, region: bounds.Subspace, i: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Center (d,), basis (directions, d) and ends of one sample."""
        basis = region.basis.expand(3, -1, -1, -1)[i].flatten(1)
        return region.center[i].flatten(), basis, region.lower[i], region.upper.expand(3, -1)[i]

    def test_support_is_the_best_corner_and_the_thickness(self) -> None:
        region = self.make(torch.float64)
        a = torch.stack([self.noise(region, seed) for seed in range(5)], dim=1)
        support = region.support(a, ALL)
        for i in range(3):
            centre, basis, lower, upper = self.parts(region, i)
            corners = torch.cartesian_prod(*torch.stack([lower, upper], dim=1)).view(-1, self.directions)
            values = a[i].flatten(1) @ (centre + corners @ basis).T
            torch.testing.assert_close(support[i], values.amax(1), rtol=1e-12, atol=1e-12)
            thick = values.amax(1) + a[i].flatten(1).abs().sum(1) * region.to(torch.float64)._slack[i]
            assert (region.support(a, ALL, rounded=True)[i] >= thick).all()

    def test_project_is_the_least_squares_solution(self) -> None:
        region = self.make(torch.float64)
        for seed in range(5):
            z = self.noise(region, seed)
            nearest = region.project(z)
            for i in range(3):
                centre, basis, lower, upper = (each.numpy() for each in self.parts(region, i))
                target = z[i].flatten().numpy() - centre
                t = lsq_linear(basis.T, target, bounds=(lower, upper), tol=1e-14).x
                np.testing.assert_allclose(nearest[i].flatten(), centre + t @ basis, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_members_stay_within_the_slack_of_the_exact_set(self, dtype: torch.dtype) -> None:
        """Along the normals of the plane, where the exact set has no width at all."""
        region = self.make(dtype)
        for seed in range(5):
            z = region.project(self.noise(region, seed))
            assert region.contains(z).all()
            for i in range(3):
                centre, basis, _, _ = (each.double() for each in self.parts(region, i))
                normals = torch.linalg.qr(basis.T, mode="complete").Q[:, self.directions :]
                for normal in normals.T:
                    terms = zip(normal.tolist(), z[i].flatten().tolist(), centre.tolist(), strict=True)
                    off = float(sum(Fraction(n) * (Fraction(p) - Fraction(c)) for n, p, c in terms))
                    assert abs(off) <= float(normal.abs().sum() * region._slack[i]) + 1e-14

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_points_off_the_plane_or_beyond_the_ends_are_refused(self, dtype: torch.dtype) -> None:
        region = self.make(dtype)
        scale = 1e-3 if dtype is torch.float32 else 1e-11
        z = region.project(self.noise(region, 1))
        assert not region.contains(z + scale * self.noise(region, 2)).any()
        for i in range(3):
            centre, basis, _, upper = self.parts(region, i)
            corner = (centre + upper * (1 + 10 * scale) @ basis).view(1, *region.shape)
            assert not region[torch.tensor([i])].contains(corner).any()

    def test_a_narrower_dtype_holds_all_points(self) -> None:
        wide = self.make(torch.float64)
        narrow = wide.to(torch.float32)
        a = torch.stack([self.noise(wide, seed).float() for seed in range(5)], dim=1)
        exact = wide.support(a.double(), ALL)
        assert (narrow.to(torch.float64).support(a.double(), ALL, rounded=True) >= exact).all()


class TestSubspaceOfOneDirection(TestSubspace):
    directions = 1


class TestSubspaceWithSharedBasis(TestSubspace):
    shared = True


def test_brightness_in_float64() -> None:
    """A direction of ones: every coordinate moves by the same amount."""
    x = torch.rand(2, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ends = torch.tensor([[-0.1]], dtype=torch.float64), torch.tensor([[0.2]], dtype=torch.float64)
    region = bounds.Subspace(x, torch.ones(1, 1, 1, 3, 3, dtype=torch.float64), *ends)
    assert region.contains(x + 0.2).all()
    assert region.contains(x - 0.1).all()
    assert region.contains(x).all()
    assert not region.contains(x + 0.2001).any()
    assert not region.contains(x - 0.1001).any()
    difference = torch.zeros(2, 1, 1, 3, 3, dtype=torch.float64)
    difference[..., 0, 0], difference[..., 1, 1] = 1, -1
    stays = (difference[:, 0] * x).flatten(1).sum(1)
    support = region.support(difference, torch.arange(2), rounded=True)[:, 0]
    torch.testing.assert_close(support, stays, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"basis": torch.ones(2, 1, 4)}, r"basis of a subspace set has shape \(2, 1, 4\); give \(2, 1, 3\)"),
        ({"basis": torch.ones(2, 1, 3).double()}, "basis of a subspace set is torch.float64"),
        ({"lower": torch.full((1, 1), 0.1)}, "one side of zero"),
        ({"upper": torch.full((1, 2), 0.1)}, "upper of a subspace set has shape"),
        ({"upper": torch.full((1, 1), torch.inf)}, "NaN or Inf"),
        ({"slack": torch.tensor([1.0])}, "slack"),
        ({"slack": torch.tensor([1.0, -1.0]).double()}, "slack"),
    ],
)
def test_bad_sets_are_refused(change: dict[str, Tensor], message: str) -> None:
    parts = {
        "center": torch.ones(2, 3),
        "basis": torch.ones(2, 1, 3),
        "lower": -torch.ones(1, 1),
        "upper": torch.ones(1, 1),
        **change,
    }
    with pytest.raises(bounds.InvalidInput, match=message):
        bounds.Subspace(**parts)
