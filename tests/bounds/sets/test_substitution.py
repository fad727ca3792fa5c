"""Word substitution, against every sequence in turn."""

import itertools

import pytest
import torch
from torch import Tensor

import bounds

from .conformance import ALL, InputSetConformance


class TestSubstitution(InputSetConformance):
    convex = False
    budget: int | None = 2

    def make(self, dtype: torch.dtype) -> bounds.Substitution:
        g = torch.Generator().manual_seed(5)
        words = torch.randn(3, 4, 3, 2, generator=g, dtype=dtype)
        valid = torch.rand(3, 4, 2, generator=g) < 0.7
        return bounds.Substitution(words[:, :, 0], words[:, :, 1:], valid, self.budget)

    def sequences(self, region: bounds.Substitution, sample: int) -> Tensor:
        """Every sequence of one set, (count, 4, 2)."""
        assert region.valid is not None
        found = []
        for words in itertools.product(range(3), repeat=4):
            changed = [(p, w - 1) for p, w in enumerate(words) if w]
            if self.budget is not None and len(changed) > self.budget:
                continue
            if not all(region.valid[sample, p, w] for p, w in changed):
                continue
            z = region.center[sample].clone()
            for p, w in changed:
                z[p] = region.choices[sample, p, w]
            found.append(z)
        return torch.stack(found)

    def test_support_and_project_are_those_of_all_sequences(self) -> None:
        region = self.make(torch.float64)
        for i in range(3):
            every = self.sequences(region, i)
            for seed in range(5):
                a = self.noise(region, seed)
                support = region.support(a[:, None], ALL)[i, 0]
                torch.testing.assert_close(support, (every * a[i]).flatten(1).sum(1).max())
                distance = (region.project(a)[i] - a[i]).norm()
                torch.testing.assert_close(distance, (every - a[i]).flatten(1).norm(dim=1).min())

    def test_membership_is_equality_with_a_sequence(self) -> None:
        region = self.make(torch.float64)
        free = bounds.Substitution(region.center, region.choices)
        for i in range(3):
            members = {tuple(z.flatten().tolist()) for z in self.sequences(region, i)}
            for seed in range(30):
                z = free.project(self.noise(region, seed, 3.0))
                assert bool(region.contains(z)[i]) == (tuple(z[i].flatten().tolist()) in members)
            assert not region.contains(torch.nextafter(region.center, torch.tensor(9.0).double())).any()

    def test_the_box_is_the_hull_of_all_sequences(self) -> None:
        region = self.make(torch.float64)
        for i in range(3):
            every, words = self.sequences(region, i), region.box()
            assert (words.lower[i] == every.amin(0)).all()
            assert (words.upper[i] == every.amax(0)).all()


class TestSubstitutionOfAll(TestSubstitution):
    budget = None


def test_no_budget_leaves_the_words() -> None:
    x = torch.rand(2, 3, 4)
    region = bounds.Substitution(x, x[:, :, None] + 1, budget=0)
    assert region.is_box
    assert (region.argmax(x) == x).all()
    assert (region.box().upper == x).all()
    torch.testing.assert_close(region.support(x[:, None], torch.arange(2))[:, 0], x.square().sum((1, 2)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"center": torch.ones(2, 3)}, "positions, dim"),
        ({"choices": torch.ones(2, 3, 1, 5)}, r"give torch.float32 \(2, 3, choices, 4\)"),
        ({"choices": torch.ones(2, 3, 4)}, "choices are"),
        ({"choices": torch.ones(2, 3, 1, 4).double()}, "choices are torch.float64"),
        ({"choices": torch.full((2, 3, 1, 4), torch.inf)}, "NaN or Inf"),
        ({"valid": torch.ones(2, 3, 1)}, "booleans"),
        ({"valid": torch.ones(2, 3, 2).bool()}, "booleans"),
        ({"budget": -1}, "budget is -1"),
        ({"budget": 1.5}, "budget is 1.5"),
    ],
)
def test_bad_sets_are_refused(change: dict[str, object], message: str) -> None:
    arguments = {"center": torch.ones(2, 3, 4), "choices": torch.ones(2, 3, 1, 4), **change}
    with pytest.raises(bounds.InvalidInput, match=message):
        bounds.Substitution(**arguments)
