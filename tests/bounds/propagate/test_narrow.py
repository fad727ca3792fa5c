"""Rows in float32: below exact values, close to rows in float64, refused where nothing accounts for them."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import bounds
from bounds.linear import Unit
from bounds.ops.convex import Exp
from bounds.ops.elementwise import Scale, Shift
from bounds.ops.linear import Linear
from bounds.ops.norm import BatchNorm
from bounds.ops.product import Mul
from bounds.ops.select import Keep
from bounds.propagate import crown
from bounds.propagate.crown import forward_facts
from bounds.propagate.forms import Layout
from bounds.propagate.narrow import Narrow
from bounds.propagate.problem import Problem
from bounds.rounding import Level
from bounds.sets import Box

from ...strategies import FAMILIES, Net, mlp, region


def question(graph: bounds.Graph, box: Box, step_dtype: torch.dtype = torch.float32) -> Problem:
    return Problem(graph.to(torch.float64), box.to(torch.float64), Level.REAL, 2**26, step_dtype=step_dtype)


def boxed(ball: bounds.Ball) -> Box:
    ends = ball.to(torch.float64).box()
    return Box(ends.lower, ends.upper)


def both_ends(problem: Problem, index: int) -> Tensor | None:
    """Lower bounds of z and -z for all elements of a node: (batch, 2 * elements)."""
    with torch.inference_mode():
        assert Narrow.suits(problem)
        narrow = Narrow(problem, forward_facts(problem, tighten=False))
        if not narrow.reaches(index):
            return None
        shape = problem.graph.nodes[index].shape
        width, batch = torch.Size(shape).numel(), len(problem.region)
        each = torch.arange(2 * width).repeat(batch)
        sign = torch.where(each < width, 1.0, -1.0).double()
        unit = Unit(each % width, sign, shape)
        return narrow.lower(index, Layout(torch.arange(batch), 2 * width), unit)[0].view(batch, -1)


Layer = tuple[Tensor, Tensor, list[float]]  # weight, bias and by how much each output counts behind them


def exact_ends(layers: list[Layer], box: Box) -> list[Fraction]:
    """The least values of z and -z behind dense layers over one box, in rationals."""
    count = box.lower.shape[1]
    rows = [[Fraction(int(i == j)) for j in range(count + 1)] for i in range(count)]  # the constant is last
    for weight, bias, slopes in layers:
        found = []
        for w, b, slope in zip(weight.tolist(), bias.tolist(), slopes, strict=True):
            row = [sum(Fraction(a) * r[j] for a, r in zip(w, rows, strict=True)) for j in range(count + 1)]
            row[-1] += Fraction(b)
            found.append([Fraction(slope) * a for a in row])
        rows = found
    ends = [list(map(Fraction, v[0].tolist())) for v in (box.lower, box.upper)]

    def least(row: list[Fraction], sign: int) -> Fraction:
        parts = (min(sign * a * low, sign * a * high) for a, low, high in zip(row, *ends, strict=False))
        return sign * row[-1] + sum(parts)

    return [least(row, sign) for sign in (1, -1) for row in rows]


@settings(deadline=None)  # rationals
@given(
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.integers(-6, 3),
    st.integers(-12, 4),
    st.integers(0, 5),
    st.booleans(),
)
def test_linear_chains_meet_their_exact_ends(
    seed: int, depth: int, eps: int, scale: int, far: int, kinked: bool
) -> None:
    """Weights and slopes that float32 does not hold, numbers far from zero beside what varies; and neurons
    that all but cancel each other, so that what rounding does to them is as much as is left.

    kinked: whether functions stand between the layers, each neuron on one side of its kink.
    """
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    widths = [2, *[40] * (depth - 1), 6]
    centre, radius = draw(2) * 10.0**far, draw(2).abs() * 10.0**eps
    box = Box((centre - radius)[None], (centre + radius)[None])
    net, layers = Net((2,), seed), list[Layer]()
    for k in range(depth):
        weight = draw(widths[k + 1], widths[k]) * 10.0 ** (scale if k == 0 else 0)
        if k < depth - 1:  # the second half of the neurons are about the first
            weight[20:] = weight[:20] * (1 + draw(20, widths[k]) * 1e-2)
        if k > 0:
            weight[:, 20:] = -weight[:, :20] * (1 + draw(widths[k + 1], 20) * 1e-2)
        radius = weight.abs() @ radius
        side = draw(20).sign().repeat(2)[: widths[k + 1]]
        slopes = torch.ones(widths[k + 1])
        bias = draw(widths[k + 1]) * 10.0**far
        if kinked and k < depth - 1:
            bias = side * (2 * radius + 10.0**far) - weight @ centre
            slopes = torch.where(side > 0, 1.0, 0.3).double()
        layers.append((weight, bias, [1.0 if x == 1 else 0.3 for x in slopes.tolist()]))
        centre, radius = (weight @ centre + bias) * slopes, radius * slopes
        net.add(Linear(), weight, bias)
        if kinked and k < depth - 1:
            net.relu(0.3)
    found = both_ends(question(net.relu().build(), box), len(net.build().nodes) - 2)
    if found is None:  # where what varies is beyond 2^20
        assert scale + eps + depth > 5
        return
    wanted = exact_ends(layers, box)
    assert all(Fraction(got) <= right for got, right in zip(found[0].tolist(), wanted, strict=True))
    if depth == 1:
        right = torch.tensor([float(x) for x in wanted], dtype=torch.float64)
        low, high = right.chunk(2)
        assert (
            right - found[0] <= 1e-4 * -(low + high).repeat(2) + 1e-9 * 10.0 ** (far + max(scale, 0))
        ).all()


NETS = {**FAMILIES, "deep": lambda seed: mlp(seed, (3, *[6] * 12, 2))}


@settings(deadline=None)
@given(st.sampled_from(sorted(NETS)), st.integers(0, 10**6), st.integers(-5, 0))
def test_rows_are_below_all_values_and_close_to_wider_ones(family: str, seed: int, power: int) -> None:
    graph = NETS[family](seed).to(torch.float64)
    box = boxed(region(graph, seed, 10.0**power))
    g = torch.Generator().manual_seed(seed)
    share = torch.rand(60, *box.lower.shape, generator=g, dtype=torch.float64)
    share[::2] = share[::2].round()  # corners
    points = box.lower + share * (box.upper - box.lower)
    values = [graph.values(part) for part in points]
    wide = forward_facts(question(graph, box, torch.float64), tighten=True)
    for node in graph.nodes:
        if node.op.name != "LeakyReLU":
            continue
        source = node.inputs[0]
        found = both_ends(question(graph, box), source)
        assert found is not None
        low, minus_high = found.chunk(2, dim=1)
        ends = torch.stack([each[source].flatten(1) for each in values])
        assert (ends.amin(0) >= low - 1e-13 * (1 + low.abs())).all()
        assert (-ends.amax(0) >= minus_high - 1e-13 * (1 + minus_high.abs())).all()
        if source == 1:
            best = wide[source].interval
            width = (best.upper - best.lower).flatten(1)
            assert (best.lower.flatten(1) - low <= 1e-4 * width).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_neurons_that_are_left_are_bounded_in_float64(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever float32 decides, the others' rows are float64: their intervals hardly know of it."""
    asked = list[int]()
    reaches = Narrow.reaches
    monkeypatch.setattr(Narrow, "reaches", lambda self, index: asked.append(index) or reaches(self, index))
    monkeypatch.setattr(crown, "_MANY", 8)
    monkeypatch.setattr(crown, "_TRIED", 2)
    for wide in (1, 10**9):
        monkeypatch.setattr(crown, "_WIDE", wide)
        for seed in range(4):
            graph = FAMILIES[family](seed)
            box = boxed(region(graph, seed, 0.1, batch=8))
            with torch.inference_mode():
                problem = question(graph, box)
                found, plain = (
                    forward_facts(p, tighten=True) for p in (problem, question(graph, box, torch.float64))
                )
            for node in graph.nodes:
                if node.op.name != "LeakyReLU":
                    continue
                one, other = (facts[node.inputs[0]].interval for facts in (found, plain))
                left = node.op.undecided(other)
                assert torch.equal(node.op.undecided(one), left)
                torch.testing.assert_close(one.lower[left], other.lower[left], rtol=1e-3, atol=1e-6)
                torch.testing.assert_close(one.upper[left], other.upper[left], rtol=1e-3, atol=1e-6)
    assert asked


