"""The derivative of rows' bounds by their slopes and planes, against differences of the bounds themselves."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import bounds
from bounds.ops.product import Contraction, Mul
from bounds.ops.shape import Reshape
from bounds.ops.sshape import Tanh
from bounds.propagate import alpha
from bounds.propagate.crown import forward_facts
from bounds.propagate.dual import Pass
from bounds.propagate.forms import Forms, Layout
from bounds.propagate.problem import Problem
from bounds.propagate.rows import lower_bounds
from bounds.propagate.turns import turns
from bounds.rounding import Level

from ..strategies import FAMILIES, Net, region


def products(seed: int) -> bounds.Graph:
    net = Net((4,), seed)
    left = net.linear(6).relu().here
    net.linear(6).add(Tanh())
    net.here = net.builder.apply(Mul(), [net.here, left])
    return net.linear(5).add(Tanh()).linear(3).build()


def matrix_products(seed: int) -> bounds.Graph:
    net = Net((4,), seed)
    left = net.linear(6).add(Reshape((2, 3))).here
    net.here = net.builder.input
    net.linear(6).relu().add(Reshape((3, 2)))
    net.here = net.builder.apply(Contraction("ab,bc->ac"), [left, net.here])
    return net.flatten().linear(5).add(Tanh()).linear(3).build()


WITH_PRODUCTS = {**FAMILIES, "products": products, "matrix products": matrix_products}


@pytest.mark.parametrize("family", WITH_PRODUCTS)
@pytest.mark.parametrize("norm", [2, torch.inf])
def test_gradients_are_differences(family: str, norm: float) -> None:
    graph = WITH_PRODUCTS[family](3).to(torch.float64)
    problem = Problem(graph, region(graph, 3, 0.3, batch=2, norm=norm).to(torch.float64), Level.FLOAT, 2**28)
    facts = forward_facts(problem, tighten=True)
    layout = Layout(torch.arange(2), 9)
    rows = torch.randn(
        18, *graph.output_shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    free = turns(graph, facts, layout)
    slopes = [turn.inside(turn.start) for turn in free]
    slopes = [s + 0.1 * (turn.inside(s * 0 + 0.4) - s) for s, turn in zip(slopes, free, strict=True)]

    def bound(at: list[Tensor], record: dict[int, Tensor]) -> tuple[Tensor, Pass]:
        own = alpha.owned(free, at, rounded=False)
        forms = Forms(layout, torch.zeros(18, dtype=torch.float64), slack=None)
        value = lower_bounds(graph, facts, problem.region, graph.output, rows, forms, own=own, record=record)
        return value, Pass(graph, facts, problem.region, layout, record, own)

    parts = [alpha.Moving(turn, None, s) for turn, s in zip(free, slopes, strict=True)]
    gradients = alpha.gradients(parts, slopes, bound(slopes, {})[1])
    assert any(bool(g.any()) for g in gradients)
    step = 1e-7
    for k, turn in enumerate(free):
        g = torch.Generator().manual_seed(k)
        for _ in range(3):
            direction = torch.randn(slopes[k].shape, generator=g, dtype=torch.float64) * turn.free
            ends = []
            for sign in (+1, -1):
                moved = list(slopes)
                moved[k] = slopes[k] + sign * step * direction
                ends.append(bound(moved, {})[0])
            expected = (gradients[k] * direction).reshape(18, -1).sum(1)
            torch.testing.assert_close((ends[0] - ends[1]) / (2 * step), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_steps_over_few_elements_are_steps_over_all(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = FAMILIES[family](5).to(torch.float64)
    problem = Problem(graph, region(graph, 5, 0.3, batch=2).to(torch.float64), Level.FLOAT, 2**28)
    facts = forward_facts(problem, tighten=True)
    layout, n = Layout(torch.arange(2), 4), graph.output_shape[0]
    g = torch.Generator().manual_seed(2)
    rows = torch.randn(8, n, generator=g, dtype=torch.float64)
    free = turns(graph, facts, layout)
    # Few of them are free, not the same in all rows, and they begin where there is something to win.
    free = [replace(turn, free=turn.free & _some(turn.free)) for turn in free]
    start = [turn.inside(torch.where(turn.free, 0.5, turn.start)) for turn in free]
    narrow = [alpha.Moving.of(turn, s).columns is not None for turn, s in zip(free, start, strict=True)]
    assert any(narrow)

    def climbed() -> alpha.Climb:
        return alpha.climb(problem, facts, rows, layout, rows.new_zeros(8), free, start, alpha.Pace(5))

    few = climbed()
    assert bool((few.value > few.first).any())
    monkeypatch.setattr(alpha.Moving, "of", lambda turn, chosen: alpha.Moving(turn, None, chosen))
    every = climbed()
    torch.testing.assert_close(few.value, every.value, rtol=0, atol=0)
    for a, b in zip(few.chosen, every.chosen, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def _some(free: Tensor) -> Tensor:
    some = torch.zeros_like(free)
    some[1:, ::3] = True
    return some
