"""Steps from where bounds are taken."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import bounds
from certify.attacks import FromBounds
from certify.decide import evaluate
from certify.errors import UsageError
from certify.evidence import NONFINITE, Claim, Decider
from certify.query import Query
from certify.run import Run
from certify.threat import L1, L2, Budgeted, Linf
from certify.verdict import Verdict
from tests.certify.conformance import DeciderConformance
from tests.certify.toys import mlp, model_of, right_answers, uniform


def question(threat: Budgeted) -> Query:
    model = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
    x = uniform(12, 2, seed=5)
    return Query(model, x, right_answers(model, x), threat, tuple(range(100, 112)))


@pytest.mark.parametrize("threat", [Linf(0.2), L2(0.3), L1(0.4)], ids=repr)
class TestFromBounds(DeciderConformance):
    @pytest.fixture(autouse=True)
    def _threat(self, threat: Budgeted) -> None:
        self.budget = threat

    def decider(self) -> Decider:
        return FromBounds()

    def query(self) -> Query:
        return question(self.budget)

    def test_it_breaks_some_and_tells_its_cost(self) -> None:
        answers = self.answers()
        assert self.decider().claims == {Claim.FALSIFIED}
        assert any(each.witness is not None for each in answers)
        assert all(int(each.detail["forwards"]) >= 2 for each in answers)

    def test_a_linear_model_is_broken_wherever_it_can_be(self) -> None:
        model = mlp((6, 3), valid=(0.0, 1.0))
        x = uniform(40, 6, seed=1)
        y = right_answers(model, x)
        query = Query(model, x, y, self.budget, tuple(range(40)))
        assert model.graph is not None
        exact = bounds.bound(model.graph, query.region, query.spec, "ibp", torch.float64).lower.amin(1)
        found = [each.witness is not None for each in FromBounds(1).decide(query, Run())]
        assert found == (exact <= 0).tolist()
        assert 0 < sum(found) < 40


def test_outputs_that_are_no_numbers_are_an_error() -> None:
    query = question(Linf(0.2))
    model = replace(query.model, forward=lambda z: query.model(z) * torch.nan)
    found = FromBounds().decide(Query(model, query.x, query.y, query.threat, query.samples), Run())
    assert all(each.witness is None and NONFINITE in each.detail for each in found)


def test_a_model_without_bounds_is_named() -> None:
    query = question(Linf(0.2))
    plain = model_of(query.model.forward, (2,), 3, (0.0, 1.0))
    reason = FromBounds().supports(Query(plain, query.x, query.y, query.threat, query.samples))
    assert reason is not None
    assert "no graph" in reason
    result = evaluate(query.model, query.x, query.y, query.threat, [FromBounds()])
    assert {each.verdict for each in result.samples} == {Verdict.FALSIFIED, Verdict.UNKNOWN}


def test_settings_outside_their_domain_are_refused() -> None:
    with pytest.raises(UsageError, match="steps of FromBounds is 0"):
        FromBounds(0)
