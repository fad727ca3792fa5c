"""Bounds of derivatives against autograd, exact forms, and differences of function values."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import bounds
from bounds.kinds import Pointwise
from bounds.ops.adjoint import BilinearAdjoint, RowProduct
from bounds.ops.elementwise import Scale
from bounds.ops.linear import Linear
from bounds.ops.relu import Clip, LeakyReLU, PReLU
from bounds.ops.segments import Shrink, Threshold
from bounds.ops.sshape import Sigmoid, Tanh
from bounds.ops.stairs import Floor
from bounds.ops.trig import Cos, Sin

from ..strategies import FAMILIES, Net, mlp, region
from .propagate.test_forward import Product, products
from .test_ladder import samples


def smooth(seed: int) -> bounds.Graph:
    net = Net((3,), seed)
    return net.linear(5).add(Tanh()).linear(5).add(Sigmoid()).linear(4).add(Clip(-0.5, 0.5)).linear(2).build()


def bent(seed: int) -> bounds.Graph:
    """Parametric slopes per element, soft shrinkage, a threshold without a jump."""
    net = Net((3,), seed)
    net.linear(5).add(PReLU(), net.draw(5)).linear(5).add(Shrink(0.3, 0.3)).linear(4).add(Threshold(0.1, 0.1))
    return net.linear(2).build()


def waves(seed: int) -> bounds.Graph:
    return Net((3,), seed).linear(5).add(Sin()).linear(5).add(Cos()).linear(2).build()


NETS = {**FAMILIES, "smooth": smooth, "products": products, "bent": bent, "waves": waves}


def autograd(graph: bounds.Graph, x: Tensor) -> Tensor:
    """The Jacobian at each point of a batch, (batch, outputs, *input_shape)."""
    parts = [torch.func.jacrev(lambda v: graph(v[None])[0])(point) for point in x]
    return torch.stack(parts)


@pytest.mark.parametrize("name", NETS)
def test_the_value_is_the_derivative(name: str) -> None:
    for seed in range(3):
        graph = NETS[name](seed)
        x = region(graph, seed, 0.0, batch=5).center.double()
        found = bounds.jacobian(graph)(x)
        torch.testing.assert_close(found, autograd(graph, x), rtol=1e-10, atol=1e-10)
        rows = torch.randn(2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        rows = torch.cat([rows, torch.zeros(2, graph.output_shape[0] - 2, dtype=torch.float64)], 1)
        found = torch.einsum("ro,bo...->br...", rows, found)
        torch.testing.assert_close(bounds.jacobian(graph, rows)(x), found, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", ["ibp", "forward", "crown-ibp", "crown"])
@pytest.mark.parametrize(
    ("name", "norm"),
    [
        pytest.param(name, norm, marks=pytest.mark.slow if name == "resnet" and norm != torch.inf else [])
        for name in NETS
        for norm in (1, 2, torch.inf)
    ],
)
def test_no_derivative_and_no_difference_escapes(name: str, norm: float, method: str) -> None:
    """Derivatives at samples lie in their bounds; |f(x) - f(y)| <= L ||x - y|| between samples."""
    graph = NETS[name](4)
    ball = region(graph, 4, 0.3, norm=norm).to(torch.float64)
    b = bounds.bound(bounds.jacobian(graph), ball, method=method)
    constant = bounds.lipschitz(graph, ball, norm, method)
    signs = bounds.monotone(graph, ball, method)
    points = samples(ball, 24, 4).unbind(1)
    for x, y in zip(points, points[1:] + points[:1], strict=True):
        slope = autograd(graph, x)
        assert (slope >= b.lower).all() and (slope <= b.upper).all()
        assert (slope * signs >= 0).all()
        gap = (graph(x) - graph(y)).abs()
        distance = torch.linalg.vector_norm((x - y).flatten(1), ord=norm, dim=1)
        assert (gap <= constant * distance[:, None] * (1 + 1e-12)).all()


@pytest.mark.parametrize("method", ["ibp", "forward", "crown"])
@pytest.mark.parametrize("norm", [1, 2, torch.inf])
def test_exact_on_an_affine_network(norm: float, method: str) -> None:
    net = Net((2, 4, 4), 5)
    skip = net.conv(3).here
    graph = net.conv(3).join(skip).flatten().linear(6).linear(3).build()
    ball = region(graph, 5, 0.2).to(torch.float64)
    jacobian = autograd(graph, ball.center).flatten(2)
    exact = torch.linalg.vector_norm(jacobian, ord={1: math.inf, 2: 2, math.inf: 1}[norm], dim=2)
    found = bounds.lipschitz(graph, ball, norm, method)
    torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-10)
    assert (found >= exact * (1 - 1e-14)).all()


def scalar_net(seed: int) -> tuple[bounds.Graph, Tensor]:
    """One input, one hidden layer of ReLUs, one output; and where its kinks are."""
    net = Net((1,), seed)
    graph = net.linear(6).relu().linear(1).build()
    weight, bias = graph.nodes[1].params
    return graph, (-bias.double() / weight.double()[:, 0]).sort().values


def test_one_input_against_every_piece() -> None:
    """All slopes of a network with one hidden layer, piece by piece, are enclosed; a lone piece exactly."""
    checked = 0
    for seed in range(20):
        graph, kinks = scalar_net(seed)
        edges = torch.cat([kinks[:1] - 1, kinks, kinks[-1:] + 1])
        middles = (edges[1:] + edges[:-1]) / 2
        slopes = autograd(graph, middles[:, None])[:, 0, 0]
        box = bounds.Box(edges[:1, None], edges[-1:, None])
        b = bounds.bound(bounds.jacobian(graph), box, method="crown")
        assert b.lower.item() <= slopes.min() and slopes.max() <= b.upper.item()
        shrunk = (edges[1:] - edges[:-1]) * 0.49
        alone = bounds.Box((middles - shrunk)[:, None], (middles + shrunk)[:, None])
        wide = shrunk > 1e-4  # beside its float32 kink, a piece of real numbers is what it says
        exact = bounds.lipschitz(graph, alone, method="crown")[:, 0]
        torch.testing.assert_close(exact[wide], slopes.abs()[wide], rtol=1e-10, atol=1e-10)
        checked += int(wide.sum())
    assert checked > 100


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.0), (-1.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("method", ["ibp", "forward", "crown"])
def test_a_kink_at_the_edge_counts_with_both_slopes(low: float, high: float, method: str) -> None:
    """relu(x) where the region only touches the kink: Clarke's derivative there is all of [0, 1]."""
    graph = Net((1,), 0).add(LeakyReLU()).build()
    box = bounds.Box(torch.tensor([[low]], dtype=torch.float64), torch.tensor([[high]], dtype=torch.float64))
    b = bounds.bound(bounds.jacobian(graph), box, method=method)
    assert b.lower.item() == pytest.approx(0, abs=1e-12) and b.lower <= 0
    assert b.upper.item() == pytest.approx(1, abs=1e-12) and b.upper >= 1


