"""Programs against the exact least value, in rationals, of small networks of one input."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

import bounds
from bounds.interval import Interval
from bounds.ops.relu import Abs, Clip, LeakyReLU, PReLU
from bounds.ops.segments import Shrink, Threshold
from bounds.ops.stairs import Floor, Sign, Step
from bounds.programs import below, lp, milp, sdp
from bounds.programs.exact import ExactProgram
from bounds.programs.relaxed import known_facts
from bounds.programs.result import stated
from bounds.programs.system import system
from bounds.propagate.facts import Facts
from bounds.propagate.problem import Problem

from ...oracles.onedim import Function, Layer, graph, least
from ...strategies import mlp

ZERO, ONE = Fraction(0), Fraction(1)
TOLERANCE = 1e-6


def leaky(slope: float) -> Function:
    line = (Fraction(slope), ZERO)
    op = Abs() if slope == -1 else LeakyReLU(slope)
    return Function(op, (ZERO,), lambda z: (ONE, ZERO) if z > 0 else line)


def clip(low: float, high: float) -> Function:
    ends = Fraction(low), Fraction(high)
    return Function(
        Clip(low, high),
        ends,
        lambda z: (ONE, ZERO) if ends[0] < z < ends[1] else (ZERO, ends[0] if z <= ends[0] else ends[1]),
    )


CONTINUOUS = {
    "relu": leaky(0.0),
    "leaky": leaky(0.1),
    "falling": leaky(-0.3),
    "steep": leaky(1.8),
    "abs": leaky(-1.0),
    "prelu": Function(PReLU(), (ZERO,), lambda z: (ONE if z > 0 else Fraction(0.2), ZERO), 0.2),
    "clip": clip(-0.3, 0.7),
}
JUMPING = {
    "threshold": Function(
        Threshold(0.1, 0.5), (Fraction(0.1),), lambda z: (ONE, ZERO) if z > 0.1 else (ZERO, Fraction(0.5))
    ),
    "shrink": Function(
        Shrink(0.3, 0.1),
        (Fraction(-0.3), Fraction(0.3)),
        lambda z: (ONE, -Fraction(0.1)) if z > 0.3 else (ONE, Fraction(0.1)) if z < -0.3 else (ZERO, ZERO),
    ),
    "sign": Function(Sign(), (ZERO,), lambda z: (ZERO, Fraction((z > 0) - (z < 0)))),
    "step": Function(Step(closed=True), (ZERO,), lambda z: (ZERO, ONE if z > 0 else ZERO)),
    "floor": Function(
        Floor(), [Fraction(k) for k in range(-30, 31)], lambda z: (ZERO, Fraction(math.floor(z)))
    ),
}
FUNCTIONS = CONTINUOUS | JUMPING


def network(function: Function, seed: int, ties: bool = False, maxout: bool = False) -> list[Layer]:
    """Two hidden layers of three; with ``ties`` of small integers, so that kinks coincide."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        if ties:
            return torch.randint(-2, 3, shape, generator=g).double()
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    branches = 2 if maxout else 1
    first = Layer([(draw(3, 1) * 2, draw(3)) for _ in range(branches)], None if maxout else function)
    second = Layer([(draw(3, 3), draw(3)) for _ in range(branches)], function)
    return [first, second, Layer([(draw(2, 3), draw(2))], None)]


def check(layers: list[Layer], low: float, high: float) -> None:
    """proved <= exact = MILP, LP <= MILP, CROWN <= LP, for both outputs and their negatives."""
    net = graph(layers)
    region = bounds.Box(*(torch.full((1, 1), end, dtype=torch.float64) for end in (low, high)))
    matrix = torch.cat([torch.eye(2), -torch.eye(2)]).double()
    spec = bounds.Spec(matrix[None], torch.tensor([[0.25, 0, 0, -0.5]], dtype=torch.float64))
    exact = [
        least(layers, low, high, row) + Fraction(float(offset))
        for row, offset in zip(matrix, spec.offset[0], strict=True)
    ]
    value = torch.tensor([[float(v) for v in exact]], dtype=torch.float64)
    crown = bounds.bound(net, region, spec, "crown-ibp").lower
    relaxed, found = lp(net, region, spec), milp(net, region, spec)
    scale = TOLERANCE * (1 + value.abs())
    assert (crown <= relaxed.lower + scale).all()
    assert (relaxed.lower <= relaxed.value).all() and (relaxed.value <= value + scale).all()
    assert ((found.value - value).abs() <= scale).all()
    assert (found.attained >= value - scale).all() and bool(region.contains(found.point[0]).all())
    for j, least_value in enumerate(exact):
        assert Fraction(float(relaxed.lower[0, j])) <= least_value


