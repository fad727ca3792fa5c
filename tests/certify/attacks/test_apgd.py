"""Auto-PGD, Square and their ensemble: exact where that can be known, and what the papers prescribe."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import bounds
from certify.attacks import APGD, LOSSES, Square
from certify.attacks.base import search
from certify.attacks.losses import aimed_dlr, dlr
from certify.attacks.momentum import _windows
from certify.errors import UsageError
from certify.evidence import Decider
from certify.query import Query
from certify.run import Run
from certify.threat import L1, L2, Budgeted, Linf
from tests.certify.attacks.conformance import AttackConformance
from tests.certify.attacks.test_attacks import _smallest_in_ball_and_cube, linear_problem
from tests.certify.toys import grid_margins, mlp, model_of, normal, right_answers, uniform

NORMS = [math.inf, 2, 1]
BUDGETS: dict[float, Budgeted] = {math.inf: Linf(0.2), 2: L2(0.3), 1: L1(0.4)}
DUAL = {math.inf: 1, 2: 2, 1: math.inf}
CASES = [
    (APGD(10), math.inf),
    (APGD(10, loss="dlr", targets=9), math.inf),
    (APGD(10, loss="dlr"), 2),
    (APGD(8, restarts=2, loss="margin", targets=2), 1),
]


@pytest.mark.parametrize(("attack", "norm"), CASES, ids=str)
class TestAPGD(AttackConformance):
    @pytest.fixture(autouse=True)
    def _case(self, attack: APGD, norm: float) -> None:
        self.attack, self.budget = attack, BUDGETS[norm]

    def decider(self) -> Decider:
        return self.attack

    def threat(self) -> Budgeted:
        return self.budget


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("classes", "attack"),
    [
        (2, APGD(100)),
        (2, APGD(100, loss="dlr", targets=9)),
        (4, APGD(100, loss="margin", targets=9)),
        (6, APGD(100, loss="margin", targets=9)),
    ],
    ids=str,
)
def test_exact_on_linear_models(norm: float, classes: int, attack: APGD) -> None:
    x, eps = normal(5, 6, seed=3), 0.7
    problem, rows = linear_problem(classes, bounds.Ball(x, eps, norm), x)
    worst = (x @ rows.T + 100 - eps * torch.linalg.vector_norm(rows, ord=DUAL[norm], dim=1)).min(1).values
    torch.testing.assert_close(search(attack, problem).deciding, worst, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", [APGD(100), APGD(100, loss="margin", targets=1)], ids=repr)
def test_close_to_the_optimum_where_a_range_cuts_the_ball(attack: APGD, norm: float) -> None:
    x, eps = uniform(8, 6, seed=4), 0.8
    problem, (row,) = linear_problem(2, bounds.Ball(x, eps, norm, clip=(0.0, 1.0)), x)
    clean = 100 + x @ row
    if norm == math.inf:
        exact = clean - torch.where(row > 0, x.clamp(max=eps), (1 - x).clamp(max=eps)) @ row.abs()
    else:
        exact = clean + _smallest_in_ball_and_cube(row, x, eps, norm)
    found = search(attack, problem).deciding
    assert (found >= exact - 1e-9).all()
    # The steps in balls of the norm 1 end at a tenth of the radius.
    assert (found <= exact + (0.1 if norm == 1 else 0.01) * (clean - exact)).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "attack", [APGD(50, 3, loss="dlr"), APGD(50, 2, loss="margin", targets=2), Square(400)], ids=str
)
def test_breaks_what_a_grid_breaks_in_two_dimensions(attack: Decider, norm: float) -> None:
    model = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
    x = uniform(30, 2, seed=5)
    y = right_answers(model, x)
    query = Query(model, x, y, BUDGETS[norm], tuple(range(30)))
    worst = grid_margins(model, query.region, y)
    found = torch.tensor([each.witness is not None for each in attack.decide(query, Run())])
    assert not found[worst > 1e-2].any()
    breakable = worst < -1e-2
    assert breakable.sum() >= 5
    assert found[breakable].double().mean() >= (0.85 if isinstance(attack, Square) else 0.99)


def reference_dlr(logits: Tensor, label: int, target: int | None) -> float:
    """From the logits themselves, as the paper writes it."""
    z: list[float] = logits.tolist()
    order = sorted(z, reverse=True)
    if target is None:
        return -(z[label] - max(v for j, v in enumerate(z) if j != label)) / (order[0] - order[2])
    return -(z[label] - z[target]) / (order[0] - (order[2] + order[3]) / 2)


@pytest.mark.parametrize("classes", [4, 5, 10])
def test_logit_ratios_come_from_margins_alone(classes: int) -> None:
    logits, labels = normal(20, classes, seed=classes), torch.arange(20) % classes
    values = bounds.margins(labels, classes).to(torch.float64).evaluate(logits)
    for clause in range(classes - 1):
        aimed = aimed_dlr(torch.full((20,), clause))(values)
        for row, label, got, plain in zip(logits, labels.tolist(), aimed, dlr(values), strict=True):
            target = clause if clause < label else clause + 1
            assert float(got) == pytest.approx(reference_dlr(row, label, target))
            assert float(plain) == pytest.approx(reference_dlr(row, label, None))


def test_logit_ratios_fall_back_to_margins_and_survive_ties() -> None:
    values = normal(6, 2, seed=1)
    torch.testing.assert_close(dlr(values), LOSSES["margin"](values))
    torch.testing.assert_close(aimed_dlr(torch.ones(6).long())(values), -values[:, 1])
    tied = torch.zeros(2, 5, dtype=torch.float64, requires_grad=True)
    for loss in (dlr, aimed_dlr(torch.zeros(2).long())):
        value = loss(tied)
        assert value.isfinite().all()


def test_checkpoints_are_those_of_the_paper() -> None:
    ends = list(_windows(100))
    assert ends == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(_windows(100).values()) == [22, 19, 16, 13, 10, 7, 6, 6]
    assert list(_windows(1)) == [1]


def test_sparse_steps_change_few_elements() -> None:
    """In a wide ball of the norm 1 the optimum of a linear model is at a few elements of the range."""
    x = uniform(6, 60, seed=4)
    problem, _ = linear_problem(2, bounds.Ball(x, 3.0, 1, clip=(0.0, 1.0)), x)
    found = search(APGD(100), problem)
    changed = ((found.points - x).abs() > 1e-6).sum(1)
    assert (changed <= 12).all()
    assert problem.region.contains(found.points).all()


def test_targets_side_by_side_cost_and_find_what_they_should() -> None:
    """Class 1 is a dead end everywhere; class 2 is reached by going the other way."""

    def forward(z: Tensor) -> Tensor:
        a = z[:, 0]
        far = torch.full_like(a, -50.0)
        return torch.stack([torch.zeros_like(a), (a - 2).clamp(max=-0.1), -1 - 3 * a, far, far - 1], dim=1)

    x = torch.full((10, 1), 1.5)
    query = Query(model_of(forward, (1,), 5), x, torch.zeros(10).long(), Linf(2.0), tuple(range(10)))
    answers = APGD(20, 1, "margin", targets=4).decide(query, Run())
    assert all(each.witness is not None for each in answers)
    robust = Query(query.model, x, query.y, Linf(0.1), query.samples)
    answers = APGD(20, 1, "margin", targets=9).decide(robust, Run())
    assert all(each.witness is None for each in answers)
    # Four targets exist: three side by side and one more, each 21 looks, and two looks at the start.
    assert {each.detail["forwards"] for each in answers} == {4 * 21 + 2}


@pytest.mark.parametrize("norm", [math.inf, 2])
def test_climbs_begin_at_the_best_point_for_the_mean_gradient(norm: float) -> None:
    """A linear model has one gradient, so that its worst point is the first that is looked at."""
    x = normal(5, 6, seed=3)
    problem, (row,) = linear_problem(2, bounds.Ball(x, 0.7, norm), x)
    worst = x @ row + 100 - 0.7 * torch.linalg.vector_norm(row, ord=DUAL[norm])
    begun = APGD(8).init(problem, 0)
    torch.testing.assert_close(100 + begun.points @ row, worst)
    assert begun.whole == 4
    published = APGD(8, probes=0).init(problem, 0)
    assert published.whole == 8
    assert (100 + published.points @ row > worst + 1e-3).all()


def test_a_mean_gradient_of_zero_says_nothing() -> None:
    """Where no probe has a gradient, the climb begins at a random point: one may be found on the way."""
    x = torch.full((3, 2), 0.5)
    flat = model_of(lambda z: torch.stack([z.sum(1) * 0 + 1, z.sum(1) * 0], 1), (2,), 2)
    problem = APGD().problem(Query(flat, x, torch.zeros(3).long(), Linf(0.2), (0, 1, 2)), Run())
    begun = APGD().init(problem, 0).points
    assert torch.equal(begun, APGD(probes=0).init(replace(problem, key=repr(APGD())), 0).points)
    assert (begun != x).all()


def test_restarts_never_find_less() -> None:
    model = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
    x = uniform(40, 2, seed=5)
    query = Query(model, x, right_answers(model, x), L2(0.15), tuple(range(40)))
    weak, strong = (
        {e.sample for e in APGD(5, restarts=r).decide(query, Run()) if e.witness is not None} for r in (1, 4)
    )
    assert weak <= strong


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"steps": 0}, "steps"),
        ({"restarts": 0}, "restarts"),
        ({"targets": -1}, "targets"),
        ({"probes": -1}, "probes"),
        ({"loss": "hinge"}, "cross-entropy"),
        ({"targets": 3}, "targeted loss"),
    ],
)
def test_wrong_settings_are_named(arguments: dict[str, int], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        APGD(**arguments)
