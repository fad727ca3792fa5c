"""The derivative of rows' bounds with respect to their slopes, by hand.

A row's bound is the least value, over the region, of a function that is linear in every slope. Its derivative
is that of this function at its minimiser (Danskin 1966): the rows have gone back to the input once, and the
minimisers go forward once, each through the lines that its own row's signs have chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.errors import Unsupported
from bounds.graph import Graph, Node
from bounds.kinds import Affine, Bilinear, Input, Known, Pointwise
from bounds.propagate.facts import Facts
from bounds.propagate.forms import Layout, Own, by_sign
from bounds.propagate.rows import FEW, appended, pushed
from bounds.sets import InputSet


@dataclass(frozen=True, eq=False)
class Pass:
    """One way back of rows: what they were, dense, at the input (0) and at every nonlinear node."""

    graph: Graph
    facts: list[Facts]
    region: InputSet
    layout: Layout
    rows: Mapping[int, Tensor]
    own: Mapping[int, Own]

    def minimisers(self, until: int) -> dict[int, Tensor]:
        """The values of all nodes up to one at each row's minimiser, through the lines; (rows, *shape)."""
        values = {0: self._of_input()}
        for index, node in enumerate(self.graph.nodes[1 : until + 1], start=1):
            xs = tuple(values[i] for i in node.inputs)
            if isinstance(node.op, Affine):
                values[index] = self._affine(node.op, node, index, xs)
            elif isinstance(node.op, Pointwise):
                values[index] = self._line(index, xs[0])
            elif isinstance(node.op, Bilinear):
                values[index] = self._plane(node.op, index, xs)
            elif isinstance(node.op, Known | Input):
                values[index] = xs[0]
            else:
                raise Unsupported(f"operator {node.op.name} of node {node.name!r} has no lines")
        return values

    def _of_input(self) -> Tensor:
        a, layout = self.rows[0], self.layout
        if not self.region.is_box:
            return self.region[layout.rows].argmax(-a)
        box = self.region.box()
        return by_sign(layout.grouped(a), layout.of(box.lower), layout.of(box.upper)).view_as(a)

    def _affine(self, op: Affine, node: Node, index: int, xs: tuple[Tensor, ...]) -> Tensor:
        """Of a layer of mostly dead neurons only what lives."""
        found, samples = None, self.layout.samples
        after = _living(self.graph, self.facts, self.own, index) if self.layout.per_sample >= FEW else None
        if after is not None:
            before = self.facts[node.inputs[0]].live
            live = None if before is None else before[samples]
            found = op.value_live(self.layout.grouped(xs[0]), node.params, live, after[samples])
        return op.value(xs, node.params) if found is None else found.reshape(len(found), *node.shape)

    def _line(self, index: int, z: Tensor) -> Tensor:
        shared, own, layout = self.facts[index].lines, self.own.get(index, Own()), self.layout
        if shared is None:
            raise Unsupported("a pointwise function without lines")

        def choose(mine: Tensor | None, of_sample: Tensor) -> Tensor:
            return layout.of(of_sample) if mine is None else layout.grouped(mine)

        points = layout.grouped(z)
        low = choose(own.lower_slope, shared.lower_slope) * points
        if own.lower_intercept is not None or shared.lifted:
            low = low + choose(own.lower_intercept, shared.lower_intercept)
        if index not in self.rows:
            return low.view_as(z)
        high = choose(own.upper_intercept, shared.upper_intercept)
        high = torch.addcmul(high, choose(own.upper_slope, shared.upper_slope), points)
        return by_sign(layout.grouped(self.rows[index]), low, high).view_as(z)

    def _plane(self, op: Bilinear, index: int, xs: tuple[Tensor, ...]) -> Tensor:
        planes, samples = self.facts[index].planes, self.layout.rows
        if planes is None:
            raise Unsupported("a product without planes")
        held = op.product(xs[0], planes.right[samples]) + op.product(planes.left[samples], xs[1])
        held = held - planes.shift[samples]
        if index not in self.rows:
            return held
        held = held - self.rows[index].sign() * planes.spread[samples]
        turn = self.own.get(index, Own()).turn
        if turn is None:
            return held
        apart = op.apart([self.graph.nodes[i].shape for i in self.graph.nodes[index].inputs])
        turned = turn * planes.of(samples).turned(apart, xs, appended(self.rows[index].sign(), turn))
        return held + turned.reshape(*held.shape, -1).sum(-1)


def _living(graph: Graph, facts: list[Facts], own: Mapping[int, Own], index: int) -> Tensor | None:
    """Which elements of a node matter to its users; None for all, also where it is the output."""
    users = graph.users[index]
    masks = [facts[user].live for user in users]
    if not masks or any(mask is None for mask in masks) or pushed(own, users):
        return None
    return torch.stack([mask for mask in masks if mask is not None]).any(0)
