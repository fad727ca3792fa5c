"""Sets of changed parts, against every part in turn."""

import math

import pytest
import torch
from torch import Tensor

import bounds

from .conformance import ALL, InputSetConformance


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
    ],
)
def test_bad_sets_are_refused(make: object, message: str) -> None:
    with pytest.raises(bounds.InvalidInput, match=message):
        make(torch.ones(2, 3))
