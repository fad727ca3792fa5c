"""Interval analysis around centres against exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bounds
from bounds.graph import Builder, Graph, Ref
from bounds.interval import Around, Interval
from bounds.ops.elementwise import Add, Negate
from bounds.ops.linear import Linear
from bounds.ops.relu import LeakyReLU
from bounds.ops.slicing import Concat, Pad
from bounds.propagate.intervals import _affine

SCALES = st.sampled_from([1.0, 1.0, 1e-9, 1e9, 1e-60, 1e60, 1e-150, 1e-290, 1e-320])
Box = tuple[list[Fraction], list[Fraction]]


@st.composite
def _nets(draw: st.DrawFn) -> Graph:
    """Chains of layers of many scales, ReLUs in a row, negations, paddings, sums, joins of earlier nodes."""
    width = draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    builder = Builder((width,))
    nodes: list[Ref] = [builder.input]
    for kind in draw(st.lists(st.sampled_from("llrrrnapc"), min_size=2, max_size=9)):
        here, size = nodes[-1], nodes[-1].shape[0]
        if kind == "l":
            weight = torch.randn(width, size, dtype=torch.float64, generator=generator) * draw(SCALES)
            offset = torch.randn(width, dtype=torch.float64, generator=generator) * draw(SCALES)
            params = (weight, offset) if draw(st.booleans()) else (weight,)
            here = builder.apply(Linear(), (here,), params)
        elif kind == "a":
            other = draw(st.sampled_from([n for n in nodes if n.shape == here.shape]))
            here = builder.apply(Add(), (here, other))
        elif kind == "c":
            here = builder.apply(Concat(0), (here, draw(st.sampled_from(nodes))))
        elif kind == "p":
            here = builder.apply(Pad((1,), (0,)), (here,))
        else:
            here = builder.apply(LeakyReLU() if kind == "r" else Negate(), (here,))
        nodes.append(here)
    return builder.build(nodes[-1])


def _exact(graph: Graph, lower: list[float], upper: list[float]) -> Box:
    """The box that interval analysis gives in exact arithmetic."""
    known: list[Box] = [([Fraction(v) for v in lower], [Fraction(v) for v in upper])]
    for node in graph.nodes[1:]:
        low, high = known[node.inputs[0]]
        if isinstance(node.op, Linear):
            bias = node.params[1].tolist() if len(node.params) > 1 else [0.0] * node.shape[0]
            ends = [_row(row, b, low, high) for row, b in zip(node.params[0].tolist(), bias, strict=True)]
            low, high = [e[0] for e in ends], [e[1] for e in ends]
        elif isinstance(node.op, Add):
            other = known[node.inputs[1]]
            low = [a + b for a, b in zip(low, other[0], strict=True)]
            high = [a + b for a, b in zip(high, other[1], strict=True)]
        elif isinstance(node.op, Concat):
            low, high = low + known[node.inputs[1]][0], high + known[node.inputs[1]][1]
        elif isinstance(node.op, Pad):
            low, high = [Fraction(0), *low], [Fraction(0), *high]
        elif isinstance(node.op, LeakyReLU):
            low, high = [max(v, Fraction(0)) for v in low], [max(v, Fraction(0)) for v in high]
        else:
            low, high = [-v for v in high], [-v for v in low]
        known.append((low, high))
    return known[-1]


def _row(
    row: list[float], bias: float, low: list[Fraction], high: list[Fraction]
) -> tuple[Fraction, Fraction]:
    ends = [sorted((Fraction(w) * a, Fraction(w) * b)) for w, a, b in zip(row, low, high, strict=True)]
    return Fraction(bias) + sum(e[0] for e in ends), Fraction(bias) + sum(e[1] for e in ends)


@settings(max_examples=150, deadline=None)
@given(_nets(), SCALES, st.sampled_from([0.0, 1e-16, 1e-6, 1.0, 30.0]), st.integers(0, 2**31))
def test_level_real_holds_what_exact_arithmetic_gives(
    graph: Graph, scale: float, share: float, seed: int
) -> None:
    """Subnormal numbers, overflow and zero widths included."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(1, *graph.input_shape, dtype=torch.float64, generator=generator) * scale
    radius = share * centre.abs() * torch.rand(centre.shape, dtype=torch.float64, generator=generator)
    region = bounds.Box(centre - radius, centre + radius)
    found = bounds.bound(graph, region, method="ibp", level="real")
    low, high = _exact(graph, region.lower[0].tolist(), region.upper[0].tolist())
    for a, b, least, most in zip(found.lower[0].tolist(), found.upper[0].tolist(), low, high, strict=True):
        assert a == -torch.inf or Fraction(a) <= least
        assert b == torch.inf or Fraction(b) >= most


