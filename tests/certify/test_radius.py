"""Radii on both sides of the true distance, which integer programs tell."""

import time
from dataclasses import replace

import pytest
import torch

import bounds
import certify as ct
from certify.errors import Contradiction, UsageError
from certify.model import GraphForward

from ..bounds.search.oracles import least_by_milp
from ..strategies import cnn, mlp
from .toys import model_of

NETS = {
    "few inputs": mlp,
    "many inputs": lambda seed: mlp(seed, (16, 5, 5, 3)),
    "leaky": lambda seed: mlp(seed, (6, 6, 6, 3), slope=0.2),
    "convolutions": cnn,
}


class Weak(ct.FMN):
    """An attack whose first failures are far away."""

    def find(self, problem):
        found = super().find(problem)
        return replace(found, points=torch.zeros_like(found.points))


def as_model(graph: bounds.Graph) -> ct.Model:
    """The graph as a model of inputs in [0, 1]."""
    return model_of(GraphForward(graph), graph.input_shape, graph.output_shape[0], (0.0, 1.0), graph)


def samples(graph: bounds.Graph, count: int = 3) -> torch.Tensor:
    return torch.rand(count, *graph.input_shape, generator=torch.Generator().manual_seed(7))


def truly(model: ct.Model, x: torch.Tensor, eps: float) -> float:
    """The least margin of the class that the model answers, over the ball cut by the range."""
    y = model(x[None]).argmax(1)
    centre = x[None].double()
    box = bounds.Box((centre - eps).clamp(0, 1), (centre + eps).clamp(0, 1))
    return least_by_milp(model.graph, box, model.spec(y).to(torch.float64))


@pytest.mark.parametrize("seed", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 2))])
@pytest.mark.parametrize("name", NETS)
def test_the_true_distance_lies_between(name: str, seed: int) -> None:
    """The decision holds in the whole ball of the lower radius, and fails within the upper one."""
    model = as_model(NETS[name](seed))
    x = samples(model.graph)
    found = ct.certified_radius(model, x, ct.Linf(0.4), seconds=5.0, tolerance=0.02)
    near = 0.5 if name == "convolutions" else 0.9  # these may take longer than their time
    assert (found.lower >= near * found.upper.clamp(max=0.4)).all(), str(found)
    assert found.right.all()
    ends = (x, found.lower, found.upper, found.points, found.settled)
    for one, low, high, point, settled in zip(*ends, strict=True):
        assert truly(model, one, float(low)) > -1e-6
        assert bool(settled) == (float(low) >= 0.98 * min(float(high), 0.4))
        if float(high) == torch.inf:  # no failure is known; proofs end at 0.4, or where the time was over
            assert float(low) <= 0.4
            continue
        assert float(low) < float(high)
        assert truly(model, one, float(high)) <= 1e-6
        assert float((point.double() - one.double()).abs().max()) <= float(high)
        assert model(point[None]).argmax() != model(one[None]).argmax()


@pytest.mark.parametrize("threat", [ct.L2(1.0), ct.L1(2.0)])
def test_other_norms_stay_below_the_attacks(threat: ct.L2 | ct.L1) -> None:
    model = as_model(mlp(1, (16, 5, 5, 3)))
    x = samples(model.graph, 2)
    found = ct.certified_radius(model, x, threat, seconds=5.0, tolerance=0.1)
    assert (found.lower > 0).all()
    assert (found.lower < found.upper).all()
    known = found.upper.isfinite()
    away = (found.points - x).double().flatten(1).norm(dim=1, p=threat.norm)
    assert torch.allclose(away[known], found.upper[known])
    g = torch.Generator().manual_seed(0)
    y = model(x).argmax(1)
    for i, low in enumerate(found.lower.tolist()):
        ball = threat.at(low).around(x[i : i + 1].expand(3000, -1), (0.0, 1.0))
        points = ball.project(x[i] + torch.randn(3000, 16, generator=g))
        assert (model(points).argmax(1) == y[i]).all()


def test_samples_together_are_as_if_alone() -> None:
    model = as_model(mlp(2, (16, 5, 5, 3)))
    x = samples(model.graph, 4)
    whole = ct.certified_radius(model, x, ct.Linf(0.3), tolerance=0.02)
    for i in range(4):
        alone = ct.certified_radius(model, x[i : i + 1], ct.Linf(0.3), tolerance=0.02, samples=[i])
        assert float(alone.lower) <= float(whole.upper[i])
        assert float(whole.lower[i]) <= float(alone.upper)
    assert whole.settled.all()
    assert str(whole).count("\n") == 5


def test_wrong_samples_have_no_radius() -> None:
    model = as_model(mlp(0))
    x = samples(model.graph, 2)
    y = model(x).argmax(1)
    y[1] = (y[1] + 1) % 3
    found = ct.certified_radius(model, x, ct.Linf(0.1), y=y)
    assert found.right.tolist() == [True, False]
    assert (found.lower[1], found.upper[1]) == (0.0, 0.0)
    assert float(found.lower[0]) > 0


def test_time_is_kept_and_what_is_proved_stays() -> None:
    model = as_model(mlp(0, (40, 200, 200, 200, 10)))
    x = samples(model.graph, 2)
    began = time.monotonic()
    found = ct.certified_radius(model, x, ct.Linf(0.5), seconds=1.0, tolerance=1e-4)
    assert time.monotonic() - began < 8
    assert (found.lower > 0).all()
    assert (found.lower < found.upper).all()
    assert not found.settled.all()


def test_a_failure_within_a_proved_radius_is_a_contradiction(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that proves too much does not go unnoticed: its own counterexamples tell."""
    real = bounds.bound

    def lying(graph, region, spec=None, *others):
        found = real(graph, region, spec, *others)
        return replace(found, lower=found.lower + 3.0)

    monkeypatch.setattr(bounds, "bound", lying)
    model = as_model(mlp(0))
    x = samples(model.graph, 8)
    y = model(x).argmax(1)
    with pytest.raises(Contradiction, match="proved robust"):
        ct.certified_radius(model, x, ct.Linf(0.9), y=y, attacks=[Weak()])


def test_bad_input_is_named() -> None:
    model = as_model(mlp(0))
    x = samples(model.graph, 1)
    for threat in (ct.L0(1), ct.Linf(0.0)):
        with pytest.raises(UsageError, match="Linf, L2 or L1"):
            ct.certified_radius(model, x, threat)
    with pytest.raises(UsageError, match="x has shape"):
        ct.certified_radius(model, x[:, :1], ct.Linf(0.1))
    with pytest.raises(UsageError, match="tolerance"):
        ct.certified_radius(model, x, ct.Linf(0.1), tolerance=0.0)
    with pytest.raises(UsageError, match="seconds"):
        ct.certified_radius(model, x, ct.Linf(0.1), seconds=-1.0)
    with pytest.raises(UsageError, match="no graph"):
        ct.certified_radius(replace(model, graph=None), x, ct.Linf(0.1))
