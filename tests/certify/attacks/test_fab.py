"""FAB: exact on linear models, near the optimum on small networks."""

from __future__ import annotations

import math

import pytest
import torch

from certify.attacks import FAB
from certify.errors import UsageError
from certify.evidence import Decider
from certify.threat import Budgeted
from tests.certify.attacks.conformance import AttackConformance
from tests.certify.attacks.oracles import BUDGETS, grid_distance, linear, linear_distance, minimum
from tests.certify.toys import mlp, right_answers, uniform

NORMS = [1, 2, math.inf]
CASES = [
    (FAB(steps=6), math.inf),
    (FAB(steps=6, targets=9), math.inf),
    (FAB(steps=6), 2),
    (FAB(steps=4, restarts=2, targets=2), 1),
]


@pytest.mark.parametrize(("attack", "norm"), CASES, ids=str)
class TestFAB(AttackConformance):
    @pytest.fixture(autouse=True)
    def _case(self, attack: FAB, norm: float) -> None:
        self.attack, self.budget = attack, BUDGETS[norm]

    def decider(self) -> Decider:
        return self.attack

    def threat(self) -> Budgeted:
        return self.budget


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("attack", [FAB(steps=10), FAB(steps=10, targets=9)], ids=repr)
def test_exact_on_linear_models(attack: FAB, classes: int, clip: bool, norm: float) -> None:
    model, weight, x, y = linear(classes, valid=(0.0, 1.0) if clip else None)
    found = minimum(attack, model, x, y, norm)
    exact = linear_distance(weight, x, y, norm, clip)
    assert (found.distance >= exact * (1 - 1e-9)).all()
    # Going beyond a plane in a box leaves the line to its nearest point.
    torch.testing.assert_close(found.distance, exact, rtol=3e-3 if clip else 1e-5, atol=1e-9)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("attack", "share"), [(FAB(30), 0.6), (FAB(30, restarts=5, targets=2), 0.85)], ids=str
)
def test_near_the_optimum_of_a_small_network(attack: FAB, share: float, norm: float) -> None:
    model = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
    x = uniform(20, 2, seed=5)
    y = right_answers(model, x)
    found = minimum(attack, model, x, y, norm)
    true = grid_distance(model, x, y, norm)
    assert (model(found.points).argmax(1) != y)[found.found].all()
    assert (found.points[~found.found] == x[~found.found]).all()
    assert (found.distance >= 0.9 * true - 0.005).all()
    assert (found.distance <= 1.02 * true + 0.005).double().mean() >= share


def test_restarts_never_find_much_less() -> None:
    model = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
    x = uniform(20, 2, seed=5)
    y = right_answers(model, x)
    one, three = (minimum(FAB(steps=5, restarts=r), model, x, y, 2).distance for r in (1, 3))
    assert (three <= one * 1.01).all()  # the last search may end elsewhere
    assert (three < one * 0.9).any()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"steps": 0}, "steps"),
        ({"restarts": 0}, "restarts"),
        ({"targets": -1}, "targets"),
        ({"searches": -1}, "searches"),
        ({"alpha_max": 1.5}, "alpha_max"),
        ({"eta": 0.9}, "eta"),
        ({"beta": math.nan}, "beta"),
    ],
)
def test_wrong_settings_are_named(arguments: dict[str, float], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        FAB(**arguments)
