"""Perturbed weights: sampled networks inside their bounds, closed forms, quantised networks."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import mpmath
import pytest
import torch
from torch import Tensor, nn

import bounds
from bounds.interval import Interval
from bounds.ops.conv import Conv
from bounds.ops.linear import Linear
from bounds.ops.sshape import Tanh
from bounds.relaxation import lines
from bounds.weights import Within, half_step, perturbed, relative

from ..strategies import FAMILIES, Net, mlp, random_spec, region
from .test_ladder import samples

METHODS = ["ibp", "forward", "crown-ibp", "crown", "alpha-crown", "alpha-crown-joint"]


def smooth(seed: int) -> bounds.Graph:
    return Net((4,), seed).linear(6).add(Tanh()).linear(5).add(Tanh()).linear(3).build()


NETS = {**FAMILIES, "smooth": smooth}


def moved(graph: bounds.Graph, change: Callable[[Tensor, int], Tensor]) -> bounds.Graph:
    """The graph with other weights and biases in its layers; change: (parameter, its place)."""
    nodes = [
        replace(n, params=tuple(change(p.double(), i) for i, p in enumerate(n.params)))
        if isinstance(n.op, Linear | Conv)
        else n
        for n in graph.nodes
    ]
    return bounds.Graph(tuple(nodes), graph.output)


def disturbed(graph: bounds.Graph, delta: float, seed: int) -> bounds.Graph:
    """Weights moved by up to ``delta`` of their size: to an end, or anywhere between."""
    g = torch.Generator().manual_seed(seed)

    def change(p: Tensor, _: int) -> Tensor:
        step = torch.rand(p.shape, generator=g, dtype=torch.float64) * 2 - 1
        return p * (1 + delta * (step.sign() if seed % 2 else step))

    return moved(graph, change)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NETS)
def test_no_network_within_the_radii_escapes(name: str, method: str) -> None:
    escaped = False
    for seed, norm in ((0, torch.inf), (1, 2), (2, 1)):
        graph, delta = NETS[name](seed), 0.1
        wide = perturbed(graph, relative(delta), relative(delta))
        ball, spec = region(graph, seed, 0.1, norm=norm).to(torch.float64), random_spec(graph, seed)
        b = bounds.bound(wide, ball, spec, method)
        exact = bounds.bound(graph, ball, spec, method)
        for k in range(30):
            other = disturbed(graph, delta, 100 * seed + k)
            for z in samples(ball, 4, k).unbind(1):
                rows = spec.to(torch.float64).evaluate(other(z))
                assert (rows >= b.lower).all() and (rows <= b.upper).all()
                escaped |= bool((rows < exact.lower).any())
    assert escaped or method in ("ibp", "forward")  # the samples reach beyond what the fixed weights can do


@pytest.mark.parametrize("biases", [None, relative(0.3)])
@pytest.mark.parametrize("method", ["crown", "alpha-crown"])
def test_exact_on_a_linear_model(method: str, biases: Callable[[Tensor], Tensor] | None) -> None:
    """The margin's least value is at ends of inputs and of weights: sum of min over both ends of each x."""
    graph = Net((6,), 3).linear(3).build()
    centre = torch.randn(4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    box, spec = bounds.Box(centre - 0.7, centre + 0.4), random_spec(graph, 3, batch=4)
    weight, bias = (p.double() for p in graph.nodes[1].params)
    matrix, offset = spec.matrix.double(), spec.offset.double()
    ends = []
    for x in (box.lower, box.upper):
        nominal = (matrix @ weight) * x[:, None]
        ends.append(nominal - (matrix.abs() @ (0.2 * weight.abs())) * x.abs()[:, None])
    off = 0 if biases is None else 0.3 * matrix.abs() @ bias.abs()
    wanted = torch.minimum(*ends).sum(2) + matrix @ bias - off + offset
    found = bounds.bound(perturbed(graph, relative(0.2), biases), box, spec, method).lower
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    assert (found <= wanted * (1 - 1e-15 * wanted.sign())).all()


@pytest.mark.parametrize("method", ["crown", "alpha-crown"])
def test_exact_where_all_terms_are_positive(method: str) -> None:
    """Known inputs >= 0 and weights >= 0, two layers: the worst weights are all at one end."""
    graph = moved(mlp(5, (3, 4, 2)), lambda p, i: p.abs())
    x = torch.rand(2, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = bounds.bound(perturbed(graph, relative(0.1)), bounds.Box(x, x), method=method)
    for end, factor in ((found.lower, 0.9), (found.upper, 1.1)):
        worst = moved(graph, lambda p, i, by=factor: p * (1 if i else by))
        torch.testing.assert_close(end, worst(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_quantised_network_is_inside(name: str, bits: int) -> None:
    graph = FAMILIES[name](7)
    most = 2 ** (bits - 1) - 1

    def symmetric(p: Tensor, place: int) -> Tensor:
        w = p.float()
        return (
            p
            if place
            else torch.fake_quantize_per_tensor_affine(w, float(w.abs().max()) / most, 0, -most, most)
        )

    def asymmetric(p: Tensor, place: int) -> Tensor:
        w = p.float()
        low, high = min(float(w.min()), 0), max(float(w.max()), 0)
        step = (high - low) / (2 * most + 1)
        return (
            p
            if place
            else torch.fake_quantize_per_tensor_affine(w, step, round(-low / step), 0, 2 * most + 1)
        )

    ball = region(graph, 7, 0.05).to(torch.float64)
    b = bounds.bound(perturbed(graph, half_step(bits)), ball)
    plain = bounds.bound(graph, ball)
    assert (b.upper - b.lower <= (plain.upper - plain.lower) * (4 if bits == 8 else 60)).all()
    for rounding in (symmetric, asymmetric):
        quantised = moved(graph, rounding)
        assert quantised.digest() != moved(graph, lambda p, i: p).digest()
        for z in samples(ball, 30, 7).unbind(1):
            y = quantised(z)
            assert (y >= b.lower).all() and (y <= b.upper).all()


@pytest.mark.parametrize("bits", [2, 3, 8, 12, 16])
def test_rounded_weights_lie_within_half_a_step(bits: int) -> None:
    most = 2 ** (bits - 1) - 1
    w = torch.randn(200, 50, generator=torch.Generator().manual_seed(bits))
    w[0] = (torch.arange(50) + 0.5) / most * w.abs().max()  # ties
    w = w.clamp(-3.3, 3.3)
    step = w.abs().max() / most
    off = ((w / step).round() * step).double() - w.double()
    assert (off.abs() <= half_step(bits)(w)).all()
    assert off.abs().max() > 0.9 * half_step(bits)(w).max()


def test_wider_radii_are_wider_and_zero_is_none() -> None:
    graph = mlp(2)
    ball = region(graph, 2, 0.1).to(torch.float64)
    plain = bounds.bound(graph, ball)
    found = [bounds.bound(perturbed(graph, relative(d)), ball) for d in (0.0, 0.01, 0.1)]
    torch.testing.assert_close(found[0].lower, plain.lower, rtol=1e-9, atol=1e-9)
    for narrow, wide in itertools.pairwise(found):
        assert (wide.lower < narrow.lower).all() and (wide.upper > narrow.upper).all()


def test_only_named_layers_are_perturbed() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    graph = bounds.trace(module, torch.zeros(1, 3))
    x = torch.tensor([[0.3, 0.1, -0.2]])
    assert torch.equal(perturbed(graph, relative(0.5))(x), graph(x))
    box = bounds.Box(x.double(), x.double())
    b = bounds.bound(perturbed(graph, relative(0.5), names=["2"]), box)
    hidden, weight = graph.values(x.double())[2], module[2].weight.detach().double()
    radius = hidden @ (0.5 * weight.abs()).T
    torch.testing.assert_close(b.upper, graph(x.double()) + radius, rtol=1e-9, atol=1e-9)


def test_deployed_holds_for_float32_executions_of_rounded_weights() -> None:
    graph = mlp(4)
    ball = region(graph, 4, 0.1)
    b = bounds.bound(perturbed(graph, relative(1e-6), relative(1e-6)), ball, level="deployed")
    for k in range(40):
        other = disturbed(graph, 1e-6, k).to(torch.float32)
        for z in samples(ball.to(torch.float64), 4, k).unbind(1):
            y = other(ball.project(z.float())).double()
            assert (y >= b.lower).all() and (y <= b.upper).all()


def test_gradients_flow_through_the_radii() -> None:
    start = torch.randn(2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ball = bounds.Ball(torch.ones(1, 3, dtype=torch.float64), 0.2)

    def loss(weight: Tensor) -> Tensor:
        builder = bounds.Builder((3,))
        graph = builder.build(builder.apply(Linear(), [builder.input], (weight,)))
        return bounds.bound(perturbed(graph, relative(0.1)), ball, method="ibp", level="float").upper.sum()

    assert torch.autograd.gradcheck(loss, start.requires_grad_(), eps=1e-6, atol=1e-5)


def test_lines_hold_for_every_value_between() -> None:
    """Any slope's intercept against the corners of {(z, f): |f| <= z}, in exact arithmetic."""
    g = torch.Generator().manual_seed(3)
    ends = torch.rand(2, 200, generator=g, dtype=torch.float64).mul(4).sub(0.5).sort(0).values
    ends[1].clamp_(min=0)
    x, op = Interval(ends[0], ends[1]), Within()
    slope = torch.randn(200, generator=g, dtype=torch.float64)
    around = lines(op, x, rounded=True)
    image = op.image(x, rounded=True)
    for side in (+1, -1):
        free = op.intercept(x, slope, side, rounded=True)
        own = (
            (around.lower_slope, around.lower_intercept)
            if side > 0
            else (around.upper_slope, around.upper_intercept)
        )
        for i in range(200):
            for a, c in ((slope[i], free[i]), (own[0][i], own[1][i])):
                gaps = []
                for z in (max(float(x.lower[i]), 0.0), float(x.upper[i])):
                    f = -side * mpmath.mpf(z)
                    gaps.append(side * (f - mpmath.mpf(float(a)) * z - mpmath.mpf(float(c))))
                    assert float(image.lower[i]) <= f <= float(image.upper[i])
                assert 0 <= min(gaps) <= 1e-13


def test_bad_questions_get_one_clear_line() -> None:
    graph = mlp(1)
    with pytest.raises(bounds.InvalidInput, match="no layer with weights named 'fc9'"):
        perturbed(graph, relative(0.1), names=["fc9"])
    with pytest.raises(bounds.InvalidInput, match="delta is -1"):
        relative(-1)
    with pytest.raises(bounds.InvalidInput, match="bits is 1"):
        half_step(1)
    with pytest.raises(bounds.InvalidInput, match="give finite numbers >= 0"):
        perturbed(graph, lambda w: -w.abs() - 1)
    with pytest.raises(bounds.InvalidInput, match="no fully connected or convolutional"):
        perturbed(Net((3,), 0).relu().build(), relative(0.1))
