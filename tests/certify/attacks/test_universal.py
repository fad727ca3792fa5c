"""Universal perturbations: exact on linear models, and on samples that they have not seen."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from certify.attacks import Universal, UniversalPGD
from certify.decide import evaluate
from certify.errors import UsageError
from certify.evidence import NONFINITE, Decider
from certify.query import Query
from certify.run import Run
from certify.threat import L0, L1, L2, Budgeted, Linf, Rotation
from certify.verdict import Verdict
from tests.certify.attacks.test_recorded import network
from tests.certify.conformance import DeciderConformance
from tests.certify.toys import mlp, model_of, normal, right_answers, uniform


class TestUniversal(DeciderConformance):
    def decider(self) -> Decider:
        model = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
        x = uniform(50, 2, seed=6)
        return UniversalPGD(5).fit(model, x, right_answers(model, x), Linf(0.2))

    def query(self) -> Query:
        model = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
        x = uniform(12, 2, seed=5)
        return Query(model, x, right_answers(model, x), Linf(0.2), tuple(range(100, 112)))

    def test_the_cost_is_one_look(self) -> None:
        assert all(each.detail["forwards"] == 1 for each in self.answers())

    def test_outputs_that_are_no_numbers_are_an_error(self) -> None:
        query = self.query()
        model = model_of(lambda z: query.model(z) * math.nan, (2,), 3, (0.0, 1.0))
        answers = self.decider().decide(Query(model, query.x, query.y, query.threat, query.samples), Run())
        assert all(each.witness is None and NONFINITE in each.detail for each in answers)


@pytest.mark.parametrize("threat", [Linf(0.5), L2(1.0), L1(2.0)], ids=repr)
@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_the_fooling_rate_on_a_linear_model_is_the_best_there_is(threat: Budgeted, share: float) -> None:
    """Two classes: the best delta is the steepest direction towards one of them; its rate is a count."""
    row = normal(6, seed=7)
    model = model_of(lambda z: torch.stack([z @ row, 0 * z[:, 0]], 1), (6,), 2)
    x = normal(400, 6, seed=8)
    scores = x @ row
    keep = torch.cat([(scores > 0).nonzero()[:, 0][: int(100 * share)], (scores < 0).nonzero()[:, 0]])[:100]
    x, scores = x[keep], scores[keep]
    dual = {math.inf: 1, 2: 2, 1: math.inf}[threat.norm or 0]
    reach = threat.eps * float(torch.linalg.vector_norm(row, ord=dual))
    best = max(float(((scores * sign > 0) & (scores * sign <= reach)).double().mean()) for sign in (1, -1))
    assert 0.1 < best < 1
    found = UniversalPGD(30).fit(model, x, right_answers(model, x), threat)
    assert found.rate == pytest.approx(best, abs=0.011)
    size = torch.linalg.vector_norm(found.delta.double(), ord=threat.norm)
    assert float(size) <= threat.eps * (1 + 1e-6)


@pytest.mark.parametrize("threat", [Linf(0.15), L2(0.2)], ids=repr)
def test_what_is_found_on_some_samples_breaks_others(threat: Budgeted) -> None:
    """Against the best of many random directions, tried on the same held-out samples."""
    model = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
    x, held_out = uniform(200, 2, seed=1), uniform(200, 2, seed=2)
    y, z = right_answers(model, x), right_answers(model, held_out)
    found = UniversalPGD().fit(model, x, y, threat)

    def rate(delta: Tensor, x: Tensor, y: Tensor) -> float:
        points = threat.around(x, (0.0, 1.0)).project(x + delta)
        return float((model(points).argmax(1) != y).double().mean())

    assert found.rate == pytest.approx(rate(found.delta, x, y), abs=0.006)
    circle = torch.linspace(0, 2 * math.pi, 721).double()[:, None]
    ball = threat.around(torch.zeros(721, 2, dtype=torch.float64))
    deltas = ball.argmax(torch.cat([circle.cos(), circle.sin()], 1))
    assert found.rate >= 0.9 * max(rate(delta, x, y) for delta in deltas)
    result = evaluate(model, held_out, z, threat, [found])
    broken = sum(each.verdict is Verdict.FALSIFIED for each in result.samples) / 200
    assert broken == pytest.approx(rate(found.delta, held_out, z), abs=0.006)
    assert broken > 0.6 * found.rate


def test_it_is_the_same_again_and_tells_itself_apart() -> None:
    model, x = mlp((2, 16, 16, 3), valid=(0.0, 1.0)), uniform(50, 2, seed=6)
    y, before = right_answers(model, x), torch.get_rng_state()
    one, two = (UniversalPGD(3).fit(model, x, y, Linf(0.2)) for _ in range(2))
    assert one == two
    assert torch.equal(one.delta, two.delta)
    assert torch.equal(torch.get_rng_state(), before)
    assert one != UniversalPGD(3).fit(model, x, y, Linf(0.1))
    assert one.digest in repr(one)


def test_questions_it_cannot_answer() -> None:
    query = TestUniversal().query()
    with pytest.raises(UsageError, match="no ball"):
        UniversalPGD().fit(query.model, query.x, query.y, L0(1))
    with pytest.raises(UsageError, match="gets none"):
        UniversalPGD().fit(query.model, query.x, (query.y + 1) % 3, Linf(0.1))
    for make in (
        lambda: UniversalPGD(0),
        lambda: UniversalPGD(step_size=0),
        lambda: UniversalPGD(batch_size=0),
    ):
        with pytest.raises(UsageError):
            make()
    other = Universal("by hand", Linf(0.1), 0.0, "", torch.zeros(3))
    assert "shape (3,)" in str(other.supports(query))
    flat = Universal("by hand", Linf(0.1), 0.0, "", torch.zeros(2))
    turned = Query(query.model, query.x, query.y, Rotation(3.0), query.samples)
    assert "ParameterSearch" in str(flat.supports(turned))


@pytest.mark.slow
def test_one_perturbation_breaks_held_out_images(data_dir: Path) -> None:
    model, x, y = network(data_dir, "cifar", 200)
    found = UniversalPGD().fit(model, x[:130], y[:130], Linf(16 / 255))
    result = evaluate(model, x[130:], y[130:], Linf(16 / 255), [found])
    assert found.rate > 0.35
    assert result.robust_accuracy[1] < result.clean_accuracy - 0.2
