"""Attacks for the nearest failure: near the optimum on linear models and small networks."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from certify.attacks import DDN, FMN, DeepFool, SuperDeepFool
from certify.attacks.minimal import DistanceAttack, Minimum, Nearest, nearby, shorten
from certify.errors import UsageError
from certify.evidence import Decider
from certify.query import Query
from certify.run import Run
from certify.threat import L1, L2, Budgeted, Linf
from tests.certify.attacks.conformance import AttackConformance
from tests.certify.attacks.oracles import BUDGETS, grid_distance, linear, linear_distance, minimum
from tests.certify.toys import mlp, model_of, right_answers, uniform

INF = math.inf
CASES = [
    (FMN(20), 1),
    (FMN(20), 2),
    (FMN(20), INF),
    (FMN(50, alpha=10, gamma=0.05, growth=0, loss="margin", searches=0), INF),
    (DDN(20), 2),
    (SuperDeepFool(), 2),
]


class _Cases(AttackConformance):
    @pytest.fixture(autouse=True)
    def _case(self, attack: DistanceAttack, norm: float) -> None:
        self.attack, self.budget = attack, BUDGETS[norm]

    def decider(self) -> Decider:
        return self.attack

    def threat(self) -> Budgeted:
        return self.budget


@pytest.mark.parametrize(("attack", "norm"), CASES, ids=str)
class TestMinimal(_Cases):
    pass


@pytest.mark.parametrize(("attack", "norm"), [(FMN(20), 0)], ids=str)
class TestMinimalElements(_Cases):
    def query(self) -> Query:
        """Another network: on the usual one every sample is broken by one element."""
        model = mlp((2, 16, 16, 3), seed=40, valid=(0.0, 1.0))
        x = uniform(12, 2, seed=5)
        return Query(model, x, right_answers(model, x), self.threat(), tuple(range(100, 112)))


@pytest.mark.parametrize(("attack", "norm"), [(DeepFool(), 2), (DeepFool(), INF)], ids=str)
class TestDeepFool(_Cases):
    weak = True  # its steps do not mind the valid range, as published


# How far above the exact distance: a step's overshoot, or what the last radius still swings by.
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(
    ("attack", "norm", "above"),
    [
        (FMN(), 1, 0.01),
        (FMN(), 2, 0.001),
        (FMN(), INF, 0.01),
        (FMN(alpha=1, gamma=0.05, growth=0, loss="margin", searches=0), 2, 0.001),
        (DDN(), 2, 0.005),
        (DeepFool(), 2, 0.03),
        (DeepFool(), INF, 0.03),
        (SuperDeepFool(), 2, 0.001),
    ],
    ids=str,
)
def test_exact_on_linear_models_without_a_range(
    attack: DistanceAttack, norm: float, above: float, classes: int
) -> None:
    model, weight, x, y = linear(classes, valid=None)
    found = minimum(attack, model, x, y, norm)
    exact = linear_distance(weight, x, y, norm, clip=False)
    assert (found.distance >= exact * (1 - 1e-9)).all()
    assert (found.distance <= exact * (1 + above)).all()


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(
    ("attack", "norm", "above"),
    [(FMN(), 1, 0.03), (FMN(), 2, 0.01), (FMN(), INF, 0.02), (DDN(), 2, 0.02), (SuperDeepFool(), 2, 0.03)],
    ids=str,
)
def test_near_the_optimum_of_linear_models_in_a_range(
    attack: DistanceAttack, norm: float, above: float, classes: int
) -> None:
    model, weight, x, y = linear(classes)
    found = minimum(attack, model, x, y, norm)
    exact = linear_distance(weight, x, y, norm, clip=True)
    assert (found.distance >= exact * (1 - 1e-9)).all()
    assert ((found.points >= 0) & (found.points <= 1)).all()
    assert (found.distance <= exact * (1 + above)).all()


def test_counts_of_changed_elements_are_near_the_least() -> None:
    model, weight, x, y = linear(4, d=12)
    found = minimum(FMN(), model, x, y, 0)
    exact = linear_distance(weight, x, y, 0, clip=True)
    assert (found.distance >= exact).all()
    assert (found.distance <= exact + 1).all()
    assert (found.distance == exact).double().mean() >= 0.5


@pytest.mark.parametrize(
    ("attack", "norm", "share"),
    [
        (FMN(), 1, 0.6),
        (FMN(), 2, 0.75),
        (FMN(), INF, 0.75),
        (DDN(), 2, 0.75),
        (SuperDeepFool(), 2, 0.4),
        (DeepFool(), INF, 0.2),
    ],
    ids=str,
)
def test_near_the_optimum_of_a_small_network(attack: DistanceAttack, norm: float, share: float) -> None:
    model = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
    x = uniform(20, 2, seed=5)
    y = right_answers(model, x)
    found, true = minimum(attack, model, x, y, norm), grid_distance(model, x, y, norm)
    assert (model(found.points).argmax(1) != y)[found.found].all()
    assert (found.points[~found.found] == x[~found.found]).all()
    assert (found.distance >= 0.9 * true - 0.005).all()
    assert (found.distance <= 1.02 * true + 0.005).double().mean() >= share


@pytest.mark.parametrize("attack", [FMN(5), DDN(5), DeepFool(5), SuperDeepFool(5)], ids=str)
def test_failure_returns_the_start_at_an_infinite_distance(attack: DistanceAttack) -> None:
    model = model_of(lambda z: torch.stack([10 + z.sum(1), z[:, 0]], dim=1), (4,), 2, (0.0, 1.0))
    x = uniform(6, 4, seed=1)
    found = minimum(attack, model, x, torch.zeros(6).long(), 2)
    assert (found.distance == INF).all()
    assert not found.found.any()
    assert torch.equal(found.points, x)


@pytest.mark.parametrize("attack", [FMN(30), DDN(30), DeepFool(), SuperDeepFool()], ids=str)
def test_distances_are_of_the_points_and_samples_wrong_at_the_start_are_at_0(attack: DistanceAttack) -> None:
    model, _, x, y = linear(4)
    model = replace(model, input_range=None)
    y = torch.where(torch.arange(8) < 3, (y + 1) % 4, y)
    found = minimum(attack, model, x.float(), y, 2)
    exact = torch.linalg.vector_norm(found.points.double() - x.float().double(), dim=1)
    torch.testing.assert_close(found.distance, exact, rtol=1e-12, atol=0)
    assert (found.distance[:3] == 0).all()
    assert (found.distance[3:] > 0).all()


def test_a_search_ends_where_near_is_near_enough() -> None:
    model, _, x, y = linear(4)
    query = Query(model, x, y, L2(10.0), tuple(range(8)))
    short, long = FMN().decide(query, Run()), minimum(FMN(), model, x, y, 2)
    assert all(each.witness is not None for each in short)
    assert all(int(each.detail["forwards"]) < 50 for each in short)
    away = torch.tensor([float(each.detail["distance"]) for each in short], dtype=torch.float64)
    assert (away >= long.distance * (1 - 1e-9)).all()
    full = Minimum(FMN()).decide(query, Run())
    assert [each.detail["distance"] for each in full] == long.distance.tolist()
    assert [each.decider for each in full] == [repr(FMN())] * 8


def test_shorten_finds_the_nearest_failure_on_the_way_and_survives_values_that_are_no_numbers() -> None:
    def forward(z: torch.Tensor) -> torch.Tensor:
        value = 0.3 - z[:, 0] ** 3
        return torch.stack([torch.where(z[:, 1] > 0.5, torch.nan, value), torch.zeros_like(value)], dim=1)

    model = model_of(forward, (2,), 2, (0.0, 1.0))
    x = torch.tensor([[0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    problem = nearby(Query(model, x, torch.zeros(2).long(), L2(1.0), (0, 1)), 2, "k", Run())
    ends = torch.tensor([[1.0, 0.0], [0.9, 0.4]], dtype=torch.float64)
    away = problem.distance(ends)
    found = shorten(problem, Nearest(ends, away, away, torch.zeros(2, dtype=torch.bool)), 12)
    root = 0.3 ** (1 / 3)
    torch.testing.assert_close(found.points[0, 0], torch.tensor(root).double(), rtol=1e-4, atol=0)
    assert (found.points[:, 0] >= root).all()
    assert (found.distance < away).all()
    stuck = nearby(Query(model, x, torch.zeros(2).long(), L2(1.0), (0, 1)), 2, "k", Run())
    blind = torch.tensor([[1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    away = stuck.distance(blind)
    kept = shorten(stuck, Nearest(blind, away, away, torch.zeros(2, dtype=torch.bool)), 5)
    assert kept.points.isfinite().all()


@pytest.mark.parametrize(
    ("attack", "threat", "norms"),
    [(DDN(), Linf(0.1), "2"), (DeepFool(), L1(0.1), "2, inf"), (SuperDeepFool(), Linf(0.1), "2")],
    ids=str,
)
def test_other_norms_are_not_supported(attack: DistanceAttack, threat: Budgeted, norms: str) -> None:
    model, _, x, y = linear(2)
    reason = attack.supports(Query(model, x, y, threat, tuple(range(8))))
    assert reason is not None
    assert f"norms {norms}" in reason


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (FMN, {"steps": 0}),
        (FMN, {"searches": -1}),
        (FMN, {"alpha": 0.0}),
        (FMN, {"gamma": 1.5}),
        (FMN, {"growth": math.nan}),
        (FMN, {"loss": "hinge"}),
        (DDN, {"steps": 0}),
        (DDN, {"gamma": 0.0}),
        (DDN, {"radius": INF}),
        (DDN, {"loss": "hinge"}),
        (DeepFool, {"steps": 0}),
        (DeepFool, {"overshoot": -0.1}),
        (SuperDeepFool, {"tolerance": 2.0}),
    ],
)
def test_wrong_settings_are_named(kind: type[DistanceAttack], arguments: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(arguments))):
        kind(**arguments)
