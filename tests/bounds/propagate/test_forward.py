"""Zonotopes: shared symbols, order reduction, products, and rounding against exact rationals."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

import bounds
from bounds.kinds import Bilinear
from bounds.linear import Shape
from bounds.ops.elementwise import Negate
from bounds.ops.linear import Linear
from bounds.ops.sshape import Sigmoid, Tanh
from bounds.propagate import forward
from bounds.propagate.facts import Facts
from bounds.propagate.problem import Problem
from bounds.rounding import Level

from ...oracles.programs import minimum
from ...strategies import FAMILIES, Net, mlp, random_spec, region, resnet
from ..test_ladder import samples


@dataclass(frozen=True)
class Product(Bilinear):
    """Element by element."""

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b

    def adjoint(self, rows: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return rows * b, rows * a

    def terms(self, ins: Sequence[Shape], out: Shape) -> int:
        return 1


def all_facts(graph: bounds.Graph, ball: bounds.Ball, memory: int = 2**26) -> list[Facts]:
    n = int(np.prod(graph.output_shape))
    spec = bounds.Spec(torch.eye(n, dtype=torch.float64)[None], torch.zeros(1, n, dtype=torch.float64))
    return forward.row_bounds(Problem(graph.to(torch.float64), ball, Level.FLOAT, memory), spec)[1]


def test_every_interval_encloses_its_exact_range() -> None:
    graph = mlp(3, (3, 4, 4, 2))
    ball = region(graph, 3, 0.4, batch=1).to(torch.float64)
    facts = all_facts(graph, ball)
    lower = [f.interval.lower[0].flatten().numpy() for f in all_facts(graph, ball, memory=1)]
    upper = [f.interval.upper[0].flatten().numpy() for f in all_facts(graph, ball, memory=1)]
    for index in range(1, len(graph.nodes)):
        part = bounds.Graph(graph.nodes[: index + 1], index)
        for j in range(graph.nodes[index].shape[0]):
            row = np.eye(graph.nodes[index].shape[0])[j]
            assert facts[index].interval.lower[0, j] <= minimum(part, lower, upper, row, exact=True) + 1e-6
            assert facts[index].interval.upper[0, j] >= -minimum(part, lower, upper, -row, exact=True) - 1e-6


@pytest.mark.parametrize("norm", [1, 2, torch.inf])
def test_branches_share_their_symbols(norm: float) -> None:
    """relu(z) the long way round, minus relu(z): nothing but rounding is left."""
    net = Net((3,), 1)
    skip = net.linear(4).relu().here
    eye, zero = torch.eye(4), torch.zeros(4)
    net.add(Linear(), torch.cat([eye, -eye]), torch.cat([zero, zero])).relu()
    net.add(Linear(), torch.cat([eye, -eye], 1), zero).add(Negate())
    graph = net.join(skip).build()
    ball = region(graph, 1, 0.5, norm=norm).to(torch.float64)
    b = bounds.bound(graph, ball, method="forward")
    assert (b.upper - b.lower < 1e-12).all() and (b.lower <= 0).all() and (b.upper >= 0).all()
    assert (bounds.bound(graph, ball, method="ibp").upper > 0.1).any()


def test_symbols_of_different_neurons_stay_apart() -> None:
    """(|a| - |b|) / 2 as relu(a) - relu(b) - (a - b) / 2: zonotopes are exact, [-0.5, 0.5] attained."""
    net = Net((2,), 1)
    start, parts = net.here, []
    for row, out in ((torch.tensor([[1.0, 0.0]]), 1.0), (torch.tensor([[0.0, 1.0]]), -1.0)):
        net.here = start
        parts.append(net.add(Linear(), row).relu().add(Linear(), torch.tensor([[out]])).here)
    both = net.join(parts[0]).here
    net.here = start
    graph = net.add(Linear(), torch.tensor([[-0.5, 0.5]])).join(both).build()
    ball = bounds.Ball(torch.zeros(1, 2, dtype=torch.float64), 1.0)
    b = bounds.bound(graph, ball, method="forward")
    assert b.lower <= -0.5 and b.upper >= 0.5
    torch.testing.assert_close(b.upper - b.lower, torch.ones(1, 1, dtype=torch.float64))


@pytest.mark.parametrize("norm", [2, torch.inf])
@pytest.mark.parametrize("family", ["mlp", "resnet"])
def test_order_reduction_is_sound_and_never_below_interval_analysis(family: str, norm: float) -> None:
    graph = FAMILIES[family](5)
    ball = region(graph, 5, 0.3, batch=3, norm=norm).to(torch.float64)
    spec = random_spec(graph, 5, batch=3)
    whole = bounds.bound(graph, ball, spec, "forward")
    plain = bounds.bound(graph, ball, spec, "ibp")
    points = [spec.to(torch.float64).evaluate(graph(z)) for z in samples(ball, 30, 5).unbind(1)]
    loss = []
    for memory in (1, 6 * 8 * 32 * 12, 6 * 8 * 32 * 40, 2**20):
        b = bounds.bound(graph, ball, spec, "forward", memory=memory)
        assert (b.lower >= plain.lower - 1e-9).all() and (b.upper <= plain.upper + 1e-9).all()
        for rows in points:
            assert (rows >= b.lower).all() and (rows <= b.upper).all()
        loss.append(float((whole.lower - b.lower).mean()))
    assert loss[0] > 1e-3 and abs(loss[-1]) < 1e-9
    assert loss[0] > loss[2] > -1e-9


def test_chunks_of_samples_do_not_change_the_bounds() -> None:
    graph = resnet(11)
    ball, spec = region(graph, 11, 0.3, batch=5).to(torch.float64), random_spec(graph, 11, batch=5)
    whole = bounds.bound(graph, ball, spec, "forward")
    element = 6 * 8 * 32  # one generator of the widest node
    parts = bounds.bound(graph, ball, spec, "forward", memory=element * 450)
    torch.testing.assert_close(parts.lower, whole.lower, rtol=1e-9, atol=1e-9)


def products(seed: int) -> bounds.Graph:
    net = Net((3,), seed)
    start = net.here
    left = net.linear(4).add(Tanh()).here
    net.here = start
    right = net.linear(4).relu().here
    net.here = net.builder.apply(Product(), [left, right])
    net.linear(4).add(Sigmoid())
    net.here = net.builder.apply(Product(), [net.here, net.here])
    return net.linear(2).build()


@pytest.mark.parametrize("level", ["float", "real", "deployed"])
@pytest.mark.parametrize("norm", [1, 2, torch.inf])
def test_products_and_smooth_functions(norm: float, level: str) -> None:
    for seed in range(4):
        graph = products(seed)
        ball = region(graph, seed, 0.3, norm=norm).to(torch.float64)
        b = bounds.bound(graph, ball, method="forward", level=level)
        plain = bounds.bound(graph, ball, method="ibp", level=level)
        assert (b.lower >= plain.lower - 1e-12).all() and (b.upper <= plain.upper + 1e-12).all()
        assert (b.upper - b.lower).mean() < 0.9 * (plain.upper - plain.lower).mean()
        for z in samples(ball, 60, seed).unbind(1):
            y = graph(z)
            assert (y >= b.lower).all() and (y <= b.upper).all()


def exact_minimum(graph: bounds.Graph, centre: Tensor, eps: float) -> list[Fraction]:
    """The least outputs over the box of a chain of linear layers, in rational arithmetic."""
    n = centre.shape[1]
    matrix = [[Fraction(int(i == j)) for j in range(n)] for i in range(n)]
    offset = [Fraction(0)] * n
    for node in graph.nodes[1:]:
        weight = [[Fraction(w) for w in row] for row in node.params[0].tolist()]
        bias = [Fraction(b) for b in node.params[1].tolist()]
        offset = [
            sum((w * o for w, o in zip(row, offset, strict=True)), b)
            for row, b in zip(weight, bias, strict=True)
        ]
        columns = list(zip(*matrix, strict=True))
        matrix = [[sum(w * m for w, m in zip(row, c, strict=True)) for c in columns] for row in weight]
    z = [Fraction(v) for v in centre[0].tolist()]
    return [
        b + sum((a * v - abs(a) * Fraction(eps) for a, v in zip(row, z, strict=True)), Fraction(0))
        for row, b in zip(matrix, offset, strict=True)
    ]


def test_rounding_of_generators_is_counted() -> None:
    """Chains of badly scaled, nearly cancelling layers over a box: their exact minimum is rational."""
    lies = 0
    for seed in range(60):
        net = Net((3,), seed)
        graph = net.linear(4).linear(4).linear(2).build()

        def spread(p: Tensor, g: torch.Generator = net.g) -> Tensor:
            p = p.double() * 10.0 ** torch.empty(p.shape, dtype=torch.float64).uniform_(-4, 8, generator=g)
            if p.dim() == 2:
                p[:, 1] = -p[:, 0] * (1 + torch.randn(len(p), generator=g) * 1e-7)
            return p

        graph = graph.map_params(spread)
        centre = torch.rand(1, 3, generator=net.g, dtype=torch.float64)
        ball = bounds.Ball(centre, 2.0**-4)
        real = bounds.bound(graph, ball, method="forward", level="real").lower[0]
        plain = bounds.bound(graph, ball, method="forward", level="float").lower[0]
        for j, value in enumerate(exact_minimum(graph, centre, 2.0**-4)):
            assert Fraction(float(real[j])) <= value
            assert value - Fraction(float(real[j])) <= abs(value) * Fraction(1, 10**3) + 1
            lies += Fraction(float(plain[j])) > value
    assert lies > 10
