"""Black-box attacks: near the optimum where it is known, within their budgets, told no more than allowed."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch import Tensor

import bounds
from certify.attacks.base import Problem
from certify.attacks.blackbox import NES, SPSA, Boundary, GeoDA, HopSkipJump, RayS
from certify.attacks.blackbox.search import DecisionAttack, ScoreAttack
from certify.attacks.blackbox.view import decisions_of, scores_of
from certify.attacks.minimal import Nearby, nearby
from certify.decide import evaluate
from certify.errors import UsageError
from certify.evidence import Decider
from certify.model import Model
from certify.query import Query
from certify.run import Run
from certify.smoothing import Gaussian, Smoothed
from certify.threat import L2, Budgeted, Linf
from tests.certify.attacks.conformance import AttackConformance
from tests.certify.toys import mlp, model_of, normal, right_answers, uniform

BY_SCORES = [
    (NES(60, samples=10), Linf(0.2)),
    (NES(60, samples=10), L2(0.2)),
    (SPSA(60, samples=10), Linf(0.2)),
]
BY_DECISIONS = [
    (HopSkipJump(120, directions=10), L2(0.2)),
    (HopSkipJump(120, directions=10), Linf(0.2)),
    (GeoDA(120), L2(0.2)),
    (GeoDA(120), Linf(0.2)),
    (Boundary(120), L2(0.2)),
    (RayS(60), Linf(0.2)),
]
DUAL = {math.inf: 1, 2: 2}


class TestBlackBox(AttackConformance):
    weak = True

    @pytest.fixture(autouse=True, params=[*BY_SCORES, *BY_DECISIONS], ids=repr)
    def _attack(self, request: pytest.FixtureRequest) -> None:
        self.attack, self.budget = request.param

    def decider(self) -> Decider:
        return self.attack

    def threat(self) -> Budgeted:
        return self.budget


def linear(norm: float, n: int, valid: tuple[float, float] | None) -> tuple[Nearby, Tensor]:
    """A two-class linear model of six inputs, and the exact distance of each sample in the open space."""
    row, x = normal(6, seed=7), 0.5 + 0.2 * normal(n, 6, seed=3).clamp(-1, 1)
    offset = -(row * 0.5).sum() - 0.15

    def forward(z: Tensor) -> Tensor:
        score = z @ row + offset
        return torch.stack([score, torch.zeros_like(score)], dim=1)

    model = model_of(forward, (6,), 2, valid)
    y = right_answers(model, x)
    query = Query(model, x, y, L2(1.0), tuple(range(n)))
    exact = (x @ row + offset).abs() / torch.linalg.vector_norm(row, ord=DUAL[norm])
    return nearby(query, norm, "linear", Run()), exact


@pytest.mark.parametrize(
    ("attack", "norm", "slack"),
    [
        (HopSkipJump(4000), 2, 1.02),
        (HopSkipJump(4000), math.inf, 1.1),
        (GeoDA(4000), 2, 1.02),
        (GeoDA(4000), math.inf, 1.02),
        (Boundary(4000), 2, 1.02),
        (RayS(1000), math.inf, 1.01),
    ],
    ids=repr,
)
@pytest.mark.parametrize("valid", [(-2.0, 3.0), None], ids=repr)
def test_decisions_lead_near_the_optimum_of_a_linear_model(
    attack: DecisionAttack, norm: float, slack: float, valid: tuple[float, float] | None
) -> None:
    problem, exact = linear(norm, 6, valid)
    found = attack.find(problem)
    assert found.found.all()
    assert (found.distance >= exact * (1 - 1e-9)).all()
    assert (found.distance <= exact * slack + 0.005 * (norm == math.inf)).all(), found.distance / exact


@pytest.mark.parametrize(("attack", "threat"), BY_DECISIONS, ids=repr)
def test_decisions_lead_near_the_nearest_point_of_a_grid(attack: DecisionAttack, threat: Budgeted) -> None:
    """In two dimensions a grid gives the distance; a walk may end at another part of the boundary."""
    model = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
    x = uniform(12, 2, seed=5)
    y = right_answers(model, x)
    found = attack.find(nearby(Query(model, x, y, threat, tuple(range(12))), threat.norm or 0, "grid", Run()))
    ticks = torch.linspace(0, 1, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(ticks, ticks)
    classes = right_answers(model, grid)
    nearest = torch.stack(
        [
            torch.linalg.vector_norm(grid[classes != label] - point, ord=threat.norm or 2, dim=1).min()
            for point, label in zip(x, y, strict=True)
        ]
    )
    step = 2 * (ticks[1] - ticks[0])
    assert (found.distance >= nearest - step).all()
    assert (found.distance <= 1.1 * nearest + step).double().mean() >= 0.7


@pytest.mark.parametrize("attack", [NES(1500), SPSA(1500, samples=32)], ids=repr)
@pytest.mark.parametrize("norm", [math.inf, 2])
def test_scores_lead_near_the_worst_point_of_a_linear_model(attack: ScoreAttack, norm: float) -> None:
    problem, exact = linear(norm, 6, (-2.0, 3.0))
    for share, broken in ((1.05, True), (0.999, False)):
        for i, distance in enumerate(exact.tolist()):
            part = problem[torch.tensor([i])]
            region = bounds.Ball(part.start, share * distance, norm)
            inside = Problem(part.forward, region, part.spec, part.start, (i,), "k", Run())
            assert bool(attack.find(inside).broken[0]) == broken


class Counting:
    """A model that counts what it is asked, and whether gradients are recorded."""

    def __init__(self, model: Model) -> None:
        self.model, self.rows, self.graded = model, 0, False

    def __call__(self, z: Tensor) -> Tensor:
        self.rows += len(z)
        self.graded |= torch.is_grad_enabled() or z.requires_grad
        return self.model(z)


EVERY = [BY_SCORES[0][0], BY_SCORES[2][0], *(attack for attack, _ in BY_DECISIONS[1::2]), BY_DECISIONS[4][0]]


@pytest.mark.parametrize("attack", EVERY, ids=repr)
@pytest.mark.parametrize("queries", [2, 3, 17, 150])
def test_queries_are_counted_exactly_and_never_exceed_the_budget(attack: Decider, queries: int) -> None:
    attack = type(attack)(queries)
    model = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
    x = uniform(6, 2, seed=5)
    y = right_answers(model, x)
    threat = L2(0.02) if isinstance(attack, Boundary) else Linf(0.02)
    counts: Counter[int] = Counter()
    for i in range(len(x)):
        forward = Counting(model)
        alone = Query(model_of(forward, (2,), 3, (0.0, 1.0)), x[i : i + 1], y[i : i + 1], threat, (i,))
        (evidence,) = attack.decide(alone, Run())
        counts[i] = forward.rows
        assert evidence.detail["forwards"] == forward.rows <= queries
        assert evidence.detail["backwards"] == 0
        assert not forward.graded
    forward = Counting(model)
    together = attack.decide(
        Query(model_of(forward, (2,), 3, (0.0, 1.0)), x, y, threat, tuple(range(len(x)))), Run()
    )
    assert forward.rows == counts.total()
    assert {each.sample: each.detail["forwards"] for each in together} == dict(counts)


def test_a_view_gives_no_more_answers_than_the_budget_whatever_is_asked() -> None:
    problem, _ = linear(2, 3, (-2.0, 3.0))
    rows: list[int] = []
    forward = problem.forward
    problem = Nearby(**{**vars(problem), "forward": lambda z: rows.append(len(z)) or forward(z)})

    class Nothing:
        def note(self, index: Tensor, points: Tensor, values: Tensor, given: Tensor) -> None: ...

        def settled(self, index: Tensor) -> Tensor:
            return torch.zeros(len(index), dtype=torch.bool)

    far = 3 - 5 * (problem.spec.matrix[:, 0, :1] < 0).double() * torch.ones(3, 6)
    view = decisions_of(problem, 5, Nothing())
    for _ in range(3):
        view.broken(far[:, None].expand(3, 4, 6))
    assert sum(rows) == 15
    assert view.over.all()
    assert not view[torch.tensor([0])].broken(far[:1, None]).any()
    assert sum(rows) == 15
    scores = scores_of(problem, 7, Nothing())  # the tally is the problem's: two are left
    first = scores.values(problem.start[:, None].expand(3, 4, 6))
    assert first.isfinite().all(2).tolist() == [[True, True, False, False]] * 3
    assert sum(rows) == 21


@pytest.mark.parametrize("attack", EVERY, ids=repr)
def test_no_gradients_are_needed(attack: Decider) -> None:
    """A step function, which a gradient attack refuses."""

    def forward(z: Tensor) -> Tensor:
        score = (z.mean(1) * 1024).floor() / 1024 - 0.6
        return torch.stack([-score, score], dim=1)

    model = model_of(forward, (4,), 2, (0.0, 1.0))
    x = uniform(5, 4, seed=1) * 0.9
    threat = L2(1.0) if isinstance(attack, Boundary) else Linf(0.5)
    query = Query(model, x, right_answers(model, x), threat, tuple(range(5)))
    assert attack.supports(query) is None
    result = evaluate(model, x, query.y, threat, [type(attack)(1000)])
    assert sum(each.witness is not None for each in result.samples) >= (
        3 if isinstance(attack, ScoreAttack) else 5
    )


def test_more_queries_come_nearer() -> None:
    for attack, norm in ((HopSkipJump, 2), (Boundary, 2), (GeoDA, 2), (RayS, math.inf)):
        few, many = (attack(q).find(linear(norm, 6, (-2.0, 3.0))[0]).distance.mean() for q in (20, 1000))
        assert many < few


def test_a_sample_without_any_failure_is_at_infinity() -> None:
    model = model_of(lambda z: torch.stack([z[:, 0] * 0 + 1, z[:, 0] * 0], dim=1), (3,), 2, (0.0, 1.0))
    x = uniform(3, 3, seed=1)
    for attack, threat in BY_DECISIONS:
        query = Query(model, x, torch.zeros(3).long(), threat, (0, 1, 2))
        problem = nearby(query, threat.norm or 0, "k", Run())
        found = attack.find(problem)
        assert (found.distance == math.inf).all()
        assert torch.equal(found.points, x)
        assert max(problem.tally.forwards.values()) <= attack.queries


def test_models_that_answer_by_sampling_are_refused() -> None:
    base = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
    x = uniform(3, 2, seed=5)
    query = Query(Smoothed(base, Gaussian(0.1)), x, right_answers(base, x), L2(0.2), (0, 1, 2))
    for attack in (NES(), HopSkipJump()):
        assert "sampling" in (attack.supports(query) or "")


@pytest.mark.parametrize(
    ("kind", "arguments", "named"),
    [
        *((kind, {"queries": 1}, "queries") for kind in (NES, SPSA, Boundary, GeoDA, HopSkipJump, RayS)),
        (NES, {"samples": 1}, "samples"),
        (NES, {"sigma": 0.0}, "sigma"),
        (SPSA, {"delta": math.nan}, "delta"),
        (SPSA, {"step_size": -1.0}, "step_size"),
        (NES, {"loss": "hinge"}, "cross-entropy"),
        (HopSkipJump, {"directions": 0}, "directions"),
        *((kind, {"subspace": 0.0}, "subspace") for kind in (Boundary, GeoDA, HopSkipJump)),
    ],
)
def test_wrong_settings_are_named(kind: type, arguments: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        kind(**arguments)
