"""Shorter chains of linear layers: the same function to the last digit, or left alone."""

from fractions import Fraction

import torch

from bounds.graph import Graph
from bounds.ops.elementwise import Shift
from bounds.ops.linear import Linear
from bounds.search.chains import shortened

from ...strategies import Net


def selecting(seed: int, weights: tuple[float, ...]) -> Graph:
    """A dense layer, then one that takes two of its outputs each, then a ReLU and a dense layer."""
    net = Net((2,), seed)
    net.linear(6).add(Shift(), net.draw(6))
    matrix = torch.zeros(9, 6)
    for row in range(9):
        places = torch.randperm(6, generator=net.g)[: len(weights)]
        matrix[row, places] = torch.tensor(weights)
    return net.add(Linear(), matrix).relu().linear(3).build()


def exactly(graph: Graph, x: list[Fraction]) -> list[Fraction]:
    """The network in exact arithmetic."""
    for node in graph.nodes[1:]:
        if isinstance(node.op, Linear):
            bias = node.params[1].double().tolist() if len(node.params) > 1 else [0.0] * node.shape[0]
            rows = node.params[0].double().tolist()
            x = [
                sum((Fraction(w) * v for w, v in zip(row, x, strict=True)), Fraction(b))
                for row, b in zip(rows, bias, strict=True)
            ]
        elif isinstance(node.op, Shift):
            x = [v + Fraction(s) for v, s in zip(x, node.params[0].double().tolist(), strict=True)]
        else:
            x = [max(v, Fraction(0)) for v in x]
    return x


def test_selections_and_differences_are_joined_exactly() -> None:
    for seed in range(5):
        graph = selecting(seed, (1.0, -1.0))
        short = shortened(graph)
        assert len(short.nodes) < len(graph.nodes)
        assert short.nodes[1].params[0].shape == (9, 2)
        x = [Fraction(1, 3), Fraction(-7, 11)]
        assert exactly(short, x) == exactly(graph, x)


def test_what_would_be_rounded_is_left_alone() -> None:
    graph = selecting(0, (0.3, -1.0))
    assert shortened(graph) is graph
    huge = selecting(0, (2.0**60, 1.0))  # the sum of two weights needs more digits than there are
    assert shortened(huge) is huge


def test_a_value_that_others_use_stays() -> None:
    net = Net((2,), 0)
    net.linear(6)
    held = net.here
    graph = net.add(Linear(), torch.eye(6)).join(held).build()
    assert shortened(graph) is graph