@pytest.mark.parametrize("activation", [LeakyReLU(), LeakyReLU(0.1), Tanh(), Sigmoid(), Clip(-1.0, 1.0)])
def test_monotone_by_construction(activation: Pointwise) -> None:
    """Weights >= 0 rise in every input, undecided neurons or not; a factor on an input turns that one."""
    net, flip = Net((4,), 7), torch.tensor([1.0, -1.0, 1.0, 0.0])
    net.add(Scale(), flip).linear(6).add(activation).linear(6).add(activation).linear(3)
    graph = net.build()
    turned = [
        replace(n, params=(n.params[0].abs(), n.params[1])) if isinstance(n.op, Linear) else n
        for n in graph.nodes
    ]
    ball = bounds.Ball(torch.zeros(2, 4, dtype=torch.float64), 2.0)
    signs = bounds.monotone(bounds.Graph(tuple(turned), graph.output), ball, "ibp")
    assert (signs == torch.tensor([1, -1, 1, 1])).all()
    assert (bounds.monotone(graph, ball) == 0).any()


@pytest.mark.parametrize("first", [1.0, -1.0])
@pytest.mark.parametrize("second", [1.0, -1.0])
def test_signs_of_a_product(first: float, second: float) -> None:
    """(first * (x + 3)) * (second * (y + 3)) for x, y in [-1, 1] has derivatives of sign first * second."""
    builder, factors = bounds.Builder((2,)), []
    for pick, sign in ((torch.tensor([[1.0, 0.0]]), first), (torch.tensor([[0.0, 1.0]]), second)):
        factors.append(builder.apply(Linear(), [builder.input], (sign * pick, sign * torch.tensor([3.0]))))
    graph = builder.build(builder.apply(Product(), factors))
    ball = bounds.Ball(torch.zeros(1, 2, dtype=torch.float64), 1.0)
    assert (bounds.monotone(graph, ball, "ibp") == first * second).all()


