"""Networks without what does not vary: the same function, and the same verdicts."""

from math import prod

import pytest
import torch
from torch import Tensor

import bounds
from bounds.graph import Builder, Graph, Ref
from bounds.ops.elementwise import Shift
from bounds.ops.gather import Expand
from bounds.ops.linear import Linear
from bounds.ops.pool import Sum
from bounds.ops.product import Mul
from bounds.ops.relu import LeakyReLU
from bounds.ops.shape import Reshape
from bounds.ops.slicing import Concat, Slice
from bounds.propagate.forward import row_bounds
from bounds.propagate.problem import Problem
from bounds.rounding import Level
from bounds.search import Status, verify
from bounds.search.varying import by_rows, folded, varying

from ...strategies import mlp

ROWS, FEATURES, WIDTH = 7, 4, 6


def of_sets(seed: int) -> Graph:
    """Two sets of rows, 5 and 2, the last feature of each row its weight; averaged and put together."""
    g = torch.Generator().manual_seed(seed)
    builder = Builder((ROWS, FEATURES))

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g) / shape[-1] ** 0.5

    def summed(first: int, last: int) -> Ref:
        count = last - first
        rows = builder.apply(Slice(0, range(first, last)), (builder.input,))
        here = builder.apply(Slice(1, range(FEATURES - 1)), (rows,))
        here = builder.apply(Linear(), (here,), (draw(WIDTH, FEATURES - 1),))
        here = builder.apply(LeakyReLU(), (builder.apply(Shift(), (here,), (draw(WIDTH),)),))
        here = builder.apply(
            LeakyReLU(), (builder.apply(Linear(), (here,), (draw(WIDTH, WIDTH), draw(WIDTH))),)
        )
        weight = builder.apply(Slice(1, range(FEATURES - 1, FEATURES)), (rows,))
        here = builder.apply(Mul(), (here, builder.apply(Expand((count, WIDTH)), (weight,))))
        return builder.apply(Reshape((WIDTH,)), (builder.apply(Sum((0,)), (here,)),))

    both = builder.apply(Concat(0), (summed(0, 5), summed(5, 7)))
    here = builder.apply(LeakyReLU(), (builder.apply(Linear(), (both,), (draw(8, 2 * WIDTH), draw(8))),))
    return builder.build(builder.apply(Linear(), (here,), (draw(2, 8), draw(2))))


def boxes(seed: int, places: list[list[int]], eps: float = 0.5) -> bounds.Box:
    """A box for each list of the input elements that vary."""
    g = torch.Generator().manual_seed(seed + 50)
    centre = torch.rand(len(places), ROWS * FEATURES, generator=g, dtype=torch.float64)
    radius = torch.zeros_like(centre)
    for sample, mine in enumerate(places):
        radius[sample, mine] = eps
    shape = (-1, ROWS, FEATURES)
    lower, upper = ((centre + sign * radius).float().double().view(shape) for sign in (-1, 1))
    return bounds.Box(lower, upper)


def inside(region: bounds.Box, count: int, seed: int = 0) -> Tensor:
    """(count, *shape) points of the first box."""
    g = torch.Generator().manual_seed(seed)
    t = torch.rand(count, *region.shape, generator=g, dtype=torch.float64)
    return region.lower[:1] + t * (region.upper - region.lower)[:1]


@pytest.mark.parametrize(
    ("moving", "split"),
    [([0], True), ([9, 10], True), ([0, 8], True), ([24], True), ([3], True), (list(range(28)), False)],
)
def test_rows_apart_are_the_same_function(moving: list[int], split: bool) -> None:
    graph = of_sets(0).to(torch.float64)
    moves = torch.zeros(ROWS * FEATURES, dtype=torch.bool).index_fill(0, torch.tensor(moving), True)
    apart = by_rows(graph, moves.view(ROWS, FEATURES))
    x = torch.randn(20, ROWS, FEATURES, dtype=torch.float64)
    assert torch.allclose(apart(x), graph(x), rtol=0, atol=1e-13)
    assert (len(apart.nodes) > len(graph.nodes)) == split


def test_what_is_not_marked_stays_where_it_is() -> None:
    graph = of_sets(1).to(torch.float64)
    region = boxes(1, [[5, 6]])
    moves = (region.lower < region.upper)[0]
    marks = varying(graph, moves)
    values = graph.values(inside(region, 200))
    assert all(bool((v == v[:1])[:, ~mark].all()) for v, mark in zip(values, marks, strict=True))
    assert any(bool(mark.any()) and not bool(mark.all()) for mark in marks[1:])
    assert bool(marks[graph.output].all())


