"""Certifiers by bound propagation."""

from __future__ import annotations

import pytest
import torch

import bounds
from bounds.ops.elementwise import Shift
from bounds.ops.linear import Linear
from bounds.ops.relu import LeakyReLU
from bounds.rounding import Level
from certify.deterministic import CROWN, IBP, BranchAndBound
from certify.evidence import Decider
from certify.model import Model
from certify.query import Query
from certify.run import Run
from certify.threat import L1, L2, Linf, Threat
from tests.certify.conformance import DeciderConformance
from tests.certify.toys import mlp, model_of, right_answers, uniform

THREATS = [Linf(0.05), L2(0.05), L1(0.05)]


def question(threat: Threat, n: int = 12) -> Query:
    model = mlp((2, 16, 16, 3), valid=(0.0, 1.0))
    x = uniform(n, 2, seed=5)
    return Query(model, x, right_answers(model, x), threat, tuple(range(100, 100 + n)))


@pytest.mark.parametrize("level", list(Level))
class TestIBP(DeciderConformance):
    @pytest.fixture(autouse=True)
    def _level(self, level: Level) -> None:
        self.level = level

    def decider(self) -> Decider:
        return IBP(self.level)

    def query(self) -> Query:
        return question(Linf(0.05))


@pytest.mark.parametrize("threat", THREATS, ids=repr)
class TestCROWN(DeciderConformance):
    @pytest.fixture(autouse=True)
    def _threat(self, threat: Threat) -> None:
        self.threat = threat

    def decider(self) -> Decider:
        return CROWN()

    def query(self) -> Query:
        return question(self.threat.at(0.15))


def shifted(m: float) -> Model:
    """Logits (0.25, b) with b = relu(relu(x + m) - m): 0.25 - b is 0.25 - x < 0 in exact arithmetic."""
    builder = bounds.Builder((1,))
    shift = torch.tensor([m], dtype=torch.float64)
    a = builder.apply(LeakyReLU(), [builder.apply(Shift(), [builder.input], (shift,))])
    b = builder.apply(LeakyReLU(), [builder.apply(Shift(), [a], (-shift,))])
    weight = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    bias = torch.tensor([0.25, 0.0], dtype=torch.float64)
    graph = builder.build(builder.apply(Linear(), [b], (weight, bias)))
    return model_of(graph, (1,), 2, None, graph)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_rounding_hides_is_not_verified(dtype: torch.dtype) -> None:
    """In floats b is 0 and interval analysis sees a margin of 0.25; in exact arithmetic it is negative."""
    x, y = torch.tensor([[0.35]], dtype=dtype), torch.tensor([0])
    query = Query(shifted(2.0**54), x, y, Linf(0.01), (0,))
    (plain,) = IBP(Level.FLOAT).decide(query, Run(dtype=dtype))
    assert plain.margin == pytest.approx(0.25)
    assert plain.level is Level.FLOAT
    for level in (Level.REAL, Level.DEPLOYED):
        for decider in (IBP(level), CROWN(level)):
            (evidence,) = decider.decide(query, Run(dtype=dtype))
            assert evidence.margin is not None
            assert evidence.margin <= 0


def test_every_positive_margin_holds_at_the_level_asked_for() -> None:
    query = question(Linf(0.05), 40)
    for level in Level:
        for decider in (IBP(level), CROWN(level)):
            answers = decider.decide(query, Run())
            positive = [each for each in answers if each.margin is not None and each.margin > 0]
            assert positive
            assert {each.level for each in positive} == {level}


def test_search_dtype_does_not_change_what_is_proved() -> None:
    query = question(Linf(0.05), 40)
    for decider in (IBP(), CROWN()):
        fast, slow = (decider.decide(query, Run(dtype=dtype)) for dtype in (torch.float32, torch.float64))
        for one, other in zip(fast, slow, strict=True):
            assert one.margin == pytest.approx(other.margin, abs=1e-5)
            assert ((one.margin or 0) > 0) == ((other.margin or 0) > 0)
        assert {each.level for each in slow} == {Level.REAL}


def test_crown_settles_with_the_cheapest_method_and_more_than_ibp() -> None:
    query = question(Linf(0.05), 40)
    by_ibp, by_crown = (d.decide(query, Run()) for d in (IBP(), CROWN()))
    methods = {each.detail["method"] for each in by_crown if (each.margin or 0) > 0}
    assert methods >= {"ibp", "crown-ibp"}
    settled_by_ibp = {each.sample for each in by_ibp if (each.margin or 0) > 0}
    assert settled_by_ibp < {each.sample for each in by_crown if (each.margin or 0) > 0}
    for one, other in zip(by_ibp, by_crown, strict=True):
        assert one.sample in settled_by_ibp or other.margin >= one.margin - 1e-6


def test_crown_is_exact_on_a_linear_model() -> None:
    model = mlp((2, 3))
    x = uniform(5, 2, seed=1)
    y = right_answers(model, x)
    weight = model.graph.nodes[1].params[0]
    for threat, dual in ((Linf(0.1), 1), (L2(0.1), 2), (L1(0.1), torch.inf)):
        query = Query(model, x, y, threat, tuple(range(5)))
        rows = query.spec.to(x.dtype).evaluate(model(x)) - 0.1 * torch.linalg.vector_norm(
            query.spec.matrix.to(x.dtype) @ weight, ord=dual, dim=2
        )
        margins = [each.margin for each in CROWN().decide(query, Run(dtype=torch.float64))]
        assert margins == pytest.approx(rows.min(1).values.tolist(), abs=1e-12)


def test_unsupported_models_are_named() -> None:
    x, y = torch.zeros(1, 2), torch.tensor([0])
    reason = CROWN().supports(Query(model_of(lambda x: x), x, y, Linf(0.1), (0,)))
    assert reason is not None
    assert "toy has no graph" in reason


def test_branch_and_bound_speaks_of_the_weights_as_they_are_stored() -> None:
    """x + 5e-11 > (1 + 1e-10) x fails beyond 0.5, and holds where float32 rounds the weights."""
    builder = bounds.Builder((1,))
    weight = torch.tensor([[1.0], [1 + 1e-10]], dtype=torch.float64)
    bias = torch.tensor([5e-11, 0.0], dtype=torch.float64)
    graph = builder.build(builder.apply(Linear(), [builder.input], (weight, bias)))
    model = model_of(graph, (1,), 2, (0.0, 1.0), graph)
    query = Query(model, torch.tensor([[0.4]]), torch.tensor([0]), Linf(0.5), (0,))
    [found] = BranchAndBound(seconds=1).decide(query, Run())
    assert found.margin is None
