"""Condensed networks against the whole ones: the same values, the same bounds, the same domains."""

import pytest
import torch

import bounds
from bounds.graph import Builder, Graph
from bounds.kinds import Pointwise
from bounds.ops.conv import Conv
from bounds.ops.elementwise import Add
from bounds.ops.linear import Linear
from bounds.ops.relu import Clip, LeakyReLU, PReLU
from bounds.ops.shape import Reshape
from bounds.propagate.alpha import Pace
from bounds.propagate.crown import forward_facts
from bounds.propagate.problem import Problem
from bounds.search.bounding import Root, bounded, proved
from bounds.search.condensed import condensed
from bounds.search.domains import Cuts, Domains, Places
from bounds.spec import Spec

from ...strategies import mlp


def convolutions(seed: int) -> Graph:
    """Convolutions, a shortcut, functions of two and three pieces, fully connected layers."""
    g = torch.Generator().manual_seed(seed)
    builder = Builder((2, 6, 6))

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g) / (shape[-1] * shape[1] if len(shape) > 1 else 1) ** 0.5

    here = builder.apply(Conv((1, 1), (1, 1), (1, 1), 1), (builder.input,), (random(4, 2, 3, 3), random(4)))
    first = builder.apply(Clip(0.0, 1.0), (here,))
    here = builder.apply(Conv((1, 1), (1, 1), (1, 1), 1), (first,), (random(4, 4, 3, 3), random(4)))
    here = builder.apply(LeakyReLU(0.1), (builder.apply(Add(), (here, first)),))
    here = builder.apply(Reshape((144,)), (here,))
    here = builder.apply(LeakyReLU(), (builder.apply(Linear(), (here,), (random(12, 144), random(12))),))
    return builder.build(builder.apply(Linear(), (here,), (random(3, 12), random(3))))


def made(graph: Graph, samples: int, radius: float) -> tuple[Root, Root]:
    """A root over some boxes, whole and condensed, of one row for each box."""
    g = torch.Generator().manual_seed(samples)
    graph = graph.to(torch.float64)
    centre = torch.rand(1, *graph.input_shape, generator=g, dtype=torch.float64)
    centre = centre + radius / 4 * torch.rand(samples, *graph.input_shape, generator=g, dtype=torch.float64)
    problem = Problem(graph, bounds.Box(centre - radius, centre + radius), bounds.Level.FLOAT, 2**26)
    matrix = torch.randn(samples, 1, graph.output_shape[0], generator=g, dtype=torch.float64)
    spec = Spec(matrix, torch.zeros(samples, 1, dtype=torch.float64))
    whole = Root(problem, forward_facts(problem, tighten=True), spec, torch.arange(samples))
    smaller = whole.condensed()
    assert smaller.smaller is not None
    return whole, smaller


CASES = {
    "convolutions": lambda: (convolutions(0), 1, 0.05),
    "convolutions, three samples": lambda: (convolutions(1), 3, 0.02),
    "fully connected": lambda: (mlp(0, (6, 40, 40, 4)), 2, 0.05),
    "hardly anything open": lambda: (mlp(1, (6, 40, 40, 4)), 1, 0.002),
}


@pytest.mark.parametrize("case", CASES)
def test_same_values_in_the_region(case: str) -> None:
    whole, smaller = made(*CASES[case]())
    box, g = whole.problem.region.box(), torch.Generator().manual_seed(0)
    share = torch.rand(50, *box.lower.shape, generator=g, dtype=torch.float64)
    points = (box.lower + share * (box.upper - box.lower)).flatten(0, 1)
    found = smaller.problem.graph(points)
    torch.testing.assert_close(found, whole.problem.graph(points), rtol=0, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_neurons_are_those_left_open(case: str) -> None:
    whole, smaller = made(*CASES[case]())
    kept = sum(n.shape[0] for n in smaller.problem.graph.nodes if isinstance(n.op, Pointwise))
    neurons = [n for n in whole.problem.graph.nodes if isinstance(n.op, Pointwise)]
    is_open = [n.op.undecided(whole.facts[n.inputs[0]].interval).any(0) for n in neurons]
    least = sum(int(x.sum()) for x in is_open)
    assert kept == least or (len(whole.sample) > 1 and kept > least)  # other pieces for other samples


@pytest.mark.parametrize("case", CASES)
def test_same_bounds_of_the_same_domains(case: str) -> None:
    """Domains cut twice: their bounds by gradient steps are what the whole graph gives for them."""
    whole, smaller = made(*CASES[case]())
    samples = torch.arange(len(whole.sample))
    none = Cuts.none(len(samples), samples.device)
    domains = Domains(samples, none, torch.full(samples.shape, -torch.inf), {}, {})
    entered = [n.inputs[0] for n in smaller.problem.graph.nodes if isinstance(n.op, Pointwise)]
    for node in entered[:2]:
        x = smaller.facts[node].interval
        element = (x.upper - x.lower).argmax(1)[domains.question]
        at = x.centre[domains.question, element]
        domains = domains.cut(Places(torch.full_like(element, node), element, at))
    found = bounded(smaller, domains, Pace(5), refine=False)
    back = smaller.whole(found.domains)
    assert all(x.shape[2:] == whole.problem.graph.nodes[p[1]].shape for p, x in back.chosen.items())
    torch.testing.assert_close(proved(whole, back, refine=False), found.rows[:, 0], rtol=0, atol=1e-9)
    plain, there = (
        bounded(root, d, Pace(0), refine=False).rows[:, 0]
        for root, d in ((smaller, domains), (whole, smaller.whole(domains)))
    )
    torch.testing.assert_close(plain, there, rtol=0, atol=1e-9)
    assert case != "fully connected" or (found.rows[:, 0] > plain + 1e-6).any()


def test_left_alone_where_nothing_is_decided() -> None:
    """A graph that would not become cheaper, or one with functions that have parameters of their own."""
    graph = mlp(0, (3, 8, 8, 2)).to(torch.float64)
    wide = bounds.Box(torch.full((1, 3), -99.0).double(), torch.full((1, 3), 99.0).double())
    facts = forward_facts(Problem(graph, wide, bounds.Level.FLOAT, 2**26), tighten=False)
    assert condensed(graph, facts) is None
    builder = Builder((3,))
    here = builder.apply(PReLU(), (builder.input,), (torch.full((3,), 0.5).double(),))
    graph = builder.build(builder.apply(Linear(), (here,), (torch.ones(1, 3).double(),)))
    narrow = bounds.Box(torch.ones(1, 3).double(), 2 * torch.ones(1, 3).double())
    facts = forward_facts(Problem(graph, narrow, bounds.Level.FLOAT, 2**26), tighten=False)
    assert condensed(graph, facts) is None
