"""Planes that rows choose around products: sound however they are turned, and the best are found."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog
from torch import Tensor

import bounds
from bounds.graph import Graph
from bounds.interval import Interval
from bounds.kinds import Bilinear
from bounds.linear import Shape, dense
from bounds.ops import product
from bounds.ops.elementwise import Add
from bounds.ops.linear import Linear
from bounds.ops.product import Contraction, Mul
from bounds.ops.shape import Reshape
from bounds.ops.slicing import Slice
from bounds.propagate import alpha
from bounds.propagate.crown import forward_facts
from bounds.propagate.forms import Forms, Layout, Own
from bounds.propagate.problem import Problem
from bounds.propagate.rows import _through_bilinear, lower_bounds
from bounds.propagate.turns import Plane, turns
from bounds.rounding import Level

from ..ops.networks import draw
from ..ops.test_bilinear import CASES, box, corners, exactly, facts, two_inputs

LEVELS = st.sampled_from([Level.FLOAT, Level.REAL, Level.DEPLOYED])


def turned_bounds(graph: Graph, ball: bounds.Box, level: Level, rows: Tensor, seed: int) -> Tensor:
    """Bounds of two rows for each sample, with any turns, the extreme ones among them."""
    problem = Problem(graph, ball, level, 2**28)
    known = forward_facts(problem, tighten=False)
    layout = Layout(torch.arange(len(ball)), 2)
    (plane,) = turns(graph, known, layout)
    assert isinstance(plane, Plane)
    turn = plane.inside(draw(*plane.start.shape, seed=seed).clamp(-1, 1))
    own = alpha.owned([plane], [turn], rounded=problem.rounded)
    forms = problem.forms(layout, torch.zeros(2 * len(ball), dtype=torch.float64))
    return lower_bounds(graph, known, ball, graph.output, rows, forms, own=own)


@pytest.mark.parametrize("apart", [0, 2**16])
@pytest.mark.parametrize(("op", "ins"), CASES, ids=[f"{op!r}-{ins}" for op, ins in CASES])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), level=LEVELS, wild=st.booleans())
def test_every_turn_is_sound(
    op: Bilinear, ins: tuple[Shape, Shape], apart: int, seed: int, level: Level, wild: bool
) -> None:
    """At level float for tame boxes up to rounding, otherwise in exact arithmetic."""
    x, y = (box(shape, seed + 20 * i) for i, shape in enumerate(ins))
    if not wild or level is Level.FLOAT:
        x, y = (Interval(c.clamp(-1, 1) - 1, c.clamp(-1, 1) + 1) for c in (x.centre, y.centre))
    graph = two_inputs(op, *ins)
    ball = bounds.Box(
        *(torch.cat([v.flatten(1) for v in pair], 1) for pair in ((x.lower, y.lower), (x.upper, y.upper)))
    )
    rows = draw(2 * len(ball), *graph.output_shape, seed=seed + 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(product, "_MOST_APART", apart)
        found = turned_bounds(graph, ball, level, rows, seed).view(len(ball), 2)
    noise = Fraction(1, 10**12) if level is Level.FLOAT else Fraction(0)
    points = zip(corners(x, 3, seed + 50), corners(y, 3, seed + 60), strict=True)
    weights = rows.view(len(ball), 2, -1).tolist()
    for a, b in points:
        for s in range(len(ball)):
            values = exactly(op, a[s], b[s])
            for k in range(2):
                value = sum(
                    (Fraction(w) * v for w, v in zip(weights[s][k], values, strict=True)), Fraction(0)
                )
                assert Fraction(float(found[s, k])) <= value + noise


@pytest.mark.parametrize(("op", "ins"), CASES, ids=[f"{op!r}-{ins}" for op, ins in CASES])
@pytest.mark.parametrize("full", [True, False])
def test_turned_planes_hold_in_exact_arithmetic(op: Bilinear, ins: tuple[Shape, Shape], full: bool) -> None:
    """One step of a row through a product, at corners, which full turns touch: what it loses is rounding."""
    x, y = box(ins[0], 1), box(ins[1], 11)
    known, out = facts(op, x, y, Level.REAL), op.product(x.lower, y.lower).shape[1:]
    samples, outputs = len(x.lower), int(np.prod(out))
    layout = Layout(torch.arange(samples), 2 * outputs)
    size = torch.rand(1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    unit = size * torch.eye(outputs, dtype=torch.float64)
    rows = torch.cat([unit, -unit]).repeat(samples, 1).view(-1, *out)
    turn = draw(len(rows), *op.apart(ins).product(x.lower[:1], y.lower[:1]).shape[1:], seed=5)
    turn = turn.sign() if full else turn.clamp(-1, 1)
    slack = torch.zeros(len(rows), dtype=torch.float64)
    forms = Forms(layout, torch.zeros_like(slack), slack)
    over, forms = _through_bilinear(op, ins, known, Own(turn=turn), rows, forms)
    assert forms.slack is not None
    for a, b in zip(corners(x, 4, 21), corners(y, 4, 41), strict=True):
        for r, s in enumerate(layout.rows.tolist()):
            values = exactly(op, a[s], b[s])
            row = Fraction(float(rows[r].flatten()[r % outputs])) * values[r % outputs]
            terms = zip(
                torch.cat([dense(part)[r].flatten() for part in over]).tolist(),
                torch.cat([a[s].flatten(), b[s].flatten()]).tolist(),
                strict=True,
            )
            line = sum((Fraction(c) * Fraction(z) for c, z in terms), Fraction(float(forms.constant[r])))
            assert line - Fraction(float(forms.slack[r])) <= row


def relaxed_minimum(
    op: Bilinear, ins: tuple[Shape, Shape], weight: Tensor, row: Tensor, along: Tensor
) -> float:
    """The least of ``row . op(a, b) + along . x`` for (a, b) = weight x and x from -1 to 1, by an LP.

    Every single product lies between the planes of McCormick over the exact ranges of its factors.
    """
    n, split = weight.shape[1], int(np.prod(ins[0]))
    factors = weight.numpy()
    reach = np.abs(factors).sum(1)
    eye = (torch.eye(int(np.prod(shape)), dtype=torch.float64) for shape in ins)
    left, right = (e.view(-1, *shape) for e, shape in zip(eye, ins, strict=True))
    table = op.product(left[:, None], right[None]).flatten(2) @ row.flatten()
    single = [(int(i), split + int(j), float(table[i, j])) for i, j in table.nonzero().tolist()]
    planes: list[NDArray[np.float64]] = []
    limits: list[float] = []
    for k, (i, j, _) in enumerate(single):
        for side, ends in ((1, ((1, 1), (-1, -1))), (-1, ((1, -1), (-1, 1)))):
            for s, t in ends:
                # side * (z - t r_j a - s r_i b + s t r_i r_j) >= 0
                plane = np.zeros(n + len(single))
                plane[n + k] = 1
                plane[:n] = -t * reach[j] * factors[i] - s * reach[i] * factors[j]
                planes.append(-side * plane)
                limits.append(side * s * t * reach[i] * reach[j])
    costs = np.concatenate([along.numpy(), [c for _, _, c in single]])
    ranges = [(-1.0, 1.0)] * n + [(None, None)] * len(single)
    found = linprog(costs, A_ub=np.array(planes), b_ub=np.array(limits), bounds=ranges)
    assert found.success
    return float(found.fun)


def two_branches(op: Bilinear, ins: tuple[Shape, Shape], weight: Tensor, row: Tensor, along: Tensor) -> Graph:
    """``row . op(a, b) + along . x`` for (a, b) = weight x."""
    total, split = len(weight), int(np.prod(ins[0]))
    builder = bounds.Builder((weight.shape[1],))
    here = builder.apply(Linear(), (builder.input,), (weight,))
    refs = [
        builder.apply(Reshape(shape), (builder.apply(Slice(0, part), (here,)),))
        for shape, part in zip(ins, (range(split), range(split, total)), strict=True)
    ]
    z = builder.apply(op, refs)
    z = builder.apply(Linear(), (builder.apply(Reshape((row.numel(),)), (z,)),), (row.view(1, -1),))
    skip = builder.apply(Linear(), (builder.input,), (along.view(1, -1),))
    return builder.build(builder.apply(Add(), (z, skip)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("op", "ins"),
    [(Mul(), ((1,), (1,))), (Mul(), ((3,), (3,))), (Contraction("ab,bc->ac"), ((2, 2), (2, 2)))],
)
def test_steps_reach_the_best_planes(op: Bilinear, ins: tuple[Shape, Shape], seed: int) -> None:
    total = sum(int(np.prod(shape)) for shape in ins)
    weight = draw(total, 2 if total == 2 else 4, seed=seed)
    out = op.product(*(torch.zeros(1, *shape) for shape in ins)).shape[1:]
    row, along = draw(*out, seed=seed + 1), draw(weight.shape[1], seed=seed + 2)
    graph = two_branches(op, ins, weight, row, along)
    ball = bounds.Ball(torch.zeros(1, weight.shape[1], dtype=torch.float64), 1.0)
    problem = Problem(graph, ball, Level.REAL, 2**28)
    known = forward_facts(problem, tighten=True)
    layout, one = Layout(torch.arange(1), 1), torch.ones(1, 1, dtype=torch.float64)
    fixed, best = (
        float(alpha.improved(problem, known, one, layout, torch.zeros(1, dtype=torch.float64), steps))
        for steps in (0, 60)
    )
    least = relaxed_minimum(op, ins, weight, row, along)
    assert best <= least + 1e-9
    assert least - best <= 0.03 * (least - fixed) + 1e-9


def test_a_product_of_independent_factors_is_bounded_exactly() -> None:
    """Over a box the envelope of ``c x y + p x + q y`` is least at a corner, so the best bound is exact."""
    for seed in range(5):
        row, along = draw(1, seed=seed), draw(2, seed=seed + 10)
        graph = two_branches(Mul(), ((1,), (1,)), torch.eye(2, dtype=torch.float64), row, along)
        centre, radius = draw(1, 2, seed=seed + 20), draw(1, 2, seed=seed + 30).abs()
        region = bounds.Box(centre - radius, centre + radius)
        found = bounds.bound(graph, region, method="alpha-crown", level="real")
        ends = torch.stack([region.box().lower[0], region.box().upper[0]])
        values = graph(torch.cartesian_prod(ends[:, 0], ends[:, 1]))
        size = float(values.max() - values.min())
        assert -1e-3 * size <= float(found.lower - values.min()) <= 0
        assert 0 <= float(found.upper - values.max()) <= 1e-3 * size
