"""Tables: per-feature budgets, kinds of features, and attacks against the enumeration of all rows."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from certify.attacks import PGD
from certify.decide import evaluate
from certify.deterministic import CROWN
from certify.errors import UsageError
from certify.query import Query
from certify.run import Run
from certify.threat import PatchAt, Tabular, Threat
from certify.verdict import Verdict
from tests.certify.toys import mlp, model_of, right_answers, uniform

# number, integer, number that stays, three categories, two categories that stay
THREAT = Tabular(
    eps=(0.3, 2.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5),
    low=(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    high=(1.0, 5.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    integers=(1,),
    immutable=(2,),
    groups=((3, 4, 5), (6, 7)),
)


def rows(n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    x = uniform(n, 8, seed=3)
    x[:, 1] = (6 * x[:, 1]).floor()
    for group in ([3, 4, 5], [6, 7]):
        x[:, group] = torch.nn.functional.one_hot(x[:, group].argmax(1), len(group)).double()
    return x.to(dtype)


def every_row(x: Tensor, steps: int = 301) -> Tensor:
    """All rows that the adversary reaches from one, with a grid of the number."""
    found = []
    numbers = torch.linspace(max(0, float(x[0]) - 0.3), min(1, float(x[0]) + 0.3), steps).double()
    for whole, one in itertools.product(range(6), range(3)):
        if abs(whole - float(x[1])) <= 2:
            z = x.clone().expand(steps, -1).clone()
            z[:, 0], z[:, 1], z[:, 3:6] = numbers, whole, 0
            z[:, 3 + one] = 1
            found.append(z)
    return torch.cat(found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_region_is_what_the_constraints_say(dtype: torch.dtype) -> None:
    x = rows(20, dtype)
    region = THREAT.around(x, None)
    box = region.box()
    assert (box.lower.double() >= x.double() - torch.tensor(THREAT.eps)).all()
    assert (box.upper.double() - x.double() <= torch.tensor(THREAT.eps)).all()
    reach = torch.minimum(x.double()[:, 0] + 0.3, torch.tensor(1.0)) - box.upper.double()[:, 0]
    assert (reach.abs() <= torch.finfo(dtype).eps).all()
    assert torch.equal(box.lower[:, [2, 6, 7]], x[:, [2, 6, 7]])
    assert torch.equal(box.upper[:, [2, 6, 7]], x[:, [2, 6, 7]])
    assert torch.equal(box.upper[:, 3:6], torch.ones_like(x[:, 3:6]))
    for i in range(20):
        one = region[torch.tensor([i])]
        assert one.contains(x[i : i + 1]).all()
        points = every_row(x[i].double(), 5).to(dtype)[1:-1:5]
        assert all(one.contains(z[None]) for z in points)
        assert not one.contains(points[:1] + 0.61 * torch.eye(8)[:1].to(dtype)).any()


def test_budgets_and_the_model_s_range_are_met() -> None:
    x = rows(4)
    still = THREAT.at(0.0).around(x, None).box()
    assert torch.equal(still.lower, x)
    assert torch.equal(still.upper, x)
    x[:, 1] = 1
    assert (Tabular(9.0, integers=(1,)).around(x, (0.0, 1.0)).box().upper == 1).all()
    assert hash(THREAT) == hash(Tabular(**vars(THREAT)))


@pytest.mark.parametrize("classes", [2, 4])
def test_pgd_finds_the_exact_optimum_of_a_linear_model(classes: int) -> None:
    x = rows(30)
    weight = uniform(classes, 8, seed=4) - 0.5
    weight[0] *= 2
    model = model_of(lambda z: z @ weight.T, (8,), classes)
    y = right_answers(model, x)
    query = Query(model, x, y, THREAT, tuple(range(30)))
    expected, index = [], torch.arange(30)
    for j in range(classes):
        toward = (weight[j] - weight[y])[:, None]
        expected.append(query.region.support(toward, index)[:, 0] >= 0)
        expected[-1][y == j] = False
    found = PGD(30, targets=classes - 1).decide(query, Run())
    assert [each.witness is not None for each in found] == torch.stack(expected).any(0).tolist()
    assert {True, False} == {each.witness is not None for each in found}


def test_attacks_on_a_network_come_close_to_the_enumeration_and_certificates_below() -> None:
    """An enumeration of all rows is the truth: what is verified has none, and most others are found."""
    model, x = mlp((8, 16, 16, 3), seed=2), rows(40)
    y = right_answers(model, x)
    breakable = []
    for i in range(40):
        points = every_row(x[i])
        breakable.append(bool((model(points).argmax(1) != y[i]).any()))
    result = evaluate(model, x, y, THREAT, [CROWN(), PGD(40, restarts=3, targets=2)])
    verdicts = [each.verdict for each in result.samples]
    for verdict, broken in zip(verdicts, breakable, strict=True):
        assert not (verdict is Verdict.VERIFIED and broken)
    falsified = sum(v is Verdict.FALSIFIED for v in verdicts)
    assert 0 < sum(breakable) < 40
    assert falsified >= 0.95 * sum(breakable)
    assert falsified <= sum(breakable) + 1


def test_a_patch_at_a_place_is_that_rectangle() -> None:
    x = uniform(2, 3, 5, 6, seed=5)
    region = PatchAt(1, 2, 2, 3).around(x, (0.0, 1.0))
    free = region.box().upper - region.box().lower
    expected = torch.zeros_like(x)
    expected[..., 1:3, 2:5] = 1
    assert torch.equal(free, expected * free)
    assert (free[..., 1:3, 2:5] == 1).all()
    assert region.is_box
    assert not region.contains(x + 1e-9 * (1 - expected)).any()


@pytest.mark.parametrize(
    ("threat", "message"),
    [
        (lambda: Tabular(-1.0), "eps is -1"),
        (lambda: Tabular((0.1, math.nan)), "eps is nan"),
        (lambda: Tabular(0.1, low=math.nan), "NaN"),
        (lambda: PatchAt(-1, 0, 2, 2), "no rectangle"),
        (lambda: PatchAt(0, 0, 0, 2), "no rectangle"),
    ],
)
def test_threats_that_mean_nothing_are_refused(threat: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        threat()


@pytest.mark.parametrize(
    ("threat", "message"),
    [
        (Tabular((0.1, 0.2)), "2 values for 8 features"),
        (Tabular(0.1, integers=(8,)), "names 8"),
        (Tabular(0.1, high=0.5), "lies outside its range"),
        (Tabular(0.1, integers=(0,)), "feature 0 of sample 0 is no integer"),
        (Tabular(0.1, groups=((0, 2),)), "not one-hot"),
        (PatchAt(0, 0, 2, 2), "about images"),
    ],
)
def test_samples_that_do_not_fit_are_refused(threat: Threat, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        threat.around(rows(3), None)
    with pytest.raises(UsageError, match="leaves images"):
        PatchAt(0, 4, 2, 3).around(uniform(2, 3, 5, 6, seed=5), (0.0, 1.0))
