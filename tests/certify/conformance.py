"""What every decider must do, given two hooks."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields, is_dataclass

import pytest
import torch

from certify.decide import refutes
from certify.evidence import Claim, Decider, Evidence
from certify.query import Query
from certify.run import Run
from tests.certify.toys import grid_margins


class DeciderConformance:
    """Inherit, give the two hooks, and get every check.

    ``decider``: the decider to check. ``query``: a question it supports, about at least four samples with
    two inputs each, in float64, that the model classifies right; some of them robust, some attackable.
    """

    def decider(self) -> Decider:
        raise NotImplementedError

    def query(self) -> Query:
        raise NotImplementedError

    def answers(self) -> list[Evidence]:
        return self.decider().decide(self.query(), Run())

    def test_is_a_frozen_value_with_a_telling_repr(self) -> None:
        decider = self.decider()
        assert is_dataclass(decider)
        assert decider == self.decider()
        assert hash(decider) == hash(self.decider())
        assert repr(decider) == repr(self.decider())
        assert all(f"{f.name}=" in repr(decider) for f in fields(decider) if f.repr)
        with pytest.raises(FrozenInstanceError):
            decider.extra = 1

    def test_supports_the_query_and_claims_something(self) -> None:
        assert self.decider().supports(self.query()) is None
        assert self.decider().claims
        assert self.decider().claims <= set(Claim)

    def test_answers_for_every_sample_in_order_and_within_its_claims(self) -> None:
        answers, claims = self.answers(), self.decider().claims
        assert [each.sample for each in answers] == list(self.query().samples)
        assert {each.decider for each in answers} == {repr(self.decider())}
        if Claim.ROBUST not in claims:
            assert all(each.margin is None for each in answers)
        if Claim.FALSIFIED not in claims:
            assert all(each.witness is None for each in answers)

    def test_settles_some_samples_but_not_all(self) -> None:
        settled = [each.witness is not None or (each.margin or 0) > 0 for each in self.answers()]
        assert any(settled)
        assert not all(settled)

    def test_margins_are_lower_bounds(self) -> None:
        query = self.query()
        if all(each.margin is None for each in self.answers()):
            return
        true = grid_margins(query.model, query.region, query.y)
        for each, smallest in zip(self.answers(), true.tolist(), strict=True):
            if each.margin is not None:
                assert each.margin <= smallest
                assert each.level is not None or 0 < each.alpha < 1

    def test_witnesses_are_counterexamples_without_tolerance(self) -> None:
        query = self.query()
        for i, each in enumerate(self.answers()):
            if each.witness is not None:
                assert each.witness.dtype == query.x.dtype
                keep = torch.arange(len(query.x)) == i
                part = query[keep]
                assert refutes(query.model, part.region, part.spec, each.witness[None]).all()

    def test_samples_do_not_depend_on_company_or_order(self) -> None:
        query = self.query()
        together = self.answers()
        backwards = torch.arange(len(query.x)).flip(0)
        turned = Query(query.model, query.x[backwards], query.y[backwards], query.threat, query.samples[::-1])
        for each, again in zip(together, self.decider().decide(turned, Run())[::-1], strict=True):
            _assert_same(each, again)
        for i, each in enumerate(together):
            keep = torch.arange(len(query.x)) == i
            _assert_same(each, self.decider().decide(query[keep], Run())[0])

    def test_the_seed_decides_and_no_state_is_touched(self) -> None:
        query, before = self.query(), torch.get_rng_state()
        kept = query.x.clone()
        first, second = (self.decider().decide(query, Run(seed=3)) for _ in range(2))
        for each, again in zip(first, second, strict=True):
            _assert_same(each, again)
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(query.x, kept)
        assert not query.x.requires_grad
        assert query.x.grad is None

    def test_autograd_may_be_off(self) -> None:
        with torch.no_grad():
            answers = self.decider().decide(self.query(), Run())
        for each, again in zip(self.answers(), answers, strict=True):
            _assert_same(each, again)

    def test_nothing_moves_at_eps_zero(self) -> None:
        query = self.query()
        still = Query(query.model, query.x, query.y, query.threat.at(0.0), query.samples)
        clean = still.spec.worst(still.spec.to(query.x.dtype).evaluate(query.model(query.x)))
        for each, margin in zip(self.decider().decide(still, Run()), clean.tolist(), strict=True):
            assert each.witness is None
            if each.margin is not None:
                assert 0 < each.margin <= margin * (1 + 1e-5)


def _assert_same(one: Evidence, other: Evidence) -> None:
    """Equal up to the rounding of another batch size."""
    assert (one.sample, one.decider, one.level, one.alpha) == (
        other.sample,
        other.decider,
        other.level,
        other.alpha,
    )
    assert (one.margin is None) == (other.margin is None)
    assert (one.witness is None) == (other.witness is None)
    if one.margin is not None and other.margin is not None:
        assert math.isclose(one.margin, other.margin, rel_tol=1e-5, abs_tol=1e-6)
    if one.witness is not None and other.witness is not None:
        torch.testing.assert_close(one.witness, other.witness)