@pytest.mark.parametrize("name", FUNCTIONS)
def test_programs_against_the_exact_value(name: str) -> None:
    for seed in range(2):
        check(network(FUNCTIONS[name], seed), -0.7, 0.9)


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_programs_against_the_exact_value_of_many(name: str) -> None:
    for seed in range(2, 22):
        check(network(FUNCTIONS[name], seed), -0.7, 0.9)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_ties(name: str) -> None:
    """Kinks that coincide, that the ends of the region hit, and regions of one point."""
    check(network(CONTINUOUS[name], 5, ties=True), -1.0, 1.0)
    check(network(CONTINUOUS[name], 6, ties=True), 0.5, 0.5)


@pytest.mark.parametrize("name", ["relu", "leaky", "clip"])
def test_the_larger_of_two(name: str) -> None:
    for seed in range(3):
        check(network(FUNCTIONS[name], seed, maxout=True), -0.7, 0.9)


@pytest.mark.parametrize("name", ["relu", "leaky", "falling", "steep", "abs", "prelu"])
def test_semidefinite_programs_against_the_exact_value(name: str) -> None:
    """proved <= exact in rationals, near the solver's value, and tighter than linear programs."""
    gain = 0.0
    for seed in range(4):
        layers = network(FUNCTIONS[name], seed)
        net = graph(layers)
        region = bounds.Box(*(torch.full((1, 1), end, dtype=torch.float64) for end in (-0.7, 0.9)))
        spec = bounds.Spec(torch.eye(2)[None].double(), torch.tensor([[0.25, -0.5]], dtype=torch.float64))
        found, linear = sdp(net, region, spec), lp(net, region, spec)
        exact = [
            least(layers, -0.7, 0.9, row) + Fraction(float(offset))
            for row, offset in zip(spec.matrix[0], spec.offset[0], strict=True)
        ]
        for j, value in enumerate(exact):
            assert Fraction(float(found.lower[0, j])) <= value
            assert float(found.value[0, j]) <= float(value) + 1e-5 * (1 + abs(float(value)))
        assert float((found.value - found.lower).max()) < 1e-3
        gain += float((found.lower - linear.lower).mean())
    assert gain > 1e-3


def test_whether_a_row_can_be_at_or_below_a_threshold() -> None:
    """The same answer as the exact value, from both sides of it."""
    layers = network(FUNCTIONS["relu"], 3)
    net, row = graph(layers), torch.tensor([[[1.0, -0.5]]], dtype=torch.float64)
    value = float(least(layers, -0.7, 0.9, row[0, 0]))
    region = bounds.Box(*(torch.full((1, 1), end, dtype=torch.float64) for end in (-0.7, 0.9)))
    for gap, possible in ((1e-3, False), (-1e-3, True), (-1.0, True)):
        spec = bounds.Spec(row, torch.tensor([[gap - value]], dtype=torch.float64))
        found = below(net, region, spec)
        assert bool(found.value.isinf()) is not possible
        assert bool(found.attained <= 0) is possible
        moved = below(net, region, bounds.Spec(row, torch.zeros(1, 1)), threshold=value - gap)
        assert bool((moved.attained <= value - gap).all()) is possible


@pytest.mark.parametrize("seed", range(3))
def test_cuts_of_neurons_are_obeyed(seed: int) -> None:
    """The parts of a region where a neuron is >= 0, or <= 0: the least value is that of one of them."""
    net = mlp(seed, (2, 6, 6, 1)).to(torch.float64)
    region = bounds.Box(-torch.ones(1, 2).double(), torch.ones(1, 2).double())
    problem, _ = stated(net, region, bounds.Spec(torch.ones(1, 1, 1), torch.zeros(1, 1)), "real")
    facts = known_facts(problem, False)
    whole, _ = minimum(problem, facts)
    for source in [n.inputs[0] for n in problem.graph.nodes if isinstance(n.op, LeakyReLU)]:
        x = facts[source].interval
        for element in ((x.lower < 0) & (x.upper > 0))[0].nonzero().flatten().tolist():
            lower, upper = x.lower.clone(), x.upper.clone()
            lower[0, element] = upper[0, element] = 0
            found = []
            for side, part in ((1, Interval(lower, x.upper)), (-1, Interval(x.lower, upper))):
                cut = [replace(f, interval=part) if i == source else f for i, f in enumerate(facts)]
                value, point = minimum(problem, cut)
                found.append(value)
                if point is not None:
                    values = problem.graph.values(point)
                    assert side * float(values[source][0, element]) >= -TOLERANCE
                    assert float(values[problem.graph.output]) == pytest.approx(value, abs=TOLERANCE)
            assert min(found) == pytest.approx(whole, abs=TOLERANCE)


def minimum(problem: Problem, facts: list[Facts]) -> tuple[float, Tensor | None]:
    """The least output, and where it is."""
    program = ExactProgram(system(problem.graph, facts, 0), facts, problem.region, 0)
    value, point = program.minimum(np.ones(1), math.inf)
    return value, None if point is None else torch.from_numpy(point)[None]
