"""Transfer and substitutes: as strong as the surrogate is good, one query per candidate, no global state."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import bounds
from certify.attacks import PGD, Substitute, TransferAttack
from certify.attacks.base import Problem
from certify.attacks.blackbox.transfer import deepest
from certify.errors import UsageError
from certify.evidence import Decider
from certify.model import Model
from certify.query import Query
from certify.run import Run
from certify.threat import L2, Linf
from tests.certify.attacks.conformance import AttackConformance
from tests.certify.toys import mlp, model_of, normal, right_answers, uniform

NET = mlp((2, 16, 16, 3), valid=(0.0, 1.0))


class TestTransfer(AttackConformance):
    """The surrogate is the target itself: what is asked of every attack can then be had in one query."""

    weak = True

    def decider(self) -> Decider:
        return TransferAttack(PGD(10), (NET,))

    def _linear(self, shape: tuple[int, ...], classes: int, dtype: torch.dtype) -> tuple[Model, Query]:
        model, query = super()._linear(shape, classes, dtype)
        self.linear = model
        return model, query

    def ask(self, query: Query) -> list:
        kind = getattr(self, "linear", NET)
        return TransferAttack(PGD(10), (kind,)).decide(query, Run())


def question(n: int = 20, eps: float = 0.15) -> Query:
    x = uniform(n, 2, seed=5)
    return Query(NET, x, right_answers(NET, x), Linf(eps), tuple(range(n)))


def test_each_candidate_costs_one_query_until_one_breaks() -> None:
    useless = replace(NET, forward=lambda z: NET(z).roll(1, 1) * 0 + z.sum(1, keepdim=True), name="useless")
    query = question()
    for surrogates, most in (((NET,), 1), ((useless, NET), 3)):
        answers = TransferAttack(PGD(10), surrogates).decide(query, Run())
        assert {e.detail["backwards"] for e in answers} == {0}
        assert all(1 <= int(e.detail["forwards"]) <= most for e in answers)
        assert all(e.witness is not None or e.detail["forwards"] == most for e in answers)
        assert any(e.witness is not None for e in answers)


def test_on_itself_it_breaks_what_the_attack_breaks() -> None:
    query = question()
    alone, transferred = (
        [e.witness is not None for e in attack.decide(query, Run())]
        for attack in (PGD(40), TransferAttack(PGD(40), (NET,)))
    )
    assert sum(transferred) >= sum(alone) - 1
    assert any(alone)


def test_candidates_go_as_deep_as_the_region_allows() -> None:
    """On a linear model the deepest point is the corner, far beyond the first that breaks it."""
    row, x = normal(6, seed=7), uniform(4, 6, seed=3)
    spec = bounds.margins(torch.zeros(4, dtype=torch.long), 2).to(torch.float64)

    def forward(z: Tensor) -> Tensor:
        score = (z - x.mean(0)) @ row
        return torch.stack([score, torch.zeros_like(score)], dim=1)

    problem = Problem(forward, bounds.Ball(x, 0.5), spec, x, (0, 1, 2, 3), "k", Run())
    torch.testing.assert_close(deepest(PGD(30), problem), x - 0.5 * row.sign(), rtol=0, atol=1e-9)


def test_surrogates_of_another_kind_are_refused() -> None:
    flat = model_of(lambda z: (z > 0.5).double().repeat(1, 2)[:, :3], (2,), 3, (0.0, 1.0))
    wide = mlp((3, 4, 3))
    query = question()
    assert "same kind" in (TransferAttack(PGD(), (wide,)).supports(query) or "")
    assert "no gradient" in (TransferAttack(PGD(), (NET, flat)).supports(query) or "")
    with pytest.raises(UsageError, match="at least one"):
        TransferAttack(PGD(), ())
    target = Query(flat, query.x, right_answers(flat, query.x), Linf(0.1), query.samples)
    assert TransferAttack(PGD(), (NET,)).supports(target) is None


def test_a_substitute_learns_the_model_within_its_budget_and_its_attacks_transfer() -> None:
    rows: list[int] = []

    def counted(z: Tensor) -> Tensor:
        rows.append(len(z))
        assert not torch.is_grad_enabled()
        return NET(z.double())

    model = replace(NET, forward=counted)
    seeds, before = uniform(60, 2, seed=9), torch.get_rng_state()
    trained = Substitute(queries=400, rounds=5, epochs=30).train(model, seeds)
    assert torch.equal(torch.get_rng_state(), before)
    assert trained.queries == sum(rows) == 400
    points = uniform(500, 2, seed=10)
    agreed = (trained.model(points).argmax(1) == NET(points).argmax(1)).double().mean()
    assert agreed > 0.9
    query = question(eps=0.3)
    attack = TransferAttack(PGD(20), (trained.model,))
    assert attack.supports(query) is None
    direct = sum(e.witness is not None for e in PGD(40).decide(query, Run()))
    transferred = sum(e.witness is not None for e in attack.decide(query, Run()))
    assert transferred >= 0.6 * direct > 0


def test_the_seed_decides_the_substitute() -> None:
    seeds, small = uniform(20, 2, seed=9), Substitute(queries=60, rounds=2, epochs=3)
    model = replace(NET, forward=lambda z: NET(z.double()))
    one, two, other = (small.train(model, seeds, Run(seed=s)).model.digest for s in (1, 1, 2))
    assert one == two != other
    with torch.no_grad():
        assert small.train(model, seeds, Run(seed=1)).model.digest == one


@pytest.mark.parametrize("shape", [(3, 8, 9), (1, 28, 28), (5,), (2, 2, 2)], ids=str)
def test_substitutes_are_made_for_inputs_of_every_shape(shape: tuple[int, ...]) -> None:
    weight = normal(4, math.prod(shape), seed=11)
    model = model_of(lambda z: (z - 0.5).flatten(1).double() @ weight.T, shape, 4, (0.0, 1.0))
    trained = Substitute(queries=30, rounds=2, epochs=2).train(model, uniform(12, *shape, seed=1))
    assert trained.queries == 24
    assert trained.model(uniform(3, *shape, seed=2)).shape == (3, 4)
    x = uniform(3, *shape, seed=3)
    query = Query(model, x, right_answers(model, x), L2(1.0), (0, 1, 2))
    assert TransferAttack(PGD(3), (trained.model,)).supports(query) is None


def test_wrong_settings_of_a_substitute_are_named() -> None:
    for arguments in ({"queries": 1}, {"rounds": 0}, {"epochs": 0}, {"step": 0.0}, {"rate": math.nan}):
        with pytest.raises(UsageError, match=next(iter(arguments))):
            Substitute(**arguments)
    with pytest.raises(UsageError, match="shape"):
        Substitute().train(NET, uniform(3, 4, seed=1))
    with pytest.raises(UsageError, match="at least one"):
        Substitute().train(NET, uniform(0, 2, seed=1))
