"""A graph over one sample's region as a system of linear constraints on the values of all its nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from bounds.errors import Unsupported
from bounds.graph import Graph, Node
from bounds.interval import Interval
from bounds.kinds import Affine, Bilinear, Known, Pointwise
from bounds.linear import Shape
from bounds.programs.hull import Hull, hull
from bounds.programs.maps import Floats, affine_map
from bounds.propagate.facts import Facts

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Columns:
    """Where the values of every node stand among the variables: first and count, node by node."""

    first: Sequence[int]
    count: Sequence[int]

    @staticmethod
    def of(graph: Graph) -> Columns:
        """What is known of a composite shares the variables of the composite's value."""
        first, free = list[int](), 0
        count = [prod(node.shape) for node in graph.nodes]
        for node, size in zip(graph.nodes, count, strict=True):
            if isinstance(node.op, Known):
                first.append(first[node.inputs[0]])
            else:
                first.append(free)
                free += size
        return Columns(first, count)

    @property
    def total(self) -> int:
        """The number of variables."""
        return max(first + count for first, count in zip(self.first, self.count, strict=True))

    def __getitem__(self, index: int) -> slice:
        return slice(self.first[index], self.first[index] + self.count[index])


@dataclass(frozen=True, eq=False)
class Above:
    """Constraints ``matrix x >= least`` on the first variables, or on all of them."""

    matrix: sparse.csr_array
    least: Floats

    def finite(self) -> Above:
        """With rows of zeros where anything is infinite or not a number."""
        bad = ~np.isfinite(self.least) | (abs(self.matrix) @ np.zeros(self.matrix.shape[1]) != 0)
        good = sparse.diags_array((~bad).astype(np.float64))
        data = np.where(np.isfinite(self.matrix.data), self.matrix.data, 0.0)
        matrix = sparse.csr_array((data, self.matrix.indices, self.matrix.indptr), self.matrix.shape)
        return Above(sparse.csr_array(good @ matrix), np.where(bad, 0.0, self.least))

    def wide(self, total: int) -> sparse.csr_array:
        """The matrix with zeros for variables that it does not know."""
        found = self.matrix.copy()
        found.resize((found.shape[0], total))
        return found


@dataclass(frozen=True, eq=False)
class Limits:
    """The finite ends of an interval as constraints ``side x >= side end``, (ends,) each."""

    node: int
    element: Indices
    side: Floats
    end: Floats

    def above(self, columns: Columns) -> Above:
        """As rows of a matrix."""
        return Above(
            entries([(self.side, columns.first[self.node] + self.element)], columns.total),
            self.side * self.end,
        )


@dataclass(frozen=True, eq=False)
class System:
    """The linear constraints of one sample.

    columns: of the nodes. more: further variables behind these, singles of products. equal: constraints that
    hold with equality, those of the affine nodes. hulls, limits: around pointwise nodes, and of what enters
    them, by its node. planes: of bilinear nodes.
    """

    graph: Graph
    columns: Columns
    more: int
    equal: Sequence[Above]
    hulls: dict[int, Hull]
    limits: dict[int, Limits]
    planes: dict[int, Planes]

    @property
    def total(self) -> int:
        """The number of variables."""
        return self.columns.total + self.more

    @cached_property
    def lines(self) -> dict[int, Above]:
        """The constraints of all lines."""
        return {index: self._lines(index, found) for index, found in self.hulls.items()}

    def _lines(self, index: int, found: Hull) -> Above:
        z, y = (self.columns.first[i] + found.element for i in (self.graph.nodes[index].inputs[0], index))
        return Above(
            entries([(found.side, y), (-found.side * found.slope, z)], self.columns.total),
            found.side * found.intercept,
        )


@dataclass(frozen=True, eq=False)
class Planes:
    """McCormick's (1976) planes around single products w = a b, each a variable: ``matrix x >= least``.

    Four for each product: two below, then two above; the first of either at the lower ends of b's partner.
    """

    first: int
    singles: Shape
    above: Above


def stacked(parts: Sequence[Above], total: int) -> Above:
    """All constraints in one, on so many variables."""
    empty = Above(sparse.csr_array((0, total)), np.zeros(0))
    every = [empty, *parts]
    matrix = sparse.csr_array(sparse.vstack([each.wide(total) for each in every]))
    return Above(matrix, np.concatenate([each.least for each in every]))


def entries(terms: Iterable[tuple[Floats, Indices]], total: int) -> sparse.csr_array:
    """A matrix whose row r holds each term's coefficient r at its column r; columns may repeat."""
    terms = list(terms)
    count = len(terms[0][1])
    values = np.concatenate([coefficient for coefficient, _ in terms])
    columns = np.concatenate([column for _, column in terms])
    rows = np.tile(np.arange(count), len(terms))
    return sparse.csr_array((values, (rows, columns)), shape=(count, total))


