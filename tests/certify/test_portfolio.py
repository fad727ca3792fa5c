"""The portfolio: one decider that attacks and certifies, and does no more than it needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from certify.attacks import PGD
from certify.decide import evaluate, proves
from certify.deterministic import CROWN
from certify.errors import UsageError
from certify.evidence import Decider
from certify.portfolio import Portfolio
from certify.query import Query
from certify.run import Run
from certify.threat import Linf
from certify.verdict import Verdict
from tests.certify.attacks.test_recorded import network
from tests.certify.conformance import DeciderConformance
from tests.certify.toys import mlp, model_of, right_answers, uniform


def question(eps: float = 0.2) -> Query:
    model = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
    x = uniform(12, 2, seed=5)
    return Query(model, x, right_answers(model, x), Linf(eps), tuple(range(100, 112)))


class TestPortfolio(DeciderConformance):
    def decider(self) -> Decider:
        return Portfolio(steps=10, queries=20)

    def query(self) -> Query:
        return question()


@pytest.mark.parametrize("eps", [0.02, 0.1, 0.2])
def test_it_settles_what_its_members_settle_and_no_one_is_asked_twice(eps: float) -> None:
    query, looks = question(eps), 0

    def counted(z: torch.Tensor) -> torch.Tensor:
        nonlocal looks
        looks += len(z)
        return query.model(z)

    model = model_of(counted, (2,), 3, (0.0, 1.0), query.model.graph)
    asked = Query(model, query.x, query.y, query.threat, query.samples)
    portfolio = Portfolio(steps=10, queries=20)
    alone = evaluate(query.model, query.x, query.y, query.threat, portfolio.members, cross_check=False)
    together = evaluate(query.model, query.x, query.y, query.threat, [portfolio])
    verdicts = [each.verdict for each in alone.samples]
    assert [each.verdict for each in together.samples] == verdicts
    assert {Verdict.VERIFIED} < set(verdicts) or eps == 0.02
    answers = portfolio.decide(asked, Run())
    told = sum(int(each.detail["forwards"]) for each in answers)
    assert told <= looks <= told + 6 * len(answers)  # trials of candidates and checks of support besides
    for answer, verdict in zip(answers, verdicts, strict=True):
        assert (answer.margin or 0) > 0 or verdict is not Verdict.VERIFIED
        if verdict is Verdict.VERIFIED:  # attacked at random points, and from where two margins' bounds are
            assert answer.detail["forwards"] == 11 + 2 + 21
        elif verdict is Verdict.UNKNOWN:  # no proof was tried
            assert answer.margin == min(float(answer.detail["bound"]), 0)
        if verdict is Verdict.FALSIFIED:
            assert str(answer.detail["member"]).startswith(("APGD", "FromBounds", "Square"))


def test_a_bound_in_floats_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no certifier confirms it, a bound > 0 is not told as a margin."""
    query = question(0.02)
    members = tuple(each for each in Portfolio(steps=10, queries=20).members if not isinstance(each, CROWN))
    monkeypatch.setattr(Portfolio, "members", members)
    found = Portfolio().decide(query, Run())
    assert any(float(each.detail["bound"]) > 0 for each in found)
    assert not any(proves(each) for each in found)


def test_a_model_without_a_graph_is_attacked_only() -> None:
    query = question()
    model = model_of(query.model.forward, (2,), 3, (0.0, 1.0))
    plain = Query(model, query.x, query.y, query.threat, query.samples)
    portfolio = Portfolio(steps=10, queries=20)
    assert portfolio.supports(plain) is None
    found = portfolio.decide(plain, Run())
    assert all(each.margin is None for each in found)
    both = zip(found, portfolio.decide(query, Run()), strict=True)
    assert all((a.witness is None) == (b.witness is None) for a, b in both)


@pytest.mark.parametrize("settings", [{"steps": 0}, {"queries": 0}])
def test_wrong_settings_are_named(settings: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(settings))):
        Portfolio(**settings)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "eps"), [("cifar", 2 / 255), ("mnist", 0.3)])
def test_it_is_as_strong_as_recorded_autoattack(data_dir: Path, name: str, eps: float) -> None:
    """In a fraction of its passes: those of the samples that CROWN or the first attack settles are few."""
    model, x, y = network(data_dir, name, 100)
    rows = json.loads((data_dir / "attacks" / "peer.json").read_text())
    peer = [r for r in rows if r["lib"] == "autoattack" and r["task"] == name]
    result = evaluate(model, x, y, Linf(eps), [Portfolio()], run=Run(batch_size=100))
    assert result.robust_accuracy[1] <= min(r["robust_acc"] for r in peer)
    passes = [int(e.detail["forwards"]) for s in result.samples for e in s.evidence]
    assert sum(passes) / 100 <= min(r["fwd_per_sample"] for r in peer) / 2
    certified = evaluate(model, x, y, Linf(eps), [PGD(), CROWN()], run=Run(batch_size=100))
    assert result.verified_accuracy == certified.verified_accuracy
