"""Small networks in exact rational arithmetic: what is true of them, whatever floats say."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import mpmath

from bounds.graph import Builder, Graph, Node
from bounds.ops.elementwise import Add, Negate, Shift
from bounds.ops.linear import Linear
from bounds.ops.relu import LeakyReLU
from bounds.ops.sshape import Sigmoid, Tanh

Numbers = list[Fraction]
_DIGITS = 60  # of what is no rational number


def value(graph: Graph, x: Sequence[Fraction]) -> Numbers:
    """The output for one input; sigmoid and tanh are right to 60 digits, all else is exact.

    Raises ``NotImplementedError`` for operators that it does not know.
    """
    found: list[Numbers] = [list(x)]
    for node in graph.nodes[1:]:
        found.append(_applied(node, [found[i] for i in node.inputs]))
    return found[graph.output]


def affine(node: Node) -> tuple[list[Numbers], Numbers]:
    """Weight and bias of a linear layer."""
    weight = [[Fraction(w) for w in row] for row in node.params[0].double().tolist()]
    bias = [Fraction(b) for b in node.params[1].double().tolist()]
    return weight, bias


def _applied(node: Node, ins: Sequence[Numbers]) -> Numbers:
    x, op = ins[0], node.op
    if isinstance(op, Linear):
        weight, bias = affine(node)
        return [sum((w * v for w, v in zip(r, x, strict=True)), b) for r, b in zip(weight, bias, strict=True)]
    if isinstance(op, Shift):
        shift = node.params[0].double().expand(node.shape).flatten().tolist()
        return [v + Fraction(s) for v, s in zip(x, shift, strict=True)]
    if isinstance(op, Add):
        return [a + b for a, b in zip(*ins, strict=True)]
    if isinstance(op, Negate):
        return [-v for v in x]
    if isinstance(op, LeakyReLU):
        return [max(v, Fraction(op.negative_slope) * v) for v in x]
    if isinstance(op, Sigmoid | Tanh):
        return [_smooth(op, v) for v in x]
    raise NotImplementedError(op.name)


def _smooth(op: Sigmoid | Tanh, x: Fraction) -> Fraction:
    with mpmath.workdps(_DIGITS):
        z = mpmath.mpf(x.numerator) / x.denominator
        y = mpmath.tanh(z) if isinstance(op, Tanh) else 1 / (1 + mpmath.exp(-z))
        return Fraction(str(y))


def least(graph: Graph, low: Fraction, high: Fraction, row: Sequence[Fraction], offset: Fraction) -> Fraction:
    """The least ``row . output + offset`` of a chain of linear layers and ReLUs with a single input.

    Every value is linear in the input between breaks; where a ReLU's input crosses zero a break is added.
    Raises ``NotImplementedError`` for other operators.
    """
    xs, values = [low, high], [[low], [high]]
    for node in graph.nodes[1:]:
        if not isinstance(node.op, Linear | LeakyReLU):
            raise NotImplementedError(node.op.name)
        if isinstance(node.op, LeakyReLU):
            xs, values = _with_crossings(xs, values)
        values = [_applied(node, [v]) for v in values]
    return min(sum((w * v for w, v in zip(row, x, strict=True)), offset) for x in values)


def _with_crossings(xs: Numbers, values: list[Numbers]) -> tuple[Numbers, list[Numbers]]:
    """All breaks, old and new, in order, with the values there."""
    places, found = [xs[0]], [values[0]]
    for i in range(1, len(xs)):
        (a, b), (left, right) = (xs[i - 1], xs[i]), (values[i - 1], values[i])
        shares = {f / (f - g) for f, g in zip(left, right, strict=True) if f * g < 0}
        for t in [*sorted(shares), Fraction(1)]:
            places.append(a + t * (b - a))
            found.append([f + t * (g - f) for f, g in zip(left, right, strict=True)])
    return places, found


def funnelled(
    graph: Graph, lower: Sequence[float], upper: Sequence[float]
) -> tuple[Graph, Fraction, Fraction]:
    """A chain with a single input as it is; one whose first layer has a single output from there on, with the
    exact range of that number over the box."""
    ends = [(Fraction(a), Fraction(b)) for a, b in zip(lower, upper, strict=True)]
    if len(ends) == 1:
        return graph, *ends[0]
    [weight], [bias] = affine(graph.nodes[1])
    products = [(w * a, w * b) for w, (a, b) in zip(weight, ends, strict=True)]
    builder = Builder((1,))
    here = builder.input
    for node in graph.nodes[2:]:
        here = builder.apply(node.op, [here], node.params)
    return builder.build(here), sum(map(min, products), bias), sum(map(max, products), bias)
