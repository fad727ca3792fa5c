"""What every product of two branches must hold: linear in each, its adjoint, its bounds in exact numbers."""

import itertools
from fractions import Fraction

import pytest
import torch
from torch import Tensor

import bounds
from bounds.graph import Builder, Graph
from bounds.interval import Interval
from bounds.kinds import Bilinear
from bounds.linear import Shape
from bounds.ops.product import Contraction, Mul
from bounds.ops.shape import Reshape
from bounds.ops.slicing import Slice
from bounds.propagate.facts import Facts, node_facts
from bounds.rounding import Level

from .networks import behind_a_layer, draw, extremes
from .test_affine import subclasses

Case = tuple[Bilinear, tuple[Shape, Shape]]
CASES: list[Case] = [
    (Mul(), ((5,), (5,))),
    (Mul(), ((2, 3), (2, 3))),
    (Contraction("ab,bc->ac"), ((2, 3), (3, 4))),
    (Contraction("hab,hbc->hac"), ((2, 2, 3), (2, 3, 1))),
    (Contraction("ab,hbc->hac"), ((2, 3), (2, 3, 2))),
    (Contraction("a,b->ab"), ((2,), (3,))),
    (Contraction("ab,ab->a"), ((2, 3), (2, 3))),
]
EXACT = {"rtol": 1e-12, "atol": 1e-12}
METHODS = ("ibp", "crown-ibp", "crown", "alpha-crown")

every = pytest.mark.parametrize(("op", "ins"), CASES, ids=[f"{op!r}-{ins}" for op, ins in CASES])


def test_every_product_of_two_branches_has_a_case() -> None:
    here = {kind for kind in subclasses(Bilinear) if kind.__module__ == "bounds.ops.product"}
    assert here == {type(op) for op, _ in CASES}


@every
def test_linear_in_each_input(op: Bilinear, ins: tuple[Shape, Shape]) -> None:
    a, b, c = draw(3, *ins[0], seed=1), draw(3, *ins[1], seed=2), draw(3, *ins[0], seed=3)
    torch.testing.assert_close(op.product(a + 2 * c, b), op.product(a, b) + 2 * op.product(c, b), **EXACT)
    d = draw(3, *ins[1], seed=4)
    torch.testing.assert_close(op.product(a, b + 2 * d), op.product(a, b) + 2 * op.product(a, d), **EXACT)


@every
def test_adjoint_is_the_vjp(op: Bilinear, ins: tuple[Shape, Shape]) -> None:
    a, b = (draw(3, *shape, seed=i).requires_grad_() for i, shape in enumerate(ins))
    y = op.product(a, b)
    rows = draw(3, 4, *y.shape[1:], seed=5)
    got = op.adjoint(rows, a.detach()[:, None], b.detach()[:, None])
    for j in range(4):
        expected = torch.autograd.grad(y, (a, b), rows[:, j], retain_graph=True)
        for part, whole in zip(got, expected, strict=True):
            torch.testing.assert_close(part[:, j], whole, **EXACT)


def box(shape: Shape, seed: int) -> Interval:
    """Ill-scaled boxes: sizes from 1e-6 to 1e6, some much narrower than they are far out."""
    scale = 10.0 ** (6 * draw(4, *shape, seed=seed).clamp(-1, 1))
    centre = draw(4, *shape, seed=seed + 1) * scale
    radius = (
        draw(4, *shape, seed=seed + 2).abs() * scale * 10.0 ** (-8 * (draw(4, *shape, seed=seed + 3) > 0))
    )
    return Interval(centre - radius, centre + radius)


def facts(op: Bilinear, x: Interval, y: Interval, level: Level) -> Facts:
    graph = two_inputs(op, tuple(x.lower.shape[1:]), tuple(y.lower.shape[1:]))
    return node_facts(graph, graph.nodes[graph.output], (Facts(x), Facts(y)), level, relaxed=True)


def two_inputs(op: Bilinear, left: Shape, right: Shape) -> Graph:
    sizes = [torch.Size(shape).numel() for shape in (left, right)]
    builder = Builder((sum(sizes),))
    first = builder.apply(Slice(0, range(sizes[0])), (builder.input,))
    second = builder.apply(Slice(0, range(sizes[0], sum(sizes))), (builder.input,))
    refs = builder.apply(Reshape(left), (first,)), builder.apply(Reshape(right), (second,))
    return builder.build(builder.apply(op, refs))


