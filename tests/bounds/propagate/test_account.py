"""The account of rounding that is kept in lines and in the ends of intervals, against fractions."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import pytest
import torch
from torch import Tensor, nn

import bounds
from bounds.interval import Interval
from bounds.propagate.crown import forward_facts
from bounds.propagate.facts import Facts
from bounds.propagate.forms import Layout, over_interval
from bounds.propagate.problem import Problem
from bounds.rounding import Level


def scaled(g: torch.Generator, *shape: int, most: float = 8.0) -> Tensor:
    """Numbers of very different sizes."""
    size = torch.rand(*shape, generator=g, dtype=torch.float64) * 2 * most - most
    return torch.randn(*shape, generator=g, dtype=torch.float64) * 10**size


def fractions(x: Tensor) -> list[Fraction]:
    return [Fraction(v) for v in x.flatten().tolist()]


@cache
def traced(kind: type[nn.Module], *arguments: float) -> bounds.Graph:
    """Linear, a function, Linear; in float64."""
    net = nn.Sequential(nn.Linear(4, 6), kind(*arguments), nn.Linear(6, 2)).double()
    return bounds.trace(net, torch.zeros(1, 4, dtype=torch.float64))


def layered(g: torch.Generator, kind: type[nn.Module], *arguments: float) -> bounds.Graph:
    """The same with parameters of its own."""
    return traced(kind, *arguments).map_params(lambda p: scaled(g, *p.shape, most=4.0))


def facts_of(graph: bounds.Graph, g: torch.Generator) -> list[Facts]:
    centre = torch.randn(3, 4, generator=g, dtype=torch.float64)
    region = bounds.Box(centre - 0.1, centre + 0.1)
    return forward_facts(Problem(graph, region, Level.REAL, 2**28), tighten=True)


@pytest.mark.parametrize("seed", range(40))
def test_rows_over_an_interval_are_never_above_the_least_value(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    rows, lower = scaled(g, 1, 9), scaled(g, 1, 9)
    x = Interval(lower, lower + scaled(g, 1, 9, most=4.0).abs())
    found = over_interval(Layout(torch.tensor([0]), 1), rows, x, rounded=True)
    ends = zip(fractions(rows), fractions(x.lower), fractions(x.upper), strict=True)
    assert Fraction(found.item()) <= sum(min(a * low, a * high) for a, low, high in ends)


@pytest.mark.parametrize("seed", range(60))
def test_rows_over_a_box_lie_within_their_bounds(seed: int) -> None:
    """What is left after the constant has been taken away may be as small as the rounding."""
    g = torch.Generator().manual_seed(seed)
    rows, lower = scaled(g, 1, 1, 9), scaled(g, 1, 9)
    width = torch.zeros(1, 9, dtype=torch.float64) if seed % 3 else scaled(g, 1, 9, most=4.0).abs()
    region = bounds.Box(lower, lower + width)
    offset = -(rows[0] @ lower[0])[None] if seed % 2 else scaled(g, 1, 1)
    builder = bounds.Builder((9,))
    graph = builder.build(builder.input)
    found = bounds.bound(graph, region, bounds.Spec(rows, offset), method="ibp", level="real")
    ends = zip(fractions(rows), fractions(region.lower), fractions(region.upper), strict=True)
    pairs = [sorted((a * low, a * high)) for a, low, high in ends]
    least, most = (Fraction(offset.item()) + sum(p[i] for p in pairs) for i in (0, 1))
    assert Fraction(found.lower.item()) <= least and most <= Fraction(found.upper.item())


@pytest.mark.parametrize("seed", range(10))
def test_guarded_lines_give_way_by_the_cushions_of_both_steps(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    facts = facts_of(layered(g, nn.LeakyReLU, 0.3), g)
    (here,) = (fact for fact in facts if fact.lines is not None)
    assert here.lines is not None and here.guarded is not None
    assert here.entering is not None and here.cushion is not None
    for side, slope, was, now in (
        (-1, here.lines.lower_slope, here.lines.lower_intercept, here.guarded.lower_intercept),
        (+1, here.lines.upper_slope, here.lines.upper_intercept, here.guarded.upper_intercept),
    ):
        parts = (slope, was, now, here.cushion, here.entering)
        for s, before, after, own, entering in zip(*map(fractions, parts), strict=True):
            assert side * (after - before) > own + abs(s) * entering


def test_what_two_nodes_take_is_not_paid_for_in_advance() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 6).double()

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            return y.relu() + y

    graph = bounds.trace(Twice(), torch.zeros(1, 4, dtype=torch.float64))
    facts = facts_of(graph, torch.Generator().manual_seed(0))
    assert [fact.entering for fact in facts if fact.lines is not None] == [None]


@pytest.mark.parametrize("seed", range(60))
def test_bounds_at_a_point_are_never_above_its_exact_value(seed: int) -> None:
    """Cancellation: the second layer takes away most of what the first one gives."""
    g = torch.Generator().manual_seed(seed)
    graph = layered(g, nn.ReLU)
    point = scaled(g, 1, 4, most=2.0)
    weights = [p for node in graph.nodes for p in node.params]
    hidden = [max(v, Fraction(0)) for v in exactly(weights[0], weights[1], fractions(point))]
    values = exactly(weights[2], weights[3], hidden)
    found = bounds.bound(graph, bounds.Box(point, point), method="crown-ibp", level="real")
    for low, value, high in zip(fractions(found.lower), values, fractions(found.upper), strict=True):
        assert low <= value <= high


@pytest.mark.parametrize("act", [nn.ReLU(), nn.LeakyReLU(0.3)])
def test_what_cancels_in_neurons_and_between_them_is_paid_for(act: nn.Module) -> None:
    """Neurons, and rows over the input, are so small that nothing but the affine node's cushion is large."""
    g = torch.Generator().manual_seed(0)
    for bias in (1e-10, 1e-13):
        first, last = nn.Linear(120, 4).double(), nn.Linear(4, 1, bias=False).double()
        near = 1 + 1e-15 * torch.randn(4, 120, generator=g, dtype=torch.float64)
        pair = torch.tensor([1.0, -1.0], dtype=torch.float64)
        first.weight.data = near * torch.kron(torch.randn(60, generator=g, dtype=torch.float64), pair)
        first.bias.data.fill_(bias)
        last.weight.data = torch.kron(torch.randn(1, 2, generator=g, dtype=torch.float64), pair)
        x = torch.randn(1, 60, generator=g, dtype=torch.float64).repeat_interleave(2, 1)
        graph = bounds.trace(nn.Sequential(first, act, last), x)
        hidden = exactly(first.weight, first.bias, fractions(x))
        slope = Fraction(getattr(act, "negative_slope", 0.0))
        (value,) = exactly(last.weight, torch.zeros(1), [z if z > 0 else z * slope for z in hidden])
        for sign in (1, -1):
            row = torch.full((1, 1, 1), float(sign), dtype=torch.float64)
            spec = bounds.Spec(row, torch.zeros(1, 1, dtype=torch.float64))
            found = bounds.bound(graph, bounds.Box(x, x), spec, method="crown", level="real")
            assert Fraction(found.lower.item()) <= sign * value


def exactly(weight: Tensor, bias: Tensor, x: list[Fraction]) -> list[Fraction]:
    products = (sum(w * v for w, v in zip(fractions(row), x, strict=True)) for row in weight)
    return [Fraction(p) + b for p, b in zip(products, fractions(bias), strict=True)]
