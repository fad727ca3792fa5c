"""Rungs 2, 3 and 4: exactness, dominance up to enumeration, and rows that agree with each other."""

import itertools

import numpy as np
import pytest
import torch

import bounds
from bounds.propagate.cascade import JOINT
from bounds.propagate.crown import forward_facts
from bounds.propagate.facts import Facts
from bounds.propagate.problem import Problem
from bounds.rounding import Level

from ..oracles.programs import minimum
from ..strategies import FAMILIES, Net, mlp, random_spec, region, resnet

METHODS = ["ibp", "crown-ibp", "crown", "alpha-crown", "alpha-crown-joint"]
NOISE = 1e-7


def samples(ball: bounds.Ball, count: int, seed: int) -> torch.Tensor:
    """Points of each set: corners and interior; (batch, count, *shape) in float64."""
    g = torch.Generator().manual_seed(seed)
    noise = torch.rand(len(ball), count, *ball.shape, generator=g, dtype=torch.float64) * 2 - 1
    noise[:, ::2] = noise[:, ::2].sign()
    points = [ball.project(ball.center + ball.eps * noise[:, i]) for i in range(count)]
    return torch.stack(points, 1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("norm", [1, 2, torch.inf])
@pytest.mark.parametrize("method", ["forward", *METHODS])
def test_no_sample_escapes(family: str, norm: float, method: str) -> None:
    for seed in range(3):
        graph = FAMILIES[family](seed)
        ball, spec = region(graph, seed, 0.3, norm=norm).to(torch.float64), random_spec(graph, seed)
        b = bounds.bound(graph, ball, spec, method)
        for z in samples(ball, 40, seed).unbind(1):
            rows = spec.to(torch.float64).evaluate(graph(z))
            assert (rows >= b.lower).all() and (rows <= b.upper).all()


@pytest.mark.parametrize("method", ["forward", "crown-ibp", "crown"])
@pytest.mark.parametrize("norm", [1, 2, torch.inf])
def test_exact_on_an_affine_network(method: str, norm: float) -> None:
    net = Net((2, 4, 4), 5)
    skip = net.conv(3).here
    graph = net.conv(3).join(skip).flatten().linear(6).linear(3).build()
    ball = region(graph, 5, 0.2, norm=norm).to(torch.float64)
    b = bounds.bound(graph, ball, method=method)
    jacobian = torch.func.jacrev(lambda x: graph(x[None])[0])(ball.center[0]).flatten(1)
    reach = 0.2 * torch.linalg.vector_norm(jacobian, ord={1: torch.inf, 2: 2, torch.inf: 1}[norm], dim=1)
    centre = graph(ball.center)[0]
    torch.testing.assert_close(b.lower[0], centre - reach, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(b.upper[0], centre + reach, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", ["forward", "crown"])
@pytest.mark.parametrize("family", FAMILIES)
def test_exact_where_every_neuron_is_stable(family: str, method: str) -> None:
    """A tiny region: no neuron changes its sign, so the network is affine there and linear bounds exact."""
    graph = FAMILIES[family](7)
    ball = region(graph, 7, 1e-7).to(torch.float64)
    b = bounds.bound(graph, ball, method=method, level="float")
    for i in range(len(ball)):
        jacobian = torch.func.jacrev(lambda x: graph(x[None])[0])(ball.center[i]).flatten(1)
        reach = 1e-7 * jacobian.abs().sum(1)
        torch.testing.assert_close(b.upper[i] - b.lower[i], 2 * reach, rtol=1e-6, atol=1e-15)


def bound_rows(graph: bounds.Graph, ball: bounds.Ball, spec: bounds.Spec, method: str) -> torch.Tensor:
    return bounds.bound(graph, ball, spec, method, torch.float64).lower


@pytest.mark.parametrize("family", FAMILIES)
def test_dominance_up_to_enumeration(family: str) -> None:
    """IBP <= CROWN-IBP <= CROWN <= alpha-CROWN <= LP <= MILP, with the LP on the same intervals.

    IBP <= zonotopes <= MILP, too; between zonotopes and CROWN there is no order.
    """
    for seed in range(3):
        graph = FAMILIES[family](seed)
        ball = region(graph, seed, 0.25, batch=1).to(torch.float64)
        spec = random_spec(graph, seed, batch=1, rows=2).to(torch.float64)
        chain = [bound_rows(graph, ball, spec, method) for method in METHODS]
        for weaker, stronger in itertools.pairwise(chain):
            assert (weaker <= stronger + NOISE).all()
        zonotopes = bound_rows(graph, ball, spec, "forward")
        assert (chain[0] <= zonotopes + NOISE).all()
        problem = Problem(graph.to(torch.float64), ball, Level.FLOAT, 2**26)
        plain = forward_facts(problem, tighten=True)
        joint = forward_facts(problem, tighten=True, steps=JOINT.joint, known=plain)
        for found, facts in ((chain[-2], plain), (chain[-1], joint)):
            compare_with_programs(graph, facts, spec, found)


def compare_with_programs(
    graph: bounds.Graph, facts: list[Facts], spec: bounds.Spec, rows: torch.Tensor
) -> None:
    lower = [f.interval.lower[0].flatten().numpy() for f in facts]
    upper = [f.interval.upper[0].flatten().numpy() for f in facts]
    unstable = sum(int(((low < 0) & (up > 0)).sum()) for low, up in zip(lower, upper, strict=True))
    for j in range(2):
        row, offset = spec.matrix[0, j].numpy(), float(spec.offset[0, j])
        lp = minimum(graph, lower, upper, row, exact=False) + offset
        assert float(rows[0, j]) <= lp + 1e-6
        if unstable < 60:
            assert lp <= minimum(graph, lower, upper, row, exact=True) + offset + 1e-6


def test_intermediate_bounds_lie_outside_their_exact_range() -> None:
    """Every node's interval encloses the MILP range of that node, so no traversal bug can hide inside."""
    graph = mlp(3, (3, 4, 4, 2))
    ball = region(graph, 3, 0.4, batch=1).to(torch.float64)
    facts = forward_facts(Problem(graph.to(torch.float64), ball, Level.FLOAT, 2**26), tighten=True)
    plain = forward_facts(Problem(graph.to(torch.float64), ball, Level.FLOAT, 2**26), tighten=False)
    lower = [f.interval.lower[0].flatten().numpy() for f in plain]
    upper = [f.interval.upper[0].flatten().numpy() for f in plain]
    for index in range(1, len(graph.nodes)):
        part = bounds.Graph(graph.nodes[: index + 1], index)
        for j in range(graph.nodes[index].shape[0]):
            row = np.eye(graph.nodes[index].shape[0])[j]
            low = minimum(part, lower, upper, row, exact=True)
            high = -minimum(part, lower, upper, -row, exact=True)
            assert float(facts[index].interval.lower[0, j]) <= low + 1e-6
            assert float(facts[index].interval.upper[0, j]) >= high - 1e-6


def test_chunks_do_not_change_the_bounds() -> None:
    graph = resnet(11)
    ball, spec = region(graph, 11, 0.3, batch=5).to(torch.float64), random_spec(graph, 11, batch=5)
    whole = bounds.bound(graph, ball, spec, "crown")
    for memory in (1, 2**13, 2**16):
        parts = bounds.bound(graph, ball, spec, "crown", memory=memory)
        torch.testing.assert_close(parts.lower, whole.lower, rtol=1e-9, atol=1e-9)


def test_a_machine_that_runs_out_of_memory_gets_smaller_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = FAMILIES["cnn"](11)
    ball = region(graph, 11, 0.3, batch=4).to(torch.float64)
    whole = bounds.bound(graph, ball)
    budgets: list[int] = []
    original = Problem.rows_at_once

    def rows_at_once(self: Problem, start: int, width: int | None = None) -> int:
        budgets.append(self.memory)
        if self.memory > 2**24:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return original(self, start, width)

    monkeypatch.setattr(Problem, "rows_at_once", rows_at_once)
    torch.testing.assert_close(bounds.bound(graph, ball).lower, whole.lower)
    assert budgets[0] == 2**28 and budgets[-1] == 2**24


@pytest.mark.parametrize("method", ["forward", "crown"])
def test_a_sample_does_not_depend_on_its_company(method: str) -> None:
    for family in FAMILIES.values():
        graph = family(13)
        ball, spec = region(graph, 13, 0.3, batch=6).to(torch.float64), random_spec(graph, 13, batch=6)
        together = bounds.bound(graph, ball, spec, method).lower
        for i in range(6):
            alone = bounds.bound(graph, ball[i : i + 1], spec[slice(i, i + 1)], method).lower
            torch.testing.assert_close(alone[0], together[i], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_levels_order(family: str) -> None:
    """deployed <= real <= float, each by a small cushion only."""
    graph = FAMILIES[family](17)
    ball = region(graph, 17, 0.1).to(torch.float64)
    for method in ["forward", *METHODS[:3]]:
        found = [
            bounds.bound(graph, ball, method=method, level=level) for level in ("deployed", "real", "float")
        ]
        assert (found[0].lower <= found[1].lower).all() and (found[1].lower <= found[2].lower).all()
        assert (found[2].lower - found[1].lower).max() < 1e-10
        assert (found[2].lower - found[0].lower).max() < 1e-2


def test_a_cascade_proves_what_its_last_method_proves() -> None:
    """And stops early: a sample that the first method proves keeps that method's bounds."""
    graph = FAMILIES["cnn"](19)
    ball = region(graph, 19, 0.12, batch=12).to(torch.float64)
    spec = bounds.margins(graph(ball.center.float()).argmax(1), 3)
    last = bounds.bound(graph, ball, spec, "alpha-crown-joint")
    first = bounds.bound(graph, ball, spec, "ibp")
    found = bounds.bound(graph, ball, spec, "cascade")
    proved = [spec.worst(b.lower) > 0 for b in (first, found, last)]
    assert bool((proved[1] == proved[2]).all()) and bool((proved[0] <= proved[1]).all())
    assert 0 < int(proved[0].sum()) < int(proved[1].sum()) < len(ball)
    torch.testing.assert_close(found.lower[proved[0]], first.lower[proved[0]])
