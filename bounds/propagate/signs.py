"""Which elements of a graph's nodes may be negative, which positive, by signs alone.

Interval analysis with an account of rounding cannot tell a sum of terms >= 0 from one that is slightly
negative. Signs can: a sum may be negative only if one of its terms may.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.graph import Node
from bounds.interval import Interval
from bounds.kinds import Affine, Bilinear, Known
from bounds.ops.adjoint import Constant
from bounds.propagate.crown import forward_facts
from bounds.propagate.problem import Problem


@dataclass(frozen=True, eq=False)
class Signs:
    """Per element of one node: 1.0 where it may be negative, or positive, 0.0 where it cannot be."""

    negative: Tensor
    positive: Tensor

    def within(self, x: Interval) -> Signs:
        """What is left of it for values in an interval."""
        return Signs(self.negative * (x.lower < 0), self.positive * (x.upper > 0))


def signs(problem: Problem) -> Signs:
    """The signs that the output's elements can have over the region, from interval analysis of every node."""
    graph = problem.graph
    found: list[Signs] = []
    for node, fact in zip(graph.nodes, forward_facts(problem, tighten=False, relaxed=False), strict=True):
        every = torch.ones_like(fact.interval.lower)
        ins = [found[i] for i in node.inputs]
        found.append(_step(node, ins, Signs(every, every)).within(fact.interval))
    return found[graph.output]


def _step(node: Node, ins: list[Signs], unknown: Signs) -> Signs:
    op = node.op
    if isinstance(op, Known):
        return ins[0]
    if isinstance(op, Bilinear):
        (a, b), product = ins, op.product
        negative = product(a.negative, b.positive) + product(a.positive, b.negative)
        positive = product(a.positive, b.positive) + product(a.negative, b.negative)
        return Signs((negative != 0).to(negative), (positive != 0).to(positive))
    if isinstance(op, Constant):
        c = node.params[0].expand_as(unknown.negative)
        return Signs((c < 0).to(c), (c > 0).to(c))
    if isinstance(op, Affine) and op.offset(node.params) is None:
        return _affine(op, node, ins)
    return unknown


def _affine(op: Affine, node: Node, ins: list[Signs]) -> Signs:
    """Counts of the terms of either sign, by weights of -1, 0 and 1: (|W| (p + n) -+ W (p - n)) / 2.

    Sums of small whole numbers are exact; so is the test for zero where an operator has coefficients of its
    own, as averages do, since these are of one sign and size.
    """
    weights = tuple(w.sign() for w in op.weights(node.params))
    either = op.absolute(tuple(s.positive + s.negative for s in ins), tuple(w.abs() for w in weights))
    difference = op.linear(tuple(s.positive - s.negative for s in ins), weights)
    negative, positive = either - difference, either + difference
    return Signs((negative != 0).to(negative), (positive != 0).to(positive))
