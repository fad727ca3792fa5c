"""Patches: the search of their place against every place, one patch for all images."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import bounds
from certify.attacks import PGD, PatchEoT, PatchSearch
from certify.attacks.base import Problem
from certify.attacks.patch import _apart
from certify.attacks.universal_patch import Placement
from certify.decide import evaluate
from certify.errors import UsageError
from certify.evidence import Decider
from certify.model import Model
from certify.query import Query
from certify.run import Run
from certify.threat import Budgeted, Linf, Patch, PatchAt, Pixels
from certify.verdict import Verdict
from tests.certify.attacks.conformance import AttackConformance
from tests.certify.attacks.test_recorded import network
from tests.certify.toys import mlp, model_of, normal, right_answers, uniform


class TestPatchSearch(AttackConformance):
    """On images of one row of two pixels, where a patch is one of them."""

    def decider(self) -> Decider:
        return PatchSearch(4, 2, PGD(10))

    def threat(self) -> Budgeted:
        return Patch(1)

    def query(self) -> Query:
        flat = mlp((2, 16, 16, 3), seed=11, valid=(0.0, 1.0))
        model = model_of(lambda z: flat(z.flatten(1)), (1, 1, 2), 3, (0.0, 1.0))
        x = uniform(12, 1, 1, 2, seed=5)
        return Query(model, x, right_answers(model, x), self.threat(), tuple(range(100, 112)))

    def _linear(self, shape: tuple[int, ...], classes: int, dtype: torch.dtype) -> tuple[Model, Query]:
        return super()._linear(shape if len(shape) > 1 else (1, *shape, 1), classes, dtype)

    def test_saturated_elements_can_move(self) -> None:
        model, query = self._linear((6,), 2, torch.float64)
        x = (query.x > 0.5).double()
        y = right_answers(model, x)
        asked = Query(model, x, y, self._far(model, x, y), query.samples)
        assert all(each.witness is not None for each in self.ask(asked))


def convolutional(side: int, seed: int = 1, shift: float = 28.0) -> Model:
    """A small random network of one-channel images, fairly sure of class 0."""
    kernel, weight = normal(6, 1, 3, 3, seed=seed), normal(3, 6 * side * side, seed=seed + 1) / 4
    offset = torch.tensor([shift, 0.0, 0.0], dtype=torch.float64)

    def forward(z: Tensor) -> Tensor:
        hidden = torch.nn.functional.conv2d(2 * z - 1, kernel.to(z), padding=1).relu()
        return hidden.flatten(1) @ weight.T.to(z) + offset.to(z)

    return model_of(forward, (1, side, side), 3, (0.0, 1.0))


def test_the_search_finds_what_exhaustive_attacks_at_every_place_find() -> None:
    """The truth, up to the strength of PGD: restarts at each of the 16 places."""
    model, x = convolutional(6), uniform(24, 1, 6, 6, seed=9)
    y = right_answers(model, x)
    keep = y == 0
    x, y = x[keep], y[keep]
    breakable = torch.zeros(len(x), dtype=torch.bool)
    for row in range(4):
        for column in range(4):
            query = Query(model, x, y, PatchAt(row, column, 3, 3), tuple(range(len(x))))
            found = PGD(30, restarts=1, targets=1).decide(query, Run())
            breakable |= torch.tensor([each.witness is not None for each in found])
    assert 0.1 < breakable.double().mean() < 0.9
    query = Query(model, x, y, Patch(3), tuple(range(len(x))))
    found = PatchSearch(16, 4, PGD(30)).decide(query, Run())
    assert sum(each.witness is not None for each in found) >= 0.9 * int(breakable.sum())


def test_all_places_are_tried_where_asked() -> None:
    x, row = uniform(6, 2, 7, 5, seed=3), normal(2, 7, 5, seed=4)
    query = Query(
        model_of(lambda z: torch.stack([100 + (z * row).flatten(1).sum(1), 0 * z[:, 0, 0, 0]], 1), (2, 7, 5)),
        x,
        torch.zeros(6, dtype=torch.long),
        Patch(3),
        tuple(range(6)),
    )
    region = Patch(3).around(x, (0.0, 1.0))
    spec = query.spec.to(torch.float64)
    worst = 100 - region.support(-row.expand(6, 1, 2, 7, 5), torch.arange(6))[:, 0]
    for count in (1, 5, 100):
        problem = Problem(query.model, region, spec, x, query.samples, "places", Run())
        found = PatchSearch(count, 1, PGD(60)).find(problem)
        assert region.contains(found.points).all()
        torch.testing.assert_close(found.deciding, worst, rtol=0, atol=1e-9)
        assert problem.tally.forwards[0] == 1 + min(count, 15) + 2 * 61


def test_candidates_are_the_best_places_that_are_apart() -> None:
    x = uniform(6, 2, 7, 6, seed=3)
    region = Patch(3).around(x, (0.0, 1.0))
    assert isinstance(region, bounds.Patch)
    row, corners = normal(6, 2, 7, 6, seed=4), region.corners()
    gains = region.gains(row)
    for place, corner in enumerate(corners):  # each gain against the box of a patch there
        box = bounds.Patch.at(x, (3, 3), (0.0, 1.0), corner.expand(6, 2))
        most = box.support(row[:, None], torch.arange(6))[:, 0] - (row * x).flatten(1).sum(1)
        torch.testing.assert_close(gains[:, place], most)
    chosen = _apart(region, gains, 20)
    assert torch.equal(chosen.sort(1).values, torch.arange(20).expand(6, 20))
    for sample, places in enumerate(chosen.tolist()):
        kept: list[int] = []
        for place in gains[sample].argsort(descending=True).tolist():
            away = [(corners[place] - corners[other]).abs().max() for other in kept]
            if all(each >= 1.5 for each in away):
                kept.append(place)
        assert places[: len(kept)] == kept


def test_other_threats_are_told_what_to_use() -> None:
    query = TestPatchSearch().query()
    for threat in (Linf(0.1), Pixels(1)):
        assert "try PGD" in str(
            PatchSearch().supports(Query(query.model, query.x, query.y, threat, query.samples))
        )
    at = Query(query.model, query.x, query.y, PatchAt(0, 1, 1, 1), query.samples)
    assert PatchSearch().supports(at) is None
    still = PatchSearch().decide(Query(query.model, query.x, query.y, Patch(0), query.samples), Run())
    assert all(each.witness is None for each in still)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(5, 6), (2, 5, 6), (2, 2, 5, 6)], ids=str)
def test_placed_patches_are_members_of_the_threat(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = uniform(20, *shape, seed=1).to(dtype)
    patch = uniform(*shape[:-2], 3, 3, seed=2).round().float()
    region = Patch(3).around(x, (0.0, 1.0))
    for placement in (Placement(0.0, 1.0), Placement(45.0, 0.5), Placement(180.0, 1.0)):
        draws = uniform(20, 4, seed=3)
        points = placement.put(x, patch, draws)
        assert region.contains(points).all()
        assert points.dtype == dtype
    plain = Placement(0.0, 1.0).put(x, patch, uniform(20, 4, seed=3))
    for i, (down, across) in enumerate(uniform(20, 4, seed=3)[:, :2].tolist()):
        top, left = int(down * 3), int(across * 4)
        window = plain[i, ..., top : top + 3, left : left + 3]
        torch.testing.assert_close(window, patch.to(dtype), rtol=0, atol=1e-6)


def test_a_quarter_turn_turns_the_patch() -> None:
    x, patch = torch.zeros(1, 1, 4, 4), uniform(1, 4, 4, seed=2).float()
    turned = Placement(180.0, 1.0).put(x, patch, torch.tensor([[0.0, 0.0, 0.75, 0.0]]))[0]
    options = [torch.rot90(patch, k, (1, 2)) for k in (1, -1)]
    assert any(torch.allclose(turned, each, atol=1e-5) for each in options)


def bright(side: int) -> Model:
    """Class 1 where any three by three pixels are bright in a checkerboard, else class 0; smooth."""
    kernel = (torch.arange(9, dtype=torch.float64) % 2 * -2 + 1).view(1, 1, 3, 3)

    def forward(z: Tensor) -> Tensor:
        seen = torch.nn.functional.conv2d(z, kernel.to(z)).flatten(1)
        return torch.stack([torch.full_like(seen[:, 0], 2.5), torch.logsumexp(8 * seen, 1) / 8], 1)

    return model_of(forward, (1, side, side), 2, (0.0, 1.0))


def test_a_universal_patch_breaks_images_it_has_not_seen_at_any_place() -> None:
    model, threat = bright(9), Patch(3)
    x, held_out = (0.5 + 0.1 * uniform(30, 1, 9, 9, seed=s) for s in (1, 2))
    y = torch.zeros(30, dtype=torch.long)
    assert (right_answers(model, x) == 0).all()
    found = PatchEoT(60, rotation=0, smallest=1, tries=2).fit(model, x, y, threat)
    assert found.rate > 0.9
    result = evaluate(model, held_out, y, threat, [found])
    assert sum(each.verdict is Verdict.FALSIFIED for each in result.samples) >= 28
    again = PatchEoT(60, rotation=0, smallest=1, tries=2).fit(model, x, y, threat)
    assert again == found
    assert torch.equal(again.patch, found.patch)
    assert found.digest in repr(found)
    noise = PatchEoT(1, step_size=1e-9, rotation=0, smallest=1, tries=2).fit(model, x, y, threat)
    assert noise.rate == 0
    smaller = Query(model, x, y, Patch(2), tuple(range(30)))
    assert "square of 3" in str(found.supports(smaller))
    wide = model_of(lambda z: z.flatten(1)[:, :2], (2, 9, 9), 2, (0.0, 1.0))
    two = Query(wide, torch.zeros(1, 2, 9, 9), y[:1], threat, (0,))
    assert "does not fit" in str(found.supports(two))


@pytest.mark.parametrize(
    "make",
    [
        lambda: PatchSearch(0),
        lambda: PatchEoT(0),
        lambda: PatchEoT(step_size=0),
        lambda: PatchEoT(smallest=0),
        lambda: PatchEoT(rotation=math.nan),
        lambda: PatchEoT().fit(bright(9), torch.zeros(2, 1, 9, 9), torch.zeros(2).long(), Patch(0)),
        lambda: PatchEoT().fit(bright(9), torch.zeros(2, 1, 9, 9), torch.ones(2).long(), Patch(3)),
    ],
)
def test_what_means_nothing_is_refused(make: object) -> None:
    with pytest.raises(UsageError):
        make()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), [("cifar", 3), ("mnist", 5)])
def test_places_that_are_searched_break_more_than_places_that_are_stumbled_upon(
    data_dir: Path, name: str, side: int
) -> None:
    model, x, y = network(data_dir, name, 60)
    attacks = PatchSearch(), PGD(40, restarts=6)  # about as many passes
    one, other = (evaluate(model, x, y, Patch(side), [each]).robust_accuracy[1] for each in attacks)
    assert one < other - 0.05
