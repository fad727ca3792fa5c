"""Rows of a table, against the enumeration of their integers and categories."""

import itertools

import pytest
import torch
from torch import Tensor

import bounds

from .conformance import ALL, InputSetConformance


class TestTabular(InputSetConformance):
    """Elements: number, integer, group of three, number that stays, group of two."""

    convex = False
    integers, groups = (1,), ((2, 3, 4), (6, 7))

    def ends(self) -> tuple[Tensor, Tensor]:
        lower = torch.tensor(
            [
                [-0.3, -1.5, 0, 0, 0, 0.4, 0, 0],
                [0.2, 2.0, 0, 0, 0, -0.4, 1, 0],
                [-1.0, -0.2, 0, 0, 0, 0.1, 0, 0],
            ]
        )
        upper = torch.tensor(
            [[0.5, 2.2, 1, 1, 1, 0.4, 1, 1], [0.25, 2.0, 1, 0, 1, -0.4, 1, 0], [1, 1.9, 1, 1, 0, 0.1, 1, 1]]
        )
        return lower.double(), upper.double()

    def make(self, dtype: torch.dtype) -> bounds.Tabular:
        lower, upper = self.ends()
        return bounds.Tabular(lower.to(dtype), upper.to(dtype), self.integers, self.groups)

    def points(self, i: int, steps: int = 2) -> Tensor:
        """All integers and categories of one sample, by brute force, with ``steps`` values of the number."""
        (lower, upper), found = self.ends(), []
        for whole, one, other in itertools.product(range(-3, 4), range(3), range(2)):
            z = torch.zeros(8, dtype=torch.float64)
            z[1], z[2 + one], z[5], z[6 + other] = whole, 1, lower[i, 5], 1
            fixed = [1, 2, 3, 4, 6, 7]
            if ((z >= lower[i]) & (z <= upper[i]))[fixed].all():
                for value in torch.linspace(float(lower[i, 0]), float(upper[i, 0]), steps).double():
                    z[0] = value.clamp(lower[i, 0], upper[i, 0])
                    found.append(z.clone())
        return torch.stack(found)

    def test_support_and_box_are_those_of_all_points(self) -> None:
        region = self.make(torch.float64)
        a = torch.stack([self.noise(region, seed) for seed in range(9)], dim=1)
        support, box = region.support(a, ALL), region.box()
        for i in range(3):
            points = self.points(i)
            torch.testing.assert_close(support[i], (a[i] @ points.T).amax(1), rtol=0, atol=1e-12)
            assert torch.equal(box.lower[i], points.amin(0))
            assert torch.equal(box.upper[i], points.amax(0))

    def test_project_is_the_nearest_of_all_points(self) -> None:
        region = self.make(torch.float64)
        for seed in range(10):
            z = self.noise(region, seed, 2.0)
            away = (region.project(z) - z).norm(dim=1)
            for i in range(3):
                best = (self.points(i, 201) - z[i]).norm(dim=1).min()
                assert away[i] <= best + 1e-12
                assert away[i] >= best - 1e-2

    def test_membership_is_exact(self) -> None:
        region = self.make(torch.float64)
        for i in range(3):
            one = region[torch.tensor([i])]
            for z in self.points(i):
                assert one.contains(z[None]).all()
                for j in (0, 5):
                    assert not one.contains((z + 10 * torch.eye(8)[j])[None]).any()
                for j in (1, 2, 3, 4, 6, 7):
                    assert not one.contains((z + 1e-12 * torch.eye(8)[j])[None]).any()
                    assert not one.contains((z - 0.5 * torch.eye(8)[j])[None]).any()
                two = z.clone()
                two[2:5] = 1
                assert not one.contains(two[None]).any()

    def test_it_is_a_box_where_nothing_is_discrete(self) -> None:
        lower, upper = self.ends()
        assert bounds.Tabular(lower, upper).is_box
        assert not self.make(torch.float64).is_convex
        still = torch.where(torch.arange(8) == 0, upper, lower)[1:2]
        still[:, 2] = 1
        assert bounds.Tabular(lower[1:2], still, self.integers, self.groups).is_box

    def test_points_of_any_shape(self) -> None:
        lower, upper = self.ends()
        flat = self.make(torch.float64)
        region = bounds.Tabular(lower.view(3, 2, 4), upper.view(3, 2, 4), self.integers, self.groups)
        z = self.noise(region, 4)
        assert torch.equal(region.project(z).flatten(1), flat.project(z.flatten(1)))
        assert torch.equal(region.support(z[:, None], ALL), flat.support(z.flatten(1)[:, None], ALL))


@pytest.mark.parametrize(
    ("integers", "groups", "message"),
    [
        ((0, 0), (), "named twice"),
        ((0,), ((0, 1),), "named twice"),
        ((3,), (), "no element 3"),
        ((-1,), (), "no element -1"),
        ((), ((1,),), "fewer than two"),
        ((2,), (), "integer element of sample 1 has no value"),
        ((), ((0, 2),), r"group \(0, 2\) of sample 0 has no value"),
    ],
)
def test_bad_tables_are_refused(
    integers: tuple[int, ...], groups: tuple[tuple[int, ...], ...], message: str
) -> None:
    lower, upper = (
        torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.2]]),
        torch.tensor([[0.5, 1, 0.5], [1, 1, 0.8]]),
    )
    with pytest.raises(bounds.InvalidInput, match=message):
        bounds.Tabular(lower, upper, integers, groups)
