"""Multipliers of constraints in rows: sound, and the same for one row as for many."""

import torch

import bounds
from bounds.ops.linear import Linear
from bounds.propagate.crown import forward_facts
from bounds.propagate.forms import Layout, Own, Push
from bounds.propagate.problem import Problem
from bounds.propagate.rows import lower_bounds
from bounds.rounding import Level

from ...strategies import Net


def test_multipliers_count_where_neurons_are_dead() -> None:
    """A dead neuron adds nothing to a row, but a constraint on what enters it does."""
    net = Net((4,), 3)
    net.linear(64).relu()
    net.add(Linear(), net.draw(96, 64, scale=0.2), net.draw(96) - 2.0).relu().linear(16)
    graph = net.build().to(torch.float64)
    ball = bounds.Ball(torch.full((1, 4), 0.5, dtype=torch.float64), 0.3)
    problem = Problem(graph, ball, Level.FLOAT, 2**28)
    facts = forward_facts(problem, tighten=True)
    last = max(i for i, node in enumerate(graph.nodes) if type(node.op).__name__ == "LeakyReLU")
    x = facts[graph.nodes[last].inputs[0]].interval
    dead = x.upper[0] <= 0
    assert dead.float().mean() > 0.5
    g = torch.Generator().manual_seed(0)
    multiplier = torch.randn(16, 96, generator=g, dtype=torch.float64)
    at = torch.where(multiplier > 0, x.lower, x.upper)
    rows, layout = torch.eye(16, dtype=torch.float64), Layout(torch.zeros(1, dtype=torch.long), 16)
    own = {last: Own(push=Push(multiplier, at))}
    forms = problem.forms(layout, torch.zeros(16, dtype=torch.float64))
    together = lower_bounds(graph, facts, ball, graph.output, rows, forms, own=own)
    for j in range(16):
        mine = {last: Own(push=Push(multiplier[j : j + 1], at[j : j + 1]))}
        one = problem.forms(Layout(torch.zeros(1, dtype=torch.long), 1), torch.zeros(1, dtype=torch.float64))
        alone = lower_bounds(graph, facts, ball, graph.output, rows[j : j + 1], one, own=mine)
        torch.testing.assert_close(together[j : j + 1], alone)
