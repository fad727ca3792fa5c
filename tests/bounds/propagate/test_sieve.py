"""Rows that stop where they are enough: the others' bounds, soundness, and nothing seen of the company."""

from typing import Any

import pytest
import torch
from torch import Tensor

import bounds
from bounds.linear import Unit
from bounds.propagate import crown, sieve
from bounds.propagate.crown import forward_facts
from bounds.propagate.facts import Facts
from bounds.propagate.forms import Layout
from bounds.propagate.problem import Problem
from bounds.propagate.rows import lower_bounds
from bounds.propagate.sieve import Sieve
from bounds.rounding import Level

from ...strategies import FAMILIES, mlp, region, resnet

NETS = {**FAMILIES, "deep": lambda seed: mlp(seed, (4, 8, 8, 8, 8, 8, 3))}
LEVELS = [Level.FLOAT, Level.REAL, Level.DEPLOYED]


@pytest.fixture(autouse=True)
def _every_row_may_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sieve, "_WORTH", 1)
    monkeypatch.setattr(sieve, "_SHARE", 1.0)


def question(family: str, seed: int, level: Level) -> tuple[Problem, list[Facts]]:
    """Five samples and what is known of all nodes."""
    graph, eps = NETS[family](seed), 0.3 * 10.0 ** -(seed % 3)
    ball = region(graph, seed, eps, batch=5).to(torch.float64)
    problem = Problem(graph.to(torch.float64), ball, level, 2**26)
    return problem, forward_facts(problem, tighten=True)


def both_ends(problem: Problem, facts: list[Facts], index: int, samples: Tensor, sift: bool) -> Tensor:
    """Lower bounds of z and -z for all elements z of a node: (samples, 2 * elements)."""
    shape = problem.graph.nodes[index].shape
    width = torch.Size(shape).numel()
    each = torch.arange(2 * width).repeat(len(samples))
    sign = torch.where(each < width, 1.0, -1.0).double()
    forms = problem.forms(Layout(samples, 2 * width), torch.zeros_like(sign))
    wanted = Sieve(torch.zeros_like(sign)) if sift else None
    unit = Unit(each % width, sign, shape)
    found = lower_bounds(problem.graph, facts, problem.region, index, unit, forms, sieve=wanted)
    return found.view(len(samples), 2 * width)


def before_functions(graph: bounds.Graph) -> list[int]:
    """The nodes that ReLUs take."""
    return [node.inputs[0] for node in graph.nodes if node.op.name == "LeakyReLU"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("family", NETS)
def test_rows_that_are_not_enough_lose_nothing(family: str, level: Level) -> None:
    stopped = 0
    for seed in range(6):
        problem, facts = question(family, seed, level)
        for index in before_functions(problem.graph):
            every = torch.arange(5)
            whole, sifted = (both_ends(problem, facts, index, every, sift) for sift in (False, True))
            assert ((sifted > 0) >= (whole > 0)).all()
            assert ((sifted > 0) | (sifted >= whole - 1e-12)).all()
            stopped += int((sifted < whole - 1e-9).sum())
    # Rows that begin before the second function meet only one, whose interval is not looked at.
    assert stopped > 0 or len(before_functions(problem.graph)) < 3


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("family", NETS)
def test_no_point_escapes(family: str, level: Level) -> None:
    for seed in range(6):
        problem, facts = question(family, seed, level)
        box = problem.region.box()
        g = torch.Generator().manual_seed(seed)
        share = torch.rand(100, *box.lower.shape, generator=g, dtype=torch.float64)
        share[::2] = share[::2].round()
        points = torch.minimum(box.lower + share * (box.upper - box.lower), box.upper)
        values = problem.graph.values(points.flatten(0, 1))
        for index in before_functions(problem.graph):
            bound = both_ends(problem, facts, index, torch.arange(5), True)
            z = values[index].view(100, 5, -1)
            least = torch.cat([z.amin(0), -z.amax(0)], 1)
            # What the points' own evaluation may be off by.
            assert (bound <= least + 1e-12 * (1 + least.abs())).all()


def test_a_row_does_not_depend_on_the_others() -> None:
    for seed in range(8):
        problem, facts = question("resnet" if seed % 2 else "deep", seed, Level.REAL)
        for index in before_functions(problem.graph):
            together = both_ends(problem, facts, index, torch.arange(5), True)
            for sample in range(5):
                alone = both_ends(problem, facts, index, torch.tensor([sample]), True)
                torch.testing.assert_close(alone[0], together[sample], rtol=1e-9, atol=1e-9)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows went back at once, each time."""
    counts: list[int] = []

    def counted(*args: Any, **kwargs: Any) -> Tensor:
        counts.append(len(args[4]))
        return lower_bounds(*args, **kwargs)

    monkeypatch.setattr(crown, "lower_bounds", counted)
    return counts


def test_as_many_rows_at_once_as_their_windows_allow(asked: list[int]) -> None:
    def conv(inner: int, out: int) -> torch.nn.Module:
        return torch.nn.Conv2d(inner, out, 3, padding=1)

    torch.manual_seed(0)
    relu = torch.nn.ReLU()
    net = torch.nn.Sequential(
        conv(1, 4), relu, conv(4, 4), relu, torch.nn.Flatten(), torch.nn.Linear(1024, 2)
    )
    graph = bounds.trace(net.requires_grad_(False), torch.zeros(1, 1, 16, 16)).to(torch.float64)
    ball = region(graph, 0, 0.3).to(torch.float64)
    found = []
    for memory in (2**26, 2**20):
        asked.clear()
        problem = Problem(graph, ball, Level.REAL, memory)
        found.append([fact.interval for fact in forward_facts(problem, tighten=True)])
        if memory == 2**20:
            dense = problem.rows_at_once(before_functions(graph)[1])
            # Windows of 3 x 3 in images of 16 x 16.
            assert asked[0] <= dense < max(asked) <= problem.rows_at_once(2, 4 * 3 * 3)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one.lower, other.lower, rtol=0, atol=1e-9)
        torch.testing.assert_close(one.upper, other.upper, rtol=0, atol=1e-9)


def test_a_wide_input_counts_for_the_rows_at_once(asked: list[int]) -> None:
    torch.manual_seed(0)
    relu = torch.nn.ReLU()
    net = torch.nn.Sequential(
        torch.nn.Linear(2000, 4), relu, torch.nn.Linear(4, 300), relu, torch.nn.Linear(300, 2)
    )
    graph = bounds.trace(net.requires_grad_(False), torch.zeros(1, 2000)).to(torch.float64)
    ball = bounds.Ball(torch.zeros(1, 2000).double(), 1.0)
    problem = Problem(graph, ball, Level.REAL, 2**20)
    forward_facts(problem, tighten=True)
    assert len(asked) > 1
    # Dense rows over the input: as many as before anything was known of them, no more and no fewer.
    assert max(asked) == asked[0] == problem.rows_at_once(before_functions(graph)[1])


def test_the_same_where_gradients_are_kept() -> None:
    graph = resnet(3)
    ball = region(graph, 3, 0.05, batch=4)
    live = graph.map_params(lambda p: p.clone().requires_grad_())
    lower = bounds.bound(live, ball, method="crown").lower
    with torch.no_grad():
        torch.testing.assert_close(bounds.bound(graph, ball, method="crown").lower, lower)
    lower.sum().backward()
    assert all(p.grad is not None for node in live.nodes for p in node.params)