@pytest.mark.parametrize("name", [name for name in NETS if name != "waves"])
def test_no_term_has_a_sign_that_it_cannot_have(name: str) -> None:
    """Networks with a few weights of the wrong sign: no derivative at a sample contradicts its sign."""
    known = 0
    for seed in range(4):
        g = torch.Generator().manual_seed(seed)
        graph = NETS[name](seed).map_params(
            lambda p, g=g: torch.where(torch.rand(p.shape, generator=g) < 0.97, p.abs(), p)
        )
        ball = region(graph, seed, 0.4, batch=1).to(torch.float64)
        signs = bounds.monotone(graph, ball, "ibp")
        known += int((signs != 0).sum())
        for x in samples(ball, 20, seed).unbind(1):
            assert (autograd(graph, x) * signs >= 0).all()
    assert known > 0


@pytest.mark.parametrize("which", [0, 1])
def test_adjoints_of_products_are_the_vjp(which: int) -> None:
    g = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    shapes = {RowProduct(2): ((3, 4, 5), (4, 5), (3, 4, 5))}
    shapes[BilinearAdjoint(Product(), ((4,), (4,)), (4,), which)] = ((3, 4), (4,), (3, 4))
    nested = RowProduct(1)
    shapes[BilinearAdjoint(nested, ((2, 4), (4,)), (2, 4), which)] = (
        (3, 2, 4),
        ((4,), (2, 4))[which],
        ((3, 2, 4), (3, 4))[which],
    )
    for op, (a_shape, b_shape, out) in shapes.items():
        a, b, rows = draw(2, 1, *a_shape), draw(2, 1, *b_shape), draw(2, 6, *out)
        assert op.product(a, b).shape == (2, 1, *out)
        _, vjp = torch.func.vjp(op.product, a.expand(-1, 6, *a_shape), b.expand(-1, 6, *b_shape))
        for found, wanted in zip(op.adjoint(rows, a, b), vjp(rows), strict=True):
            torch.testing.assert_close(found, wanted)


def test_every_sample_may_have_rows_of_its_own() -> None:
    """Margins: the rows of each sample are those of its label, wherever in the batch it stands."""
    graph, labels = mlp(3), torch.tensor([2, 0, 2, 1, 0])
    ball = region(graph, 3, 0.2, batch=5).to(torch.float64)
    rows = bounds.margins(labels, 3).matrix
    constants, signs = bounds.lipschitz(graph, ball, 2, rows=rows), bounds.monotone(graph, ball, rows=rows)
    for i in range(5):
        alone = ball[torch.tensor([i])]
        constant = bounds.lipschitz(graph, alone, 2, rows=rows[i])
        torch.testing.assert_close(constants[i : i + 1], constant, rtol=1e-9, atol=0.0)
        assert torch.equal(signs[i : i + 1], bounds.monotone(graph, alone, rows=rows[i]))
    with pytest.raises(bounds.InvalidInput, match="rows for 5 samples; the region has 2"):
        bounds.lipschitz(graph, ball[:2], rows=rows)


def test_gradients_reach_the_parameters() -> None:
    """A training loss on Lipschitz constants: its gradient is what finite differences say."""
    start = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ball = bounds.Ball(torch.zeros(1, 3, dtype=torch.float64), 1.0)

    def loss(weight: Tensor) -> Tensor:
        builder = bounds.Builder((3,))
        here = builder.apply(Linear(), [builder.input], (weight,))
        here = builder.apply(Tanh(), [here])
        graph = builder.build(builder.apply(Linear(), [here], (torch.ones(1, 4),)))
        return bounds.lipschitz(graph, ball, norm=2, method="ibp", level="float").sum()

    assert torch.autograd.gradcheck(loss, start.requires_grad_(), eps=1e-6, atol=1e-5)


def test_bad_questions_get_one_clear_line() -> None:
    graph, ball = mlp(1), region(mlp(1), 1, 0.1)
    with pytest.raises(bounds.InvalidInput, match="norm 3 is not known"):
        bounds.lipschitz(graph, ball, norm=3)
    with pytest.raises(bounds.InvalidInput, match=r"the graph expects \(rows, 3\)"):
        bounds.jacobian(graph, torch.ones(2, 4))
    with pytest.raises(bounds.Unsupported, match="Floor jumps"):
        bounds.jacobian(Net((2,), 0).add(Floor()).build())
    with pytest.raises(bounds.InvalidInput, match="have no derivative"):
        bounds.lipschitz(graph, ball, level="deployed")
