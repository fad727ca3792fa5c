"""Shares of losses against networks small enough to work them out."""

import pytest
import torch
from torch import Tensor

import bounds
from bounds.graph import Builder
from bounds.ops.linear import Linear
from bounds.ops.product import Mul
from bounds.propagate.alpha import Pace, climb
from bounds.propagate.crown import forward_facts
from bounds.propagate.dual import Pass
from bounds.propagate.facts import Facts
from bounds.propagate.forms import Layout
from bounds.propagate.problem import Problem
from bounds.search.sensitivity import owed

from ...strategies import mlp


def passed(graph: bounds.Graph, region: bounds.Box, row: Tensor) -> tuple[Pass, list[Facts]]:
    """One row per sample on its way back, and what it rests on."""
    problem = Problem(graph.to(torch.float64), region, bounds.Level.FLOAT, 2**24)
    facts = forward_facts(problem, tighten=True)
    layout = Layout(torch.arange(len(region)), 1)
    offset = torch.zeros(len(region), dtype=torch.float64)
    return climb(problem, facts, row, layout, offset, [], [], Pace(0)).last, facts


@pytest.mark.parametrize("seed", range(5))
def test_first_layer_losses_are_shared_by_weight_times_width(seed: int) -> None:
    """One hidden layer: an upper line loses ``-l u / (u - l)``, which its inputs owe by ``|W| width``."""
    graph = mlp(seed, (3, 8, 1))
    g = torch.Generator().manual_seed(seed)
    lower = -torch.rand(4, 3, generator=g, dtype=torch.float64)
    region = bounds.Box(lower, lower + torch.rand(4, 3, generator=g, dtype=torch.float64) * 2)
    row = torch.ones(4, 1, dtype=torch.float64)
    last, _ = passed(graph, region, row)
    inputs = torch.tensor([[2, 0, 1]]).expand(4, -1)
    linear = [node.params for node in graph.nodes if isinstance(node.op, Linear)]
    weight, bias = (p.double() for p in linear[0])
    out = linear[1][0].double()[0]
    width, centre = region.upper - region.lower, (region.upper + region.lower) / 2
    reach = width[:, None] * weight.abs()
    low = centre @ weight.T + bias - reach.sum(2) / 2
    high = low + reach.sum(2)
    height = torch.where((low < 0) & (high > 0), -low * high / (high - low), 0.0)
    expected = ((out.clamp(max=0).abs() * height / (high - low))[:, :, None] * reach).sum(1)
    assert (expected > 0).any()
    found = owed(last, torch.arange(4), inputs)
    torch.testing.assert_close(found, expected.gather(1, inputs))


@pytest.mark.parametrize("seed", range(5))
def test_shares_add_up_where_inputs_do_not_meet(seed: int) -> None:
    """An input that alone varies owes all that any line loses, one that does not vary owes nothing."""
    graph = mlp(seed, (3, 8, 8, 1))
    lower = torch.full((1, 3), 0.3, dtype=torch.float64)
    upper = lower + torch.tensor([0.0, 1.5, 0.0], dtype=torch.float64)
    last, facts = passed(graph, bounds.Box(lower, upper), torch.ones(1, 1, dtype=torch.float64))
    found = owed(last, torch.arange(1), torch.arange(3)[None])
    assert found[0, 0] == found[0, 2] == 0
    assert (found[0, 1] > 0) == any(
        bool(((f.interval.lower < 0) & (f.interval.upper > 0)).any()) for f in facts[1:-1]
    )


def test_products_owe_to_both_factors() -> None:
    """``x y`` over a box: halving the width of either factor halves the spread, the product of the radii."""
    builder = Builder((2,))
    one, other = (
        builder.apply(Linear(), (builder.input,), (torch.eye(2)[k : k + 1], torch.zeros(1))) for k in range(2)
    )
    graph = builder.build(builder.apply(Mul(), (one, other)))
    region = bounds.Box(torch.tensor([[-1.0, 2.0]]).double(), torch.tensor([[2.0, 6.0]]).double())
    last, _ = passed(graph, region, -torch.ones(1, 1, dtype=torch.float64))
    found = owed(last, torch.arange(1), torch.arange(2)[None])
    torch.testing.assert_close(found, torch.tensor([[3.0, 3.0]], dtype=torch.float64))