def test_the_smaller_graph_is_the_same_function_over_a_box_of_what_it_left_out() -> None:
    graph = of_sets(2).to(torch.float64)
    region = boxes(2, [[5], [6], [5, 6]], eps=0.2)
    problem = Problem(graph, region, Level.REAL, 2**28)
    small = folded(problem)
    own = ROWS * FEATURES
    sizes = [sum(prod(node.shape) for node in p.graph.nodes[1:]) for p in (small, problem)]
    assert sizes[0] < 0.75 * sizes[1]
    box = small.region.box()
    assert torch.equal(box.lower[:, :own], region.lower.flatten(1))
    assert torch.equal(box.upper[:, :own], region.upper.flatten(1))
    assert bool(((box.upper - box.lower)[:, own:] < 1e-11).all())
    x = inside(region, 100)
    behind = box.centre[:1, own:].expand(100, -1)
    found = small.graph(torch.cat([x.flatten(1), behind], 1))
    assert torch.allclose(found, graph(x), rtol=0, atol=1e-12)


def test_bounds_of_the_smaller_graph_hold_and_are_no_looser() -> None:
    for seed in range(4):
        graph = of_sets(seed).to(torch.float64)
        problem = Problem(graph, boxes(seed, [[4]], eps=0.3), Level.REAL, 2**28)
        spec = bounds.Spec(torch.eye(2, dtype=torch.float64)[None], torch.zeros(1, 2, dtype=torch.float64))
        found, whole = (row_bounds(p, spec)[0] for p in (folded(problem), problem))
        values = graph(inside(bounds.Box(*(problem.region.box().lower, problem.region.box().upper)), 500))
        assert bool((found.lower <= values.amin(0)).all() and (values.amax(0) <= found.upper).all())
        assert bool((found.lower >= whole.lower - 1e-9).all() and (found.upper <= whole.upper + 1e-9).all())


def test_dense_networks_are_left_alone() -> None:
    graph = mlp(0).to(torch.float64)
    n = graph.input_shape[0]
    upper = torch.zeros(1, n, dtype=torch.float64)
    upper[0, 0] = 1.0
    problem = Problem(graph, bounds.Box(torch.zeros_like(upper), upper), Level.REAL, 2**28)
    assert folded(problem) is problem
    pinned = Problem(graph, bounds.Box(upper, upper), Level.REAL, 2**28)
    assert folded(pinned) is pinned


@pytest.mark.parametrize("memory", [2**28, 2**17], ids=["together", "in groups"])
def test_verdicts_about_sets(memory: int) -> None:
    """Boxes in which one or two inputs vary, so that a fine grid tells the truth up to what lies between."""
    places = [[0], [5], [3], [24], [0, 9], [27], [12, 13], [8]]
    for seed in range(2):
        graph, region = of_sets(seed), boxes(seed, places)
        least = torch.stack([_least(graph, region, k, mine) for k, mine in enumerate(places)])
        for off, wanted in ((0.02, Status.VERIFIED), (-0.02, Status.FALSIFIED)):
            spec = bounds.Spec(
                torch.tensor([[[1.0, -1.0]]]).expand(len(places), -1, -1), (off - least)[:, None]
            )
            found = verify(graph, region, spec, memory=memory)
            assert [each.status for each in found] == [wanted] * len(places)
            for k, each in enumerate(found):
                if each.witness is not None:
                    assert each.witness.shape == region.shape
                    assert bool(region[torch.tensor([k])].contains(each.witness[None]))
                    assert float(graph(each.witness[None]) @ torch.tensor([1.0, -1.0]) + off - least[k]) <= 0


def _least(graph: Graph, region: bounds.Box, sample: int, places: list[int]) -> Tensor:
    """The least difference of the outputs on a grid over what varies."""
    t = torch.linspace(0, 1, 4000 if len(places) == 1 else 150, dtype=torch.float64)
    grid = torch.cartesian_prod(*[t] * len(places)).view(-1, len(places))
    lower, upper = (x[sample].flatten() for x in (region.lower, region.upper))
    x = lower.repeat(len(grid), 1)
    x[:, places] = lower[places] + grid * (upper - lower)[places]
    y = graph.to(torch.float64)(x.view(-1, ROWS, FEATURES))
    return (y[:, 0] - y[:, 1]).min()