@pytest.mark.parametrize("grad", [False, True])
def test_level_float_of_all_kinds_of_inputs(grad: bool) -> None:
    """Sums and joins of what is known by its ends and around its centre, some of it taken more than once."""
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(3, n, dtype=torch.float64, generator=generator) for n in (3, 3, 9)]
    builder = Builder((3,))
    x = builder.input
    first = builder.apply(Linear(), (x,), (weights[0], torch.ones(3, dtype=torch.float64)))
    mixed = builder.apply(Add(), (first, x))
    second = builder.apply(Linear(), (builder.apply(LeakyReLU(), (first,)),), (weights[1],))
    joined = builder.apply(Concat(0), (builder.apply(Negate(), (x,)), mixed))
    joined = builder.apply(Concat(0), (joined, builder.apply(Add(), (second, first))))
    graph = builder.build(builder.apply(Linear(), (joined,), (weights[2],)))
    lower = torch.randn(1, 3, dtype=torch.float64, generator=generator)
    with torch.set_grad_enabled(grad):
        found = bounds.bound(graph, bounds.Box(lower, lower + 0.5), method="ibp", level="float")
    low, high = _exact(graph, lower[0].tolist(), (lower[0] + 0.5).tolist())
    torch.testing.assert_close(found.lower[0], torch.tensor(list(map(float, low)), dtype=torch.float64))
    torch.testing.assert_close(found.upper[0], torch.tensor(list(map(float, high)), dtype=torch.float64))


def test_relu_around_its_centre() -> None:
    """Below, across and above zero, at either end of it, and of no width."""
    ends = torch.tensor(
        [[-3.0, -1.0, 0.0, -2.0, 1.0, -1.0, 0.0, 2.0], [-1.0, 0.0, 0.0, 6.0, 4.0, -1.0, 5.0, 2.0]]
    )
    x = Interval(*ends.double())
    kept = x.centre.clone(), (x.upper - x.lower).clone()
    for spent in (False, True):
        given_ = Around(x.centre, x.upper - x.lower, 16)
        found = LeakyReLU().around(given_, rounded=True, spent=spent)
        assert found is not None
        torch.testing.assert_close(found.centre - found.width / 2, x.lower.relu())
        torch.testing.assert_close(found.centre + found.width / 2, x.upper.relu())
        assert found.positive and torch.equal(found.distance, found.centre.abs())
        same = torch.equal(given_.centre, kept[0]) and torch.equal(given_.width, kept[1])
        assert same is not spent


def test_relu_asks_for_something_to_spare() -> None:
    """Its rounding may not be charged to an interval that is as narrow as can be."""
    x = torch.ones(1, 2, dtype=torch.float64)
    assert LeakyReLU().around(Around(x, x, 3), rounded=True, spent=False) is None
    assert LeakyReLU(0.1).around(Around(x, x, 16), rounded=True, spent=False) is None


def test_what_is_joined_spares_no_more_than_its_parts() -> None:
    builder = Builder((2,))
    graph = builder.build(builder.apply(Concat(0), (builder.input, builder.input)))
    x = torch.tensor([[-1.0, 2.0]], dtype=torch.float64)
    parts = (Around(x, x.abs(), 16), Around(x.relu(), x.abs(), 4, positive=True))
    for ins in (parts, parts[::-1]):
        found = _affine(graph, graph.nodes[1], Concat(0), ins)
        assert found is not None and found.spare == 4
        assert torch.equal(found.distance, found.centre.abs())


def test_negated_centres_are_not_taken_for_positive() -> None:
    builder = Builder((2,))
    graph = builder.build(builder.apply(Negate(), (builder.input,)))
    x = torch.ones(1, 2, dtype=torch.float64)
    found = _affine(graph, graph.nodes[1], Negate(), [Around(x, x, 16, positive=True)])
    assert found is not None and torch.equal(found.distance, x)