def system(graph: Graph, facts: Sequence[Facts], sample: int) -> System:
    """The constraints of one sample whose facts are given.

    Raises ``Unsupported`` for operators of other kinds than ``Affine``, ``Pointwise`` and ``Bilinear``.
    """
    graph = graph.to(torch.float64)
    columns, more = Columns.of(graph), 0
    equal, hulls = list[Above](), dict[int, Hull]()
    limits, planes = dict[int, Limits](), dict[int, Planes]()
    for index, node in enumerate(graph.nodes[1:], start=1):
        ins = [_alone(facts[i].interval, sample) for i in node.inputs]
        if isinstance(node.op, Affine):
            equal.append(_affine(graph, index, node.op, columns))
        elif isinstance(node.op, Pointwise):
            hulls[index] = hull(node.op.bind(node.params), ins[0])
            limits.setdefault(node.inputs[0], _limits(node.inputs[0], ins[0]))
        elif isinstance(node.op, Bilinear):
            planes[index], sums = _bilinear(graph, index, node.op, ins, columns, columns.total + more)
            equal.append(sums)
            more += prod(planes[index].singles)
        elif isinstance(node.op, Known):
            limits[index] = _limits(index, _alone(facts[index].interval, sample))
        else:
            raise Unsupported(f"operator {node.op.name} of node {node.name!r} has no linear program")
    return System(graph, columns, more, equal, hulls, limits, planes)


def _alone(x: Interval, sample: int) -> Interval:
    return Interval(x.lower[sample : sample + 1].double(), x.upper[sample : sample + 1].double())


def _limits(node: int, x: Interval) -> Limits:
    ends = torch.cat([x.lower, x.upper]).reshape(2, -1)
    side, element = ends.isfinite().nonzero().T
    return Limits(node, element.numpy(), (1.0 - 2.0 * side).numpy(), ends[side, element].numpy())


def _affine(graph: Graph, index: int, op: Affine, columns: Columns) -> Above:
    """``y - sum W_i x_i = b``."""
    matrices, offset = affine_map(graph, index, op)
    total = sparse.csr_array((len(offset), columns.total))
    for matrix, source in zip(matrices, graph.nodes[index].inputs, strict=True):
        total = total - _placed(matrix, columns.first[source], columns.total)
    own = sparse.eye_array(len(offset), format="csr")
    return Above(sparse.csr_array(total + _placed(own, columns.first[index], columns.total)), offset)


def _placed(matrix: sparse.csr_array, first: int, total: int) -> sparse.csr_array:
    """The matrix with its columns from ``first`` on."""
    return sparse.csr_array((matrix.data, matrix.indices + first, matrix.indptr), (matrix.shape[0], total))


def _bilinear(
    graph: Graph, index: int, op: Bilinear, ins: Sequence[Interval], columns: Columns, first: int
) -> tuple[Planes, Above]:
    """The planes around all single products, and the sums that these make up."""
    node = graph.nodes[index]
    places = _places(graph, node, op)
    singles = places[0].shape
    (a, b), w = (place.flatten().numpy() for place in places), first + np.arange(places[0].numel())
    (la, ua), (lb, ub) = (
        (x.lower.flatten().numpy()[at], x.upper.flatten().numpy()[at])
        for x, at in zip(ins, (a, b), strict=True)
    )
    x, y = (columns.first[i] + at for i, at in zip(node.inputs, (a, b), strict=True))
    total, one = first + len(w), np.ones(len(w))
    parts = [
        entries([(side * one, w), (-side * left, y), (-side * right, x)], total)
        for side, left, right in ((1, la, lb), (1, ua, ub), (-1, ua, lb), (-1, la, ub))
    ]
    least = np.concatenate([-la * lb, -ua * ub, ua * lb, la * ub])
    around = Above(sparse.csr_array(sparse.vstack(parts)), least).finite()
    out = prod(node.shape)
    add = sparse.csr_array((np.ones(len(w)), (np.arange(len(w)) // (len(w) // out), w)), shape=(out, total))
    own = _placed(sparse.eye_array(out, format="csr"), columns.first[index], total)
    return Planes(first, tuple(singles), around), Above(sparse.csr_array(own - add), np.zeros(out))


def _places(graph: Graph, node: Node, op: Bilinear) -> tuple[torch.Tensor, torch.Tensor]:
    """Of every single product, which elements of both inputs it multiplies; (*out, *summed)."""
    shapes = [graph.nodes[i].shape for i in node.inputs]
    apart = op.apart(shapes)
    ones = [torch.ones(1, *shape, dtype=torch.float64) for shape in shapes]
    if not bool((apart.product(*ones) == 1).all()):
        raise Unsupported(f"node {node.name!r} ({op.name}) has too many products for a program")
    numbers = [torch.arange(prod(shape), dtype=torch.float64).view(1, *shape) for shape in shapes]
    left = apart.product(numbers[0], ones[1])[0].long()
    return left, apart.product(ones[0], numbers[1])[0].long()