def exact_products(op: Bilinear, a: Tensor, b: Tensor) -> list[list[tuple[Fraction, Fraction]]]:
    """For each output, the pairs of exact factors that are summed: found by asking with numbered elements."""
    n, m = a.numel(), b.numel()
    one, other = torch.eye(n, dtype=torch.float64), torch.eye(m, dtype=torch.float64)
    table = op.product(one.view(n, 1, *a.shape), other.view(1, m, *b.shape)).flatten(2)
    left, right = ([Fraction(v) for v in t.flatten().tolist()] for t in (a, b))
    return [
        [(left[i], right[j]) for i, j in (table[:, :, k] != 0).nonzero().tolist()]
        for k in range(table.shape[2])
    ]


def exactly(op: Bilinear, a: Tensor, b: Tensor) -> list[Fraction]:
    return [sum((x * y for x, y in pairs), Fraction(0)) for pairs in exact_products(op, a, b)]


def corners(x: Interval, count: int, seed: int) -> list[Tensor]:
    """Points of the box: ends chosen at random, and points between."""
    low, width = x.lower, x.upper - x.lower
    ends = [torch.where(draw(*low.shape, seed=seed + i) > 0, x.lower, x.upper) for i in range(count)]
    inner = [low + width * draw(*low.shape, seed=seed + 100 + i).abs().clamp(max=1) for i in range(count)]
    return ends + [torch.minimum(torch.maximum(z, x.lower), x.upper) for z in inner]


@every
def test_intervals_and_planes_hold_in_exact_arithmetic(op: Bilinear, ins: tuple[Shape, Shape]) -> None:
    x, y = box(ins[0], 1), box(ins[1], 11)
    found = facts(op, x, y, Level.REAL)
    assert found.planes is not None and found.cushion is not None
    planes = found.planes
    for a, b in zip(corners(x, 4, 21), corners(y, 4, 41), strict=True):
        for s in range(len(a)):
            values = exactly(op, a[s], b[s])
            over_a, over_b = exactly(op, a[s], planes.right[s]), exactly(op, planes.left[s], b[s])
            flat = [t[s].flatten().tolist() for t in (found.interval.lower, found.interval.upper)]
            rest = [t[s].flatten().tolist() for t in (planes.shift, planes.spread, found.cushion)]
            for k, value in enumerate(values):
                assert Fraction(flat[0][k]) <= value <= Fraction(flat[1][k])
                shift, spread, cushion = (Fraction(t[k]) for t in rest)
                assert abs(value - (over_a[k] + over_b[k] - shift)) <= spread + cushion


@every
def test_intervals_are_exact_where_factors_are_independent(op: Bilinear, ins: tuple[Shape, Shape]) -> None:
    """As every element occurs in few products of an output, some corner attains the interval's end."""
    x, y = (Interval(c - 1, c + 1) for c in (draw(3, *shape, seed=7) for shape in ins))
    found = facts(op, x, y, Level.FLOAT).interval
    for s in range(3):
        pairs = exact_products(op, x.lower[s], y.lower[s])
        other = exact_products(op, x.upper[s], y.upper[s])
        for k, (low, high) in enumerate(zip(pairs, other, strict=True)):
            least = sum(
                min(a * b for a in (u[0], v[0]) for b in (u[1], v[1])) for u, v in zip(low, high, strict=True)
            )
            assert abs(float(least) - float(found.lower[s].flatten()[k])) < 1e-12


@every
@pytest.mark.parametrize("level", ["float", "real", "deployed"])
def test_bounds_enclose_and_dominate(op: Bilinear, ins: tuple[Shape, Shape], level: str) -> None:
    graph = behind_a_layer(op, ins, (), seed=3)
    ball = bounds.Ball(draw(2, *graph.input_shape, seed=7), 0.3)
    least, greatest = extremes(graph, ball, seed=9)
    found = [bounds.bound(graph, ball, method=method, level=level) for method in METHODS]
    for b in (*found, bounds.bound(graph, ball, method="forward", level=level)):
        assert bool((b.lower <= least + 1e-12).all()) and bool((b.upper >= greatest - 1e-12).all())
    for weaker, stronger in itertools.pairwise(found):
        assert bool((weaker.lower <= stronger.lower + 1e-9).all())
        assert bool((weaker.upper >= stronger.upper - 1e-9).all())
