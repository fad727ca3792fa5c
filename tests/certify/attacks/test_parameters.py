"""The search of a transform's parameters, against a fine grid."""

from __future__ import annotations

import itertools

import pytest
import torch

from certify.attacks import PGD, ParameterSearch
from certify.evidence import Decider
from certify.query import Query
from certify.run import Run
from certify.threat import Brightness, Budgeted, Contrast, Parametric, Rotation, Spatial, Translation
from tests.certify.attacks.conformance import AttackConformance
from tests.certify.toys import model_of, normal, right_answers, uniform


@pytest.mark.parametrize("threat", [Brightness(0.2), Contrast(0.9)], ids=repr)
class TestParameterSearch(AttackConformance):
    weak = True

    @pytest.fixture(autouse=True)
    def _threat(self, threat: Budgeted) -> None:
        self.budget = threat

    def decider(self) -> Decider:
        return ParameterSearch(9, 4)

    def threat(self) -> Budgeted:
        return self.budget

    def test_saturated_elements_can_move(self) -> None:
        """Brightness has one direction, which need not break a linear model; the elements move at all."""
        model, query = self._linear((6,), 2, torch.float64)
        x = (query.x > 0.5).double()
        asked = Query(model, x, right_answers(model, x), self._far(model, x, query.y), query.samples)
        assert any(each.witness is not None for each in self.ask(asked))


def images(threat: Parametric) -> Query:
    """A small convolutional classifier of random weights, and images that it gets right."""
    kernel, weight = normal(4, 1, 3, 3, seed=1), normal(3, 64, seed=2)

    def forward(z: torch.Tensor) -> torch.Tensor:
        hidden = torch.nn.functional.conv2d(z - 0.5, kernel.to(z), stride=2, padding=1).relu()
        return hidden.flatten(1) @ weight.T.to(z) + torch.tensor([9.0, 0, 0]).to(z)

    model = model_of(forward, (1, 8, 8), 3, (0.0, 1.0))
    x = torch.nn.functional.avg_pool2d(uniform(8, 1, 10, 10, seed=3), 3, 1)
    return Query(model, x, right_answers(model, x), threat, tuple(range(8)))


@pytest.mark.parametrize(
    "threat",
    [
        Rotation(20.0),
        Translation(1.5),
        pytest.param(Spatial(rotation=15, translation=1), marks=pytest.mark.slow),
        Spatial(contrast=0.6),
    ],
    ids=repr,
)
def test_the_search_is_as_good_as_a_fine_grid(threat: Parametric) -> None:
    query = images(threat)
    query = Query(query.model, query.x, query.y, threat, query.samples)
    limits = list(threat.limits.values())
    fine = {1: 2001, 2: 61, 3: 21}[len(limits)]
    spec = query.spec.to(torch.float64)
    smallest = torch.full((8,), torch.inf, dtype=torch.float64)
    for unit in itertools.product(torch.linspace(-1, 1, fine).double().tolist(), repeat=len(limits)):
        parameters = torch.tensor([u * m for u, m in zip(unit, limits, strict=True)]).double()
        points = threat.moved(query.x, parameters.expand(8, -1), (0.0, 1.0))
        smallest = torch.minimum(smallest, spec.worst(spec.evaluate(query.model(points))))
    found = ParameterSearch().decide(query, Run())
    clean = spec.worst(spec.evaluate(query.model(query.x)))
    for each, least, start in zip(found, smallest.tolist(), clean.tolist(), strict=True):
        assert (each.witness is not None) == (least <= 0) or abs(least) < 0.02
        if each.witness is None:
            assert float(each.detail["smallest_margin"]) <= least + 0.02 * (start - least)


def test_pgd_on_the_exact_set_of_brightness_agrees_with_the_search() -> None:
    for threat in (Brightness(0.5), Contrast(0.9)):
        query = images(threat)
        found = [attack.decide(query, Run()) for attack in (ParameterSearch(31, 8), PGD(20, restarts=5))]
        for one, other in zip(*found, strict=True):
            assert (one.witness is None) == (other.witness is None)
