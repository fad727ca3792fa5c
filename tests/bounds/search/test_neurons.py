"""Intervals that short searches have tightened, against mixed-integer programs and executed networks."""

import time
from collections.abc import Callable
from math import prod

import pytest
import torch
from torch import Tensor

import bounds
from bounds.graph import Graph
from bounds.interval import Interval
from bounds.ops.sshape import Sigmoid
from bounds.propagate.crown import climbed, forward_facts
from bounds.propagate.facts import Facts
from bounds.propagate.problem import OutOfTime, Problem
from bounds.search import Status, schedule, verify
from bounds.search.neurons import layers, tightened
from bounds.search.search import Search
from bounds.spec import Spec

from ...strategies import Net, cnn, mlp, resnet
from .oracles import least_by_milp

SECONDS = 1.0


def deep(seed: int) -> Graph:
    """Enough layers that lines over lines are far from the truth."""
    return mlp(seed, (14, 8, 8, 8, 8, 3))


def sigmoids(seed: int) -> Graph:
    """Neurons that are never decided."""
    net = Net((14,), seed)
    for width in (6, 6, 6):
        net.linear(width).add(Sigmoid())
    return net.linear(2).build()


NETS: dict[str, Callable[[int], Graph]] = {
    "narrow": lambda seed: mlp(seed, (14, 5, 5, 5, 3)),
    "leaky": lambda seed: mlp(seed, (14, 8, 8, 3), 0.2),
    "convolutions": cnn,
    "residual, in a smaller region": resnet,
}


def problem_of(graph: Graph, seed: int, level: bounds.Level, batch: int = 1, eps: float = 0.4) -> Problem:
    g = torch.Generator().manual_seed(seed)
    dtype = torch.float32 if level is bounds.Level.FLOAT else torch.float64
    centre = torch.rand(batch, *graph.input_shape, generator=g, dtype=torch.float64)
    region = bounds.Box(centre - eps, centre + eps).to(dtype)
    return Problem(graph.to(dtype), region, level, 2**26)


def both(problem: Problem) -> tuple[list[Facts], list[Facts]]:
    """Facts before and after."""
    with torch.inference_mode():
        before = forward_facts(problem, tighten=True)
        return before, tightened(problem, before, time.monotonic() + SECONDS)


def exact(problem: Problem, node: int, element: int) -> tuple[float, float]:
    """The least and the largest value of an element, of one sample."""
    part = problem.until(node).graph
    unit = torch.zeros(1, 1, prod(part.output_shape), dtype=torch.float64)
    unit[0, 0, element] = 1.0
    region, zero = problem.region.box(), torch.zeros(1, 1, dtype=torch.float64)
    box = bounds.Box(region.lower, region.upper)
    low, high = (least_by_milp(part, box, Spec(sign * unit, zero)) for sign in (1, -1))
    return low, -high


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("seed", range(2))
def test_the_exact_values_lie_within(net: str, seed: int) -> None:
    problem = problem_of(NETS[net](seed), seed, bounds.Level.REAL, eps=0.05 if "smaller" in net else 0.4)
    before, after = both(problem)
    nodes = layers(problem, before)
    assert nodes
    for node in nodes:
        old, new = (facts[node].interval for facts in (before, after))
        is_open = ((old.lower < 0) & (old.upper > 0)).flatten().nonzero()[:, 0]
        for element in is_open[::4].tolist():
            low, high = exact(problem, node, element)
            ends = [float(end.flatten()[element]) for end in (new.lower, new.upper)]
            assert ends[0] <= low + 1e-6
            assert ends[1] >= high - 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_tighter_than_by_slopes(seed: int) -> None:
    problem = problem_of(deep(seed), seed, bounds.Level.REAL)
    before, after = both(problem)
    node = layers(problem, before)[-1]
    assert width(after[node].interval) < 0.8 * width(before[node].interval)


def width(x: Interval) -> float:
    return float((x.upper - x.lower).sum())


def executed(problem: Problem, node: int, point: Tensor) -> Tensor:
    """A node's value at a point as the level means it."""
    if problem.level is bounds.Level.DEPLOYED:
        point = point.to(torch.float32)
    return problem.until(node).graph.to(point.dtype)(point)


@pytest.mark.parametrize("level", list(bounds.Level))
@pytest.mark.parametrize("net", [deep, sigmoids])
def test_values_of_executed_networks_lie_within(level: bounds.Level, net: Callable[[int], Graph]) -> None:
    problem = problem_of(net(3), 3, level, batch=2)
    before, after = both(problem)
    box, g = problem.region.box(), torch.Generator().manual_seed(1)
    slack = 1e-4 if level is bounds.Level.FLOAT else 1e-12
    for node in layers(problem, before):
        x = after[node].interval
        for _ in range(50):
            share = 0.001 + 0.998 * torch.rand(box.lower.shape, generator=g).to(box.lower)
            share = share if share.flatten()[0] < 0.5 else 0.001 + 0.998 * share.round()
            point = box.lower + share * (box.upper - box.lower)
            value = executed(problem, node, point).to(x.lower)
            assert bool(((x.lower - slack <= value) & (value <= x.upper + slack)).all())


def only_with_neurons() -> tuple[Problem, Spec]:
    """A property that slopes do not prove, but do with tighter neurons."""
    problem = problem_of(deep(1), 1, bounds.Level.REAL)
    row = torch.tensor([[[1.0, -1.0, 0.0]]], dtype=torch.float64)
    spec = Spec(row, torch.zeros(1, 1, dtype=torch.float64))
    before, after = both(problem)
    nothing_known, every = (
        torch.full((1, 1), -torch.inf, dtype=torch.float64),
        torch.ones(1, 1, dtype=torch.bool),
    )
    with torch.inference_mode():
        plain, better = (float(climbed(problem, f, spec, 20, nothing_known, every)) for f in (before, after))
    assert plain < better
    offset = torch.full((1, 1), -(0.2 * plain + 0.8 * better), dtype=torch.float64)
    return problem, Spec(row, offset)


def test_decide_what_slopes_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, spec = only_with_neurons()
    looked = []

    def nothing(self: Search, stop: float, end: float) -> None:
        looked.append(stop)
        if len(looked) > 1:
            raise OutOfTime

    monkeypatch.setattr(Search, "run", nothing)
    [decision] = verify(problem.graph, problem.region, spec, timeout=20.0)
    assert decision.status is Status.VERIFIED
    assert len(looked) == 1
    monkeypatch.setattr(schedule, "layers", lambda problem, facts: [])
    [decision] = verify(problem.graph, problem.region, spec, timeout=20.0)
    assert decision.status is not Status.VERIFIED


def test_what_a_search_could_not_cut_is_proved_with_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def stuck(self: Search, stop: float, end: float) -> None:
        self.hopeless.update(dict.fromkeys(self.sample.tolist(), -1.0))
        pool = self._begun()
        self.pool = pool[torch.zeros(len(pool), dtype=torch.bool)]
        assert self.over

    monkeypatch.setattr(Search, "run", stuck)
    problem, spec = only_with_neurons()
    [decision] = verify(problem.graph, problem.region, spec, timeout=20.0)
    assert decision.status is Status.VERIFIED
