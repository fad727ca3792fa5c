"""Square Attack: by scores alone, in boxes and balls, on inputs of any shape."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import bounds
from certify.attacks import Square
from certify.attacks.base import Problem
from certify.attacks.moves import Planes, bumps
from certify.errors import UsageError
from certify.evidence import Decider
from certify.query import Query
from certify.run import Run
from certify.threat import L0, L1, L2, Budgeted, Linf
from tests.certify.attacks.conformance import AttackConformance
from tests.certify.attacks.test_attacks import Recorder, linear_problem
from tests.certify.toys import mlp, model_of, right_answers, uniform

THREATS = [Linf(0.2), L2(0.3), L1(0.4)]


@pytest.mark.parametrize("budget", THREATS, ids=repr)
class TestSquare(AttackConformance):
    @pytest.fixture(autouse=True)
    def _budget(self, budget: Budgeted) -> None:
        self.budget = budget

    @property
    def weak(self) -> bool:
        """In the box its points are corners, the optimum of a linear model; in a ball it comes near."""
        return self.budget.norm != math.inf

    def decider(self) -> Decider:
        return Square(queries=60)

    def threat(self) -> Budgeted:
        return self.budget


@pytest.mark.parametrize("shape", [(12,), (3, 4), (1, 3, 4), (3, 2, 2), (2, 1, 2, 3)], ids=str)
def test_exact_on_linear_models_in_boxes_of_any_shape(shape: tuple[int, ...]) -> None:
    x = uniform(4, 12, seed=4)
    problem, (row,) = linear_problem(2, bounds.Ball(x, 0.4, math.inf, clip=(0.0, 1.0)), x)
    box = problem.region.box()
    exact = 100 + torch.where(row > 0, box.lower, box.upper) @ row
    region = bounds.Box(box.lower.view(-1, *shape), box.upper.view(-1, *shape))
    shaped = replace(
        problem, forward=lambda z: problem.forward(z.flatten(1)), region=region, start=x.view(-1, *shape)
    )
    found = Square(queries=600).find(shaped)
    torch.testing.assert_close(found.deciding, exact)


@pytest.mark.parametrize("norm", [2, 1])
@pytest.mark.parametrize("clip", [None, (0.0, 1.0)])
def test_uses_a_ball_up_to_its_border(norm: float, clip: tuple[float, float] | None) -> None:
    x, eps = uniform(6, 36, seed=4), 0.5
    problem, (row,) = linear_problem(2, bounds.Ball(x, eps, norm, clip), x)
    shaped = replace(
        problem,
        forward=lambda z: problem.forward(z.flatten(1)),
        region=bounds.Ball(x.view(-1, 1, 6, 6), eps, norm, clip),
        start=x.view(-1, 1, 6, 6),
    )
    first, last = (Square(queries=n).find(shaped) for n in (1, 400))
    best = eps * torch.linalg.vector_norm(row, ord=2 if norm == 2 else math.inf)
    clean = 100 + x @ row
    assert (clean - last.deciding <= best + 1e-9).all()
    assert (clean - last.deciding >= 0.3 * best).all()
    assert (last.deciding < first.deciding).all()


@pytest.mark.parametrize("norm", [math.inf, 2, 1])
@pytest.mark.parametrize("eps", [0.0, 1e-9, 2 / 255, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_point_looked_at_lies_in_the_set(norm: float, eps: float, dtype: torch.dtype) -> None:
    x = uniform(8, 9, seed=2, dtype=dtype)
    x[:, 0], x[:, 1] = 0.0, 1.0
    for clip in (None, (0.0, 1.0)):
        region, net = bounds.Ball(x, eps, norm, clip), Recorder(9, dtype)
        spec = bounds.margins(torch.zeros(8, dtype=torch.long), 3).to(dtype)
        Square(30).find(Problem(net, region, spec, x, tuple(range(8)), "k", Run()))
        assert len(net.seen) == 30
        for points in net.seen:
            assert region.contains(points).all()


def test_needs_no_gradients_and_counts_its_queries() -> None:
    def forward(z: Tensor) -> Tensor:
        score = (z.detach() > 0.5).to(z).flatten(1).sum(1)
        return torch.stack([7.5 - score, torch.zeros_like(score)], dim=1)

    x = torch.full((3, 1, 3, 3), 0.4)
    query = Query(model_of(forward, (1, 3, 3)), x, torch.zeros(3).long(), Linf(0.2), (0, 1, 2))
    assert Square().supports(query) is None
    answers = Square(queries=500).decide(query, Run())
    assert all(each.witness is not None for each in answers)
    few = Square(queries=7).decide(replace(query, threat=Linf(0.05)), Run())
    assert {(e.detail["forwards"], e.detail["backwards"]) for e in few} == {(7, 0)}


def test_does_not_see_how_the_outputs_came_about() -> None:
    seen: list[bool] = []

    def forward(z: Tensor) -> Tensor:
        y = torch.stack([z.flatten(1).sum(1) + 100, z.flatten(1).sum(1)], dim=1)
        seen.append(y.requires_grad)
        return y

    query = Query(model_of(forward, (4,)), torch.zeros(2, 4), torch.zeros(2).long(), Linf(0.1), (0, 1))
    Square(5).decide(query, Run())
    assert seen == [False] * 5


def test_windows_shrink_as_published_and_fit_the_input() -> None:
    attack = Square(10_000)
    shares = [attack._share(query) for query in (1, 10, 11, 50, 51, 201, 1001, 2001, 4001, 6001, 8001)]
    assert [0.8 / share for share in shares] == [1, 1, 2, 2, 4, 8, 16, 32, 64, 128, 256]
    assert [Square(5000)._share(query) for query in (5, 6)] == [0.8, 0.4]
    assert Planes.of((3, 32, 32)).sides(0.8, 1) == (29, 29)
    assert Planes.of((784,)).sides(0.1, 1) == (1, 78)
    assert Planes.of((3, 4, 100)).sides(0.5, 1) == (4, 50)
    assert Planes.of((2, 2, 2, 2)).channels == 4
    assert Planes.of((5,)).sides(1e-6, 3) == (1, 3)


def test_bumps_have_two_signs_and_a_peak_inside() -> None:
    for height, width in ((7, 7), (1, 9), (9, 1), (3, 5)):
        pattern = bumps(height, width)
        assert pattern.shape == (height, width)
        assert (pattern > 0).any()
        assert (pattern < 0).any()
    assert int(bumps(7, 7)[:, :3].argmax()) // 3 == 3  # of seven rows the middle one


def test_other_sets_are_refused_with_a_way_out() -> None:
    model = mlp((2, 8, 3), valid=(0.0, 1.0))
    x = uniform(2, 2, seed=1)
    query = Query(model, x, right_answers(model, x), L0(1), (0, 1))
    assert "try PGD" in str(Square().supports(query))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"queries": 0}, "queries"), ({"p_init": 0.0}, "p_init"), ({"p_init": 2}, "p_init")],
)
def test_wrong_settings_are_named(arguments: dict[str, int], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Square(**arguments)
