"""Accuracy under attack: counted by hand on toys, never a mean, targets and unions."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from certify.attacks import FGSM, PGD
from certify.defences import BitDepth, LowConfidence, RandomNoise
from certify.deterministic import CROWN
from certify.empirical import Attacked, attack, nearest_image, robustbench, union
from certify.errors import UsageError
from certify.evidence import Claim, Evidence
from certify.goal import Avoiding
from certify.query import Query
from certify.run import Run
from certify.threat import L2, Linf
from tests.certify.toys import mlp, model_of, right_answers, uniform

X = torch.tensor([[0.45], [0.55], [0.7], [0.9], [0.3]])
Y = torch.tensor([0, 1, 1, 1, 1])  # the last one is wrong


def halves(z: Tensor) -> Tensor:
    return torch.cat([1 - z, z], dim=1)


MODEL = model_of(halves, (1,), 2, (0.0, 1.0))


@dataclass(frozen=True)
class Knows:
    """An attack that goes to one point."""

    to: float
    only: tuple[int, ...]

    @property
    def claims(self) -> frozenset[Claim]:
        return frozenset({Claim.FALSIFIED})

    def supports(self, query: Query) -> str | None:
        return None

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        point = torch.tensor([self.to])
        return [
            Evidence(s, repr(self), witness=point if s in self.only else None, detail={"forwards": 7})
            for s in query.samples
        ]


def test_the_worst_case_is_per_sample_and_a_wrong_sample_stays_wrong() -> None:
    first, second = Knows(0.45, (1,)), Knows(0.5, (0, 1, 2, 3))
    result = attack(MODEL, X, Y, Linf(0.2), [first, second])
    assert result.clean_accuracy == 4 / 5
    # at 0.5 a tie: a counterexample for samples 0, 1 and 2 (0.7 - 0.2 = 0.5 in float32), out of reach for 3
    assert result.accuracy == {repr(first): 3 / 5, repr(second): 1 / 5}
    assert result.robust_accuracy == 1 / 5
    assert result.survived.tolist() == [False, False, False, True, False]
    assert result.unique_wins == {repr(first): 0, repr(second): 2}
    assert result.trials.forwards.tolist() == [[7, 7, 7, 7, 0]] * 2
    assert result.trials.points[1, 3].equal(X[3])
    for part in ("clean accuracy 0.8000 of 5", "0.2000 under the worst", repr(second)):
        assert part in str(result)


def test_batches_change_nothing_and_progress_is_told() -> None:
    model, x = mlp((2, 16, 16, 3), valid=(0.0, 1.0)), uniform(10, 2, seed=5)
    y, told = right_answers(model, x), []
    runs = [Run(batch_size=3, progress=lambda *each: told.append(each)), Run(batch_size=10)]
    some, whole = (attack(model, x, y, L2(0.2), [FGSM(), PGD(10)], run=run) for run in runs)
    assert torch.equal(some.trials.found, whole.trials.found)
    assert torch.equal(some.trials.forwards, whole.trials.forwards)
    assert told == [("attack", done, 10) for done in (0, 3, 6, 9, 10)]
    assert (whole.trials.forwards[0] == 2).all()
    assert (whole.trials.backwards[0] == 1).all()
    assert (whole.trials.forwards[1] <= 11).all()


def test_targets_are_reached_and_only_where_they_can_be() -> None:
    """Brute force on a grid says which classes any point of the region gets."""
    model, x = mlp((2, 16, 16, 3), valid=(0.0, 1.0)), uniform(12, 2, seed=5)
    y, threat = right_answers(model, x), Linf(0.25)
    targets = (y + 1) % 3
    result = attack(model, x, y, threat, [PGD(40, restarts=3, loss="margin")], targets=targets)
    assert result.clean_accuracy == 1  # nowhere the target yet
    t = torch.linspace(0, 1, 101, dtype=x.dtype)
    for i, point in enumerate(x):
        box = threat.around(point[None], (0.0, 1.0)).box()
        grid = box.lower + torch.cartesian_prod(t, t) * (box.upper - box.lower)
        reachable = bool((model(grid).argmax(1) == targets[i]).any())
        assert bool(result.trials.found[0, i]) == reachable
        if reachable:
            assert int(model(result.trials.points[0, i][None]).argmax()) == int(targets[i])


def test_certifiers_answer_for_targets_too() -> None:
    model, x = mlp((2, 16, 16, 3), valid=(0.0, 1.0)), uniform(12, 2, seed=5)
    y = right_answers(model, x)
    query = Query(Avoiding.of(model), x, (y + 1) % 3, Linf(0.05), tuple(range(12)))
    proved = [(each.margin or 0) > 0 for each in CROWN().decide(query, Run())]
    broken = [each.witness is not None for each in PGD(40, loss="margin").decide(query, Run())]
    assert any(proved)
    assert not any(p and b for p, b in zip(proved, broken, strict=True))


def test_targets_are_reached_behind_a_defence_and_not_where_the_question_is_another() -> None:
    plain, x = mlp((2, 16, 16, 3), valid=(0.0, 1.0)), uniform(12, 2, seed=5)
    model = BitDepth(6).around(plain)
    y = model(x).argmax(1)
    targets = (y + 1) % 3
    result = attack(model, x, y, Linf(0.25), [PGD(40, restarts=3, loss="margin")], targets=targets)
    found = result.trials.found[0]
    assert found.any()
    assert model(result.trials.points[0][found]).argmax(1).tolist() == targets[found].tolist()
    for other in (LowConfidence(0.9).around(plain), RandomNoise(0.1).around(plain)):
        with pytest.raises(UsageError, match="a question of its own"):
            Avoiding.of(other)


@pytest.mark.parametrize(
    ("targets", "match"),
    [
        (torch.tensor([1, 0, 0, 1, 0]), "sample 3 has its label 1"),
        (torch.tensor([1]), "give 5 classes"),
        (torch.ones(5), "give 5 classes"),
    ],
)
def test_wrong_targets_are_named(targets: Tensor, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        attack(MODEL, X, Y, Linf(0.1), [FGSM()], targets=targets)


def test_certifiers_are_no_attacks() -> None:
    with pytest.raises(UsageError, match="is no attack"):
        attack(MODEL, X, Y, Linf(0.1), [CROWN()])


def test_union_over_threats_is_the_share_that_survives_all() -> None:
    near, far = (attack(MODEL, X, Y, Linf(0.2), [Knows(0.5, only)]) for only in ((0,), (1, 2)))
    assert (near.robust_accuracy, far.robust_accuracy) == (3 / 5, 2 / 5)
    assert union([near, far]) == 1 / 5
    other = attack(MODEL, X[:3], Y[:3], Linf(0.2), [FGSM()])
    for bad in ([near, other], []):
        with pytest.raises(UsageError):
            union(bad)


def test_images_are_rounded_and_judged_again() -> None:
    query = Query(MODEL, X[:3], Y[:3], Linf(0.2), (0, 1, 2))
    # 127.5/255 = 0.5 is a tie between levels 127 and 128: the first wins for class 0's samples only
    levels, kept = nearest_image(query, torch.tensor([[0.5019], [0.4999], [0.5]]))
    assert levels[:, 0].tolist() == [128, 127, 128]
    assert kept.tolist() == [True, True, False]
    with pytest.raises(UsageError, match="no input range"):
        nearest_image(Query(model_of(halves, (1,), 2), X[:1], Y[:1], Linf(0.2), (0,)), X[:1])


def test_the_export_holds_accuracies_in_percent() -> None:
    result: Attacked = attack(MODEL, X, Y, Linf(0.2), [Knows(0.5, (0, 1, 2, 3))])
    record = robustbench(result, dataset="toy", architecture="linear", name="halves")
    assert (record["clean_acc"], record["robust_acc"], record["eps"]) == (80.0, 20.0, 0.2)
    assert record["name"] == "halves"
    assert record["number_of_forward_passes"] == 28
    assert math.isclose(sum(record["attacks"].values()), 20.0)
    assert list(itertools.islice(record, 1)) == ["name"]
