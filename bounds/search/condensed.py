"""A network with only those neurons that bounds leave open, for a search that goes over them many times.

Where intervals tell on which piece a neuron works, it is a linear function, and linear functions of linear
functions are one matrix. What is left are rows over the inputs and the open neurons before them: the same
relaxation and the same bounds, as far as floats go, with fewer and smaller tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from bounds.graph import Graph, Node
from bounds.interval import Interval
from bounds.kinds import Affine, Operator, Pointwise, Tensors
from bounds.linear import Shape
from bounds.ops.gather import Pick
from bounds.ops.linear import Linear
from bounds.ops.shape import Reshape
from bounds.ops.slicing import Concat
from bounds.propagate.facts import Facts
from bounds.relaxation import lines
from bounds.search.domains import Cuts, Domains

_MOST = 2**26  # numbers in the matrix of one node
_PASSES = 400  # what a neuron costs a row on its way back and forth, in products


@dataclass(frozen=True, eq=False)
class Condensed:
    """A smaller graph, and where its open neurons are in the whole one.

    known: intervals of what enters open neurons, by node. places: of these nodes and of the neurons' the node
    in the whole graph and which of its elements are there; shapes: that node's.
    """

    graph: Graph
    known: Mapping[int, Interval]
    places: Mapping[int, tuple[int, Tensor]]
    shapes: Mapping[int, Shape]

    @property
    def intervals(self) -> list[Interval]:
        """Of every node what is known, infinite where that is nothing."""
        end = torch.full((1,), torch.inf)
        return [self.known.get(index, Interval(-end, end)) for index in range(len(self.graph.nodes))]

    def whole(self, domains: Domains) -> Domains:
        """Domains of the smaller graph as those of the whole one."""
        chosen = {}
        for (kind, index, side), x in domains.chosen.items():
            node, elements = self.places[index]
            full = x.new_full((*x.shape[:2], prod(self.shapes[index])), torch.nan)
            full[:, :, elements] = x
            chosen[kind, node, side] = full.view(*x.shape[:2], *self.shapes[index])
        return replace(domains, cuts=self._cuts(domains.cuts), chosen=chosen)

    def _cuts(self, cuts: Cuts) -> Cuts:
        nodes, places = cuts.node.clone(), cuts.element.clone()
        for index in cuts.nodes:
            if index > 0:
                here, (node, elements) = cuts.node == index, self.places[index]
                nodes[here], places[here] = node, elements[cuts.element[here]]
        return replace(cuts, node=nodes, element=places)


def condensed(graph: Graph, facts: Sequence[Facts]) -> Condensed | None:
    """The graph for domains within ``facts``; None where it would be no cheaper or is not made of affine
    operators and functions of single elements alone."""
    for node in graph.nodes[1:]:
        if not isinstance(node.op, Affine) and (not isinstance(node.op, Pointwise) or node.params):
            return None
    width = prod(graph.input_shape) + sum(
        int(node.op.undecided(facts[node.inputs[0]].interval).any(0).sum())
        for node in graph.nodes
        if isinstance(node.op, Pointwise)
    )
    if width * max(prod(node.shape) for node in graph.nodes) > _MOST:
        return None
    maker = _Maker(graph)
    for index, node in enumerate(graph.nodes[1:], start=1):
        if isinstance(node.op, Affine):
            maker.affine(index, node.op)
        elif isinstance(node.op, Pointwise):
            maker.pointwise(index, node.op, facts[node.inputs[0]].interval)
    found = maker.built()
    return found if _cost(found.graph) < _cost(graph) else None


def _cost(graph: Graph) -> int:
    """About what one row costs, in products."""
    neurons = sum(prod(node.shape) for node in graph.nodes if isinstance(node.op, Pointwise))
    return _PASSES * neurons + sum(_products(graph, node) for node in graph.nodes)


def _products(graph: Graph, node: Node) -> int:
    if not isinstance(node.op, Affine) or node.op.exact or node.op.elementwise:
        return 0
    return node.op.fan_in([graph.nodes[i].shape for i in node.inputs], node.shape, node.params) * prod(
        node.shape
    )


def _chain(graph: Graph, index: int) -> int | None:
    """What the affine operators from the input to a node cost; None where there are others."""
    if index == 0:
        return 0
    node = graph.nodes[index]
    if not isinstance(node.op, Affine):
        return None
    before = [_chain(graph, i) for i in node.inputs]
    return None if None in before else _products(graph, node) + sum(cost or 0 for cost in before)


class _Maker:
    """The graph on its way.

    values: of nodes that are needed yet the constant, then what each base element adds; (1 + base, *shape).
    base: the inputs and the open neurons so far. plain: nodes that are as they were.
    """

    def __init__(self, graph: Graph) -> None:
        count = prod(graph.input_shape)
        like = next((p for node in graph.nodes for p in node.params), torch.zeros(()))
        units = torch.cat([torch.zeros(1, count), torch.eye(count)]).to(like)
        self._graph, self._nodes, self._plain = graph, [graph.nodes[0]], {0: 0}
        self._values = {0: units.view(-1, *graph.input_shape)}
        self._base = [self._added(Reshape((count,)), (0,), (), (count,))]
        self._known: dict[int, Interval] = {}
        self._places: dict[int, tuple[int, Tensor]] = {}

    @property
    def _width(self) -> int:
        return 1 + sum(prod(self._nodes[i].shape) for i in self._base)

    def affine(self, index: int, op: Affine) -> None:
        """An affine operator of affine functions."""
        node = self._graph.nodes[index]
        width = max(len(self._values[i]) for i in node.inputs)
        xs = tuple(_padded(self._values[i], width) for i in node.inputs)
        value, offset = op.linear(xs, op.weights(node.params)).clone(), op.offset(node.params)
        if offset is not None:
            value[:1] += offset
        self._set(index, value)

    def pointwise(self, index: int, op: Pointwise, x: Interval) -> None:
        """A function of single elements: where it is one line for all samples, affine."""
        node, source = self._graph.nodes[index], self._graph.nodes[index].inputs[0]
        around = lines(op, x, rounded=False)
        slope, shift = around.lower_slope[:1], around.lower_intercept[:1]
        curved = op.undecided(x) | (around.lower_slope != slope) | (around.lower_intercept != shift)
        is_open = curved.any(0, keepdim=True)
        elements = is_open.flatten().nonzero()[:, 0]
        before = self._values[source]
        value = before * slope.masked_fill(is_open, 0.0)
        value[:1] += shift.masked_fill(is_open, 0.0)
        if len(elements):
            value = _padded(value, self._width)
            units = torch.zeros_like(value[:1]).expand(len(elements), *node.shape).flatten(1).clone()
            units[torch.arange(len(elements)), elements] = 1.0
            value = torch.cat([value, units.view(-1, *node.shape)])
            entering = self._entering(source, elements, before.flatten(1)[:, elements])
            here = self._added(op, (entering,), (), (len(elements),), node.name)
            self._places |= {entering: (source, elements), here: (index, elements)}
            self._known[entering] = Interval(*(end.flatten(1)[:, elements] for end in (x.lower, x.upper)))
            self._base.append(here)
        self._set(index, value)

    def built(self) -> Condensed:
        """Done; with the output's rows."""
        graph = self._graph
        output = self._rows(self._values[graph.output].flatten(1))
        if graph.output_shape != self._nodes[output].shape:
            output = self._added(Reshape(graph.output_shape), (output,), (), graph.output_shape)
        shapes = {here: graph.nodes[node].shape for here, (node, _) in self._places.items()}
        return Condensed(Graph(tuple(self._nodes), output), self._known, self._places, shapes)

    def _entering(self, source: int, elements: Tensor, columns: Tensor) -> int:
        """What enters some open neurons; columns: (1 + base, elements)."""
        chain = _chain(self._graph, source)
        if chain is None or chain > columns.numel():
            return self._rows(columns)
        size, count = prod(self._graph.nodes[source].shape), len(elements)
        flat = self._added(Reshape((size,)), (self._copied(source),), (), (size,))
        return self._added(Pick((count,), tuple(elements.tolist())), (flat,), (), (count,))

    def _rows(self, columns: Tensor) -> int:
        """Affine functions of the base elements; columns: (1 + base, functions)."""
        parts, kept, start = list[int](), list[Tensor](), 1
        for index in self._base:
            block = columns[start : start + prod(self._nodes[index].shape)]
            start += prod(self._nodes[index].shape)
            if bool(block.any()) or (index == self._base[-1] and not parts):
                parts.append(index)
                kept.append(block)
        weight = torch.cat(kept).mT.contiguous()
        inputs = parts[0]
        if len(parts) > 1:
            inputs = self._added(Concat(0), tuple(parts), (), (weight.shape[1],))
        return self._added(Linear(), (inputs,), (weight, columns[0].clone()), (weight.shape[0],))

    def _copied(self, index: int) -> int:
        """A node as it is in the whole graph."""
        if index not in self._plain:
            node = self._graph.nodes[index]
            inputs = tuple(self._copied(i) for i in node.inputs)
            self._plain[index] = self._added(node.op, inputs, node.params, node.shape, node.name)
        return self._plain[index]

    def _added(
        self, op: Operator, inputs: tuple[int, ...], params: Tensors, shape: Shape, name: str = "condensed"
    ) -> int:
        self._nodes.append(Node(op, inputs, params, shape, name))
        return len(self._nodes) - 1

    def _set(self, index: int, value: Tensor) -> None:
        self._values[index] = value
        for source in self._graph.ending[index]:
            if source != self._graph.output:
                self._values.pop(source, None)


def _padded(value: Tensor, width: int) -> Tensor:
    """With zeros for elements that came later; (width, *shape)."""
    return torch.cat([value, value.new_zeros(width - len(value), *value.shape[1:])])
