"""The ensemble of attacks: one decider, whose evidence names the member that won."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from certify.attacks import APGD, FAB, AttackEnsemble, EoT, Square, ensemble
from certify.decide import evaluate
from certify.defences import RandomNoise
from certify.errors import UsageError
from certify.evidence import Claim, Decider, Evidence
from certify.query import Query
from certify.run import Run
from certify.threat import L0, L1, L2, Budgeted, Linf
from certify.verdict import Verdict
from tests.certify.attacks.conformance import AttackConformance
from tests.certify.toys import mlp, model_of, right_answers, uniform

SHORT = (APGD(8), APGD(8, loss="dlr", targets=9), FAB(steps=4, targets=9), Square(20))


@pytest.mark.parametrize("budget", [Linf(0.2), L2(0.3), L1(0.4)], ids=repr)
class TestAttackEnsemble(AttackConformance):
    """With the members of "standard", made short."""

    @pytest.fixture(autouse=True)
    def _short(self, budget: Budgeted, monkeypatch: pytest.MonkeyPatch) -> None:
        self.budget = budget
        monkeypatch.setattr(ensemble, "VERSIONS", {"standard": SHORT})

    def decider(self) -> Decider:
        return AttackEnsemble()

    def threat(self) -> Budgeted:
        return self.budget


def question(eps: float = 0.1) -> Query:
    model = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
    x = uniform(20, 2, seed=5)
    return Query(model, x, right_answers(model, x), Linf(eps), tuple(range(20)))


def test_the_versions_have_the_published_settings() -> None:
    standard, plus, rand = (AttackEnsemble(v).members for v in ("standard", "plus", "rand"))
    once, dlr = APGD(100, 1, probes=0), APGD(100, 1, "dlr", probes=0)
    targeted = APGD(100, 1, "dlr", targets=9, probes=0)
    assert standard == (
        once,
        targeted,
        FAB(steps=100, restarts=1, targets=9),
        Square(queries=5000, p_init=0.8),
    )
    assert plus[:3] == (replace(once, restarts=5), replace(dlr, restarts=5), FAB(restarts=5))
    assert set(plus[3:]) == {Square(), targeted, FAB(targets=9)}
    assert rand == (EoT(once, m=20), EoT(dlr, m=20))


@dataclass(frozen=True)
class Scripted:
    """An attack that finds a given point of some samples, whatever it is worth."""

    samples: tuple[int, ...]
    shift: float

    @property
    def claims(self) -> frozenset[Claim]:
        return frozenset({Claim.FALSIFIED})

    def supports(self, query: Query) -> str | None:
        return None

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        return [
            Evidence(
                sample,
                repr(self),
                witness=x + self.shift if sample in self.samples else None,
                detail={"forwards": 3, "backwards": 1, "smallest_margin": self.shift},
            )
            for sample, x in zip(query.samples, query.x, strict=True)
        ]


def test_samples_leave_at_their_first_break_that_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    query = question()
    broken = [e.sample for e in APGD().decide(query, Run()) if e.witness is not None]
    assert 3 <= len(broken) <= 17
    outside, still = Scripted(tuple(broken), 0.2), Scripted((broken[0],), 0.0)
    monkeypatch.setattr(ensemble, "VERSIONS", {"standard": (outside, still, APGD(), Scripted((), -1.0))})
    answers = {each.sample: each for each in AttackEnsemble().decide(query, Run())}
    assert {s for s, e in answers.items() if e.witness is not None} == set(broken)
    for sample, each in answers.items():
        if sample in broken:
            assert each.detail["member"] == repr(APGD())
            assert int(each.detail["forwards"]) > 6
            assert float(each.detail["smallest_margin"]) <= 0.0
        else:
            assert "member" not in each.detail
            assert each.detail["smallest_margin"] == -1.0  # asked of the last member, too
    result = evaluate(query.model, query.x, query.y, query.threat, [AttackEnsemble()])
    assert sum(each.verdict is Verdict.FALSIFIED for each in result.samples) == len(broken)


def test_a_member_that_cannot_answer_speaks_for_the_ensemble() -> None:
    query = question()
    other = Query(query.model, query.x, query.y, L0(1), query.samples)
    assert "norms" in str(AttackEnsemble().supports(other))
    assert "sampling" in str(AttackEnsemble("rand").supports(query))
    assert AttackEnsemble("plus").supports(query) is None


def test_an_unknown_version_is_named() -> None:
    with pytest.raises(UsageError, match="standard, plus, rand"):
        AttackEnsemble("fast")


def test_empty_questions_are_answered() -> None:
    query = question()
    assert AttackEnsemble().decide(query[torch.zeros(20, dtype=torch.bool)], Run()) == []


@pytest.mark.slow
@pytest.mark.parametrize("version", ["standard", "plus"])
def test_whole_versions_break_what_a_fine_grid_breaks(version: str) -> None:
    query, t = question(), torch.linspace(0, 1, 401, dtype=torch.float64)
    result = evaluate(query.model, query.x, query.y, query.threat, [AttackEnsemble(version)])
    box = query.region.box()
    for i, each in enumerate(result.samples):
        grid = box.lower[i] + torch.cartesian_prod(t, t) * (box.upper[i] - box.lower[i])
        lost = bool((query.model(grid).argmax(1) != query.y[i]).any())
        assert (each.verdict is Verdict.FALSIFIED) == lost
    assert 0 < result.robust_accuracy[1] < 1


@pytest.mark.slow
def test_the_version_for_random_models_breaks_one_where_noise_cannot_help() -> None:
    """Noise moves the boundary at 0 nowhere: samples nearer than eps can be lost, the others cannot."""
    model = RandomNoise(0.5).around(
        model_of(lambda z: torch.stack([-z[:, 0], z[:, 0]], 1), (2,), 2), 100, 1000
    )
    x = torch.tensor([[0.6, 0.1], [-0.7, 0.2], [0.1, 0.0], [-0.1, 0.4]])
    result = evaluate(model, x, (x[:, 0] > 0).long(), Linf(0.4), [AttackEnsemble("rand")])
    assert [each.verdict is Verdict.FALSIFIED for each in result.samples] == [False, False, True, True]
