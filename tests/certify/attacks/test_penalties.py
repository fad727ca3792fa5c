"""Carlini & Wagner, EAD, ALMA and sigma-zero: near the optimum of linear models and of small networks."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from certify.attacks import ALMA, EAD, CarliniWagner, CarliniWagnerLinf, SigmaZero
from certify.attacks.minimal import Minimal
from certify.attacks.penalty import Constant, Moments
from certify.errors import UsageError
from certify.evidence import Decider
from certify.model import Model
from certify.threat import Budgeted
from tests.certify.attacks.conformance import AttackConformance
from tests.certify.attacks.oracles import BUDGETS, grid_distance, linear, linear_distance, minimum
from tests.certify.toys import mlp, model_of, normal, right_answers, uniform

# The attack, its norm, and how far from the optimum of linear models it may end.
CASES: list[tuple[Minimal[Any], float, float]] = [
    (CarliniWagner(steps=80), 2, 0.01),
    (CarliniWagnerLinf(), math.inf, 0.05),
    (EAD(9, 120, beta=20.0), 1, 0.015),
    (ALMA(), 2, 0.02),
    (SigmaZero(steps=100), 0, 0.0),
]
QUICK: list[tuple[Minimal[Any], float]] = [
    (CarliniWagner(2, 30), 2),
    (CarliniWagnerLinf(2, 40), math.inf),
    (EAD(2, 30, searches=4), 1),
    (ALMA(40), 2),
    (SigmaZero(40), 0),
]


@pytest.mark.parametrize(("attack", "norm"), QUICK, ids=str)
class TestPenalties(AttackConformance):
    @pytest.fixture(autouse=True)
    def _case(self, attack: Minimal[Any], norm: float) -> None:
        self.attack, self.budget = attack, BUDGETS[norm]

    def decider(self) -> Decider:
        return self.attack

    def threat(self) -> Budgeted:
        return self.budget


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(("attack", "norm", "excess"), CASES, ids=str)
def test_near_the_optimum_of_linear_models(
    attack: Minimal[Any], norm: float, excess: float, classes: int, clip: bool
) -> None:
    clip = clip or norm == 0
    model, weight, x, y = linear(classes, valid=(0.0, 1.0) if clip else None)
    found = minimum(attack, model, x, y, norm)
    exact = linear_distance(weight, x, y, norm, clip)
    assert (_margins(model, found.points, y) <= 1e-12).all()  # a tie is a failure
    ratio = found.distance / exact
    assert (ratio >= 1 - 1e-9).all()
    assert (ratio <= 1 + excess).double().mean() >= 0.75, ratio
    assert (ratio <= 2).all()


def _margins(model: Model, points: Tensor, y: Tensor) -> Tensor:
    outputs = model(points)
    others = outputs.scatter(1, y[:, None], -math.inf).amax(1)
    return outputs.gather(1, y[:, None])[:, 0] - others


@pytest.mark.parametrize("beta", [0.01, 0.3, 3.0])
def test_ead_finds_the_least_elastic_net_of_a_linear_model(beta: float) -> None:
    model, weight, x, y = linear(2, valid=None)
    found = minimum(EAD(beta=beta, rule="EN"), model, x, y, 1)
    row = (weight[1] - weight[0]) * (1 - 2 * y[:, None])
    exact = _least_net(row, -(row * (x - 0.5)).sum(1), beta)
    assert (found.rank >= exact * (1 - 1e-9)).all()
    torch.testing.assert_close(found.rank, exact, rtol=0.02, atol=0)
    delta = (found.points - x).flatten(1)
    torch.testing.assert_close(found.rank, (delta**2).sum(1) + beta * delta.abs().sum(1))
    torch.testing.assert_close(found.distance, delta.abs().sum(1))


def _least_net(row: Tensor, gap: Tensor, beta: float) -> Tensor:
    """min |d|^2 + beta |d|_1 with row . d = gap, by bisection on the multiplier: d shrinks towards it."""
    low, high = torch.zeros_like(gap), torch.full_like(gap, 1e4)
    for _ in range(100):
        middle = (low + high) / 2
        step = row.sign() * (middle[:, None] * row.abs() - beta).clamp(min=0) / 2
        short = (row * step).sum(1) < gap
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return (step**2).sum(1) + beta * step.abs().sum(1)


@pytest.mark.parametrize(("attack", "norm", "excess"), CASES[:-1], ids=str)
def test_near_the_optimum_of_a_small_network(attack: Minimal[Any], norm: float, excess: float) -> None:
    model = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
    x = uniform(20, 2, seed=5)
    y = right_answers(model, x)
    found = minimum(attack, model, x, y, norm)
    true = grid_distance(model, x, y, norm)
    assert (_margins(model, found.points, y)[found.found] <= 1e-12).all()
    assert (found.points[~found.found] == x[~found.found]).all()
    assert (found.distance >= 0.9 * true - 0.005).all()
    assert (found.distance <= (1 + excess) * true + 0.005).double().mean() >= 0.7


def test_sigma_zero_finds_the_fewest_elements_of_a_small_network() -> None:
    model = mlp((4, 16, 16, 3), valid=(0.0, 1.0), seed=4)
    x = uniform(12, 4, seed=5)
    y = right_answers(model, x)
    found = minimum(SigmaZero(steps=150), model, x, y, 0)
    fewest = torch.stack([_fewest(model.forward, *each) for each in zip(x, y, strict=True)])
    assert fewest.isfinite().all()
    assert fewest.max() > 1
    assert (found.distance >= fewest).all()
    assert (found.distance == fewest).double().mean() >= 0.9


def _fewest(forward: Any, x: Tensor, label: Tensor) -> Tensor:
    """The least number of elements whose change to a point of a grid changes the answer."""
    ticks = torch.linspace(0, 1, 21, dtype=x.dtype)
    for count in range(1, len(x)):
        for places in itertools.combinations(range(len(x)), count):
            points = x.repeat(len(ticks) ** count, 1)
            points[:, list(places)] = torch.cartesian_prod(*[ticks] * count).view(-1, count)
            if (forward(points).argmax(1) != label).any():
                return torch.tensor(float(count), dtype=x.dtype)
    return torch.tensor(math.inf, dtype=x.dtype)


@pytest.mark.parametrize(("attack", "norm"), QUICK, ids=str)
@pytest.mark.parametrize("scale", [1e3, 1e-4])
def test_the_scale_of_logits_changes_no_distance(attack: Minimal[Any], norm: float, scale: float) -> None:
    distances = []
    for factor in (1.0, scale):
        model, _, x, y = linear(4, scale=factor)
        distances.append(minimum(attack, model, x, y, norm).distance)
    torch.testing.assert_close(*distances, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("unit", [1e-3, 255.0])
@pytest.mark.parametrize("attack", [CarliniWagner(2, 30), CarliniWagnerLinf(2, 40), ALMA(40)], ids=repr)
def test_the_unit_of_inputs_without_a_range_changes_nothing(attack: Minimal[Any], unit: float) -> None:
    model, _, x, y = linear(4, valid=None)
    (norm,) = attack.norms
    scaled = model_of(lambda z: model(z / unit), (6,), 4)
    plain = minimum(attack, model, x, y, norm).distance
    torch.testing.assert_close(minimum(attack, scaled, x * unit, y, norm).distance, unit * plain)


def test_the_constant_grows_until_one_succeeds_and_is_then_halved() -> None:
    needed = torch.tensor([0.3, 40.0, 1.0])
    constant = Constant.starting(torch.ones(3))
    tried = torch.tensor([True, True, False])
    for _ in range(12):
        constant = constant.after(tried, constant.value >= needed)
    assert constant.value[2] == 1
    assert (constant.low[:2] < needed[:2]).all()
    assert (needed[:2] <= constant.high[:2]).all()
    assert (constant.high / constant.low < 1.01)[:2].all()


def test_moments_are_those_of_adam() -> None:
    here = torch.nn.Parameter(normal(3, 4, seed=1))
    adam, moments, points = torch.optim.Adam([here], lr=0.1, eps=0), Moments.none(here), here.detach().clone()
    for step in range(5):
        here.grad = normal(3, 4, seed=10 + step)
        moments = moments.updated(here.grad)
        points = points - 0.1 * moments.direction
        adam.step()
    torch.testing.assert_close(points, here.detach())
    none = moments.forgotten(torch.tensor([True, False, True]))
    assert (none.direction[[0, 2]] == 0).all()
    assert torch.equal(none.direction[1], moments.direction[1])


@pytest.mark.parametrize("kind", [CarliniWagner, CarliniWagnerLinf, EAD, ALMA, SigmaZero])
def test_wrong_settings_are_named(kind: Any) -> None:
    for name, value in (("steps", 0), ("step_size", 0.0), ("step_size", math.nan)):
        with pytest.raises(UsageError, match=name):
            kind(**{name: value})


def test_an_unknown_rule_is_named() -> None:
    with pytest.raises(UsageError, match="EN, L1"):
        EAD(rule="L2")