def _cancelling() -> bounds.Graph:
    """A variance that all but cancels ``eps``: what float32 makes of it is another number."""
    one = torch.ones(4, dtype=torch.float64)
    return Net((4, 1, 1), 0).add(BatchNorm(1e-5, 2), one, one, one, -one * 0.99999e-5).relu().build()


def _product() -> bounds.Graph:
    net = Net((4,), 0)
    net.linear(4)
    first = net.here
    net.here = net.builder.input
    net.linear(4)
    net.here = net.builder.apply(Mul(), [first, net.here], ())
    return net.linear(4).relu().build()


def _kept() -> bounds.Graph:
    """What float32 holds for zero tells that an element is kept."""
    mask = torch.tensor([1.0, 1e-300, 1.0, 1.0], dtype=torch.float64)
    return Net((4,), 0).add(Keep(), mask).linear(4).relu().build()


REFUSED: dict[str, Callable[[], bounds.Graph]] = {
    "masks that float32 does not hold": _kept,
    "weights that are computed and cancel": _cancelling,
    "products of two values": _product,
    "weights beyond float32": lambda: (
        Net((4,), 0).add(Scale(), torch.full((4,), 1e300, dtype=torch.float64)).relu().build()
    ),
    "large numbers": lambda: (
        Net((4,), 0).add(Scale(), torch.full((4,), 1e9, dtype=torch.float64)).linear(4).relu().build()
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_account_is_refused(name: str) -> None:
    graph = REFUSED[name]().to(torch.float64)
    zero = torch.zeros(1, *graph.input_shape, dtype=torch.float64)
    assert both_ends(question(graph, Box(zero - 1, zero + 1)), len(graph.nodes) - 2) is None


def test_what_is_no_number_is_as_good_as_nothing() -> None:
    """Not as NaN, which would pass for a neuron that is decided."""
    net = Net((4,), 0).add(Scale(), torch.full((4,), 1000.0)).add(Exp()).relu()
    zero = torch.zeros(1, 4, dtype=torch.float64)
    found = both_ends(question(net.build(), Box(zero - 1, zero + 1)), 2)
    assert found is None or (found == -torch.inf).all()


def test_offsets_far_away_cost_nothing() -> None:
    """What is known is as narrow as without them: numbers count from centres."""
    zero = torch.zeros(1, 4, dtype=torch.float64)
    widths = []
    for far in (0.0, 1e6):
        net = Net((4,), 3).add(Shift(), torch.full((4,), far, dtype=torch.float64)).linear(4).relu()
        found = both_ends(question(net.build(), Box(zero - 1e-3, zero + 1e-3)), 2)
        assert found is not None
        widths.append(-(found[:, :4] + found[:, 4:]))
    torch.testing.assert_close(*widths, rtol=1e-5, atol=1e-8)


def test_inputs_beyond_float32_are_left_to_float64() -> None:
    graph, zero = mlp(0), torch.zeros(1, 4, dtype=torch.float64)
    with torch.inference_mode():
        problem = question(graph, Box(zero - 1e300, zero + 1e300))
        assert not Narrow.suits(problem)
        assert forward_facts(problem, tighten=True)


@pytest.mark.parametrize("change", ["level", "ball", "steps"])
def test_only_for_boxes_at_level_real_where_signs_count(change: str) -> None:
    graph = mlp(0)
    ball: Any = region(graph, 0, 0.1, norm=2.0) if change == "ball" else boxed(region(graph, 0, 0.1))
    level = Level.FLOAT if change == "level" else Level.REAL
    dtype = torch.float64 if change == "steps" else torch.float32
    problem = Problem(graph.to(torch.float64), ball.to(torch.float64), level, 2**26, step_dtype=dtype)
    with torch.inference_mode():
        assert not Narrow.suits(problem)


def test_not_where_products_are_less_than_float32() -> None:
    graph = mlp(0)
    problem = question(graph, boxed(region(graph, 0, 0.1)))
    with torch.inference_mode():
        assert Narrow.suits(problem)
        torch.set_float32_matmul_precision("medium")
        try:
            assert not Narrow.suits(problem)
        finally:
            torch.set_float32_matmul_precision("highest")
        with torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
            assert not Narrow.suits(problem)
        assert Narrow.suits(problem)
