"""A network without what does not vary over a batch of regions.

Where few inputs vary, much of a network may be one number all over a sample's region: what comes of features
that a property pins, or of those rows of a set that it leaves as they are. Such values are bounded once, by
interval analysis, and become inputs of a smaller graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from math import prod

import torch
from torch import Tensor

from bounds.graph import Builder, Graph, Node, Ref
from bounds.kinds import Affine, Bilinear, Known, Pointwise
from bounds.ops.elementwise import Add, Shift
from bounds.ops.gather import Expand
from bounds.ops.linear import Linear
from bounds.ops.pool import Sum
from bounds.ops.product import Mul
from bounds.ops.shape import Reshape
from bounds.ops.slicing import Concat, Slice
from bounds.propagate.crown import forward_facts
from bounds.propagate.problem import Problem
from bounds.sets import Box, InputSet

_MOST_RUNS = 4  # of rows: each takes nodes of its own
_WORTH = 0.75  # share of the elements that a smaller graph may have at most


def moving(region: InputSet) -> int | None:
    """How many inputs of a sample vary at most; None where the region is no box."""
    box = region.box()
    return int((box.lower < box.upper).flatten(1).sum(1).max()) if region.is_box else None


def varying(graph: Graph, moves: Tensor) -> list[Tensor]:
    """Which elements of each node depend on an input element that moves; masks (*shape) from one."""
    found = [moves.double()[None]]
    for node in graph.nodes[1:]:
        xs = tuple(found[i] for i in node.inputs)
        if isinstance(node.op, Affine):
            magnitudes = tuple(p.double() for p in node.op.magnitudes(node.params))
            reached = node.op.absolute(xs, magnitudes)
        elif isinstance(node.op, Bilinear):
            ones = tuple(torch.ones_like(x) for x in xs)
            reached = node.op.product(xs[0], ones[1]) + node.op.product(ones[0], xs[1])
        elif isinstance(node.op, Pointwise | Known):
            reached = xs[0]
        else:
            reached = torch.ones(1, *node.shape)
        found.append((reached != 0).double())
    return [x[0] != 0 for x in found]


def folded(problem: Problem) -> Problem:
    """The same question about a smaller graph; itself where that would be hardly smaller.

    Its input is the old one, flat, and behind it the values that do not vary, whose intervals hold at the
    problem's level. The region is a box.
    """
    box = problem.region.box()
    moves = (box.lower < box.upper).any(0)
    graph = by_rows(problem.graph, moves)
    reached = [bool(x.any()) for x in varying(graph, moves)]
    border = sorted(
        {i for k, node in enumerate(graph.nodes) if reached[k] for i in node.inputs if not reached[i]}
    )
    size = sum(prod(node.shape) for k, node in enumerate(graph.nodes) if reached[k] or k in border)
    if not reached[graph.output] or size > _WORTH * sum(prod(node.shape) for node in problem.graph.nodes):
        return problem
    facts = forward_facts(replace(problem, graph=graph), tighten=False, relaxed=False)
    known = [box, *(facts[i].interval for i in border)]
    lower = torch.cat([x.lower.flatten(1) for x in known], 1)
    upper = torch.cat([x.upper.flatten(1) for x in known], 1)
    if not bool((lower.isfinite() & upper.isfinite()).all()):
        return problem
    return replace(problem, graph=_smaller(graph, reached, border), region=Box(lower, upper))


def _smaller(graph: Graph, reached: Sequence[bool], border: Sequence[int]) -> Graph:
    """The nodes that are reached, over an input that begins with the old one and goes on with the border."""
    sizes = [prod(graph.nodes[i].shape) for i in (0, *border)]
    builder, refs, start = Builder((sum(sizes),)), dict[int, Ref](), 0
    for index, size in zip((0, *border), sizes, strict=True):
        part = builder.apply(Slice(0, range(start, start + size)), (builder.input,))
        refs[index] = builder.apply(Reshape(graph.nodes[index].shape), (part,))
        start += size
    for index, node in enumerate(graph.nodes[1:], start=1):
        if reached[index]:
            refs[index] = builder.apply(node.op, [refs[i] for i in node.inputs], node.params, node.name)
    return builder.build(refs[graph.output])


def by_rows(graph: Graph, moves: Tensor) -> Graph:
    """The same function, with rows that vary and rows that do not computed apart; itself without such.

    Rows are the positions of a value's first axis. They stay apart from where they are cut out of the input
    up to the first operator that mixes them.
    """
    rows = [_runs(x) for x in varying(graph, moves)]
    if not any(1 < len(runs) <= _MOST_RUNS for runs in rows):
        return graph
    maker = _Rows(Builder(graph.input_shape), graph, rows)
    for index in range(1, len(graph.nodes)):
        maker.add(index)
    return maker.builder.build(maker.whole(graph.output))


def _runs(reached: Tensor) -> tuple[int, ...]:
    """How many rows in turn vary, do not, do ...; empty for a value without rows."""
    if reached.dim() < 2:
        return ()
    return tuple(len(list(run)) for _, run in groupby(reached.flatten(1).any(1).tolist()))


class _Rows:
    """The graph on its way: of each node its value, or its runs of rows, or both."""

    def __init__(self, builder: Builder, graph: Graph, rows: Sequence[tuple[int, ...]]) -> None:
        self.builder, self._graph, self._rows = builder, graph, rows
        self._whole: dict[int, Ref] = {0: builder.input}
        self._parts: dict[int, list[Ref]] = {}

    def add(self, index: int) -> None:
        """The next node."""
        node, runs = self._graph.nodes[index], self._rows[index]
        split = [self._parts.get(i) for i in node.inputs]
        parts = [each for each in split if each is not None]
        if len(parts) == len(split) and len({tuple(x.shape[0] for x in each) for each in parts}) == 1:
            if isinstance(node.op, Sum) and 0 in node.op.axes:
                self._whole[index] = self._summed(node.op, parts[0])
                return
            if self._keeps_rows(node):
                self._parts[index] = [
                    self.builder.apply(_for_rows(node, xs[0].shape[0]), xs, node.params, node.name)
                    for xs in zip(*parts, strict=True)
                ]
                return
        ins = [self.whole(i) for i in node.inputs]
        here = self._whole[index] = self.builder.apply(node.op, ins, node.params, node.name)
        if 1 < len(runs) <= _MOST_RUNS and isinstance(node.op, Affine) and node.op.exact:
            self._parts[index] = self._cut(here, runs)

    def whole(self, index: int) -> Ref:
        """The value of a node."""
        if index not in self._whole:
            self._whole[index] = self.builder.apply(Concat(0), self._parts[index])
        return self._whole[index]

    def _cut(self, x: Ref, runs: Sequence[int]) -> list[Ref]:
        ends = [sum(runs[: k + 1]) for k in range(len(runs))]
        return [
            self.builder.apply(Slice(0, range(end - run, end)), (x,))
            for run, end in zip(runs, ends, strict=True)
        ]

    def _summed(self, op: Sum, parts: Sequence[Ref]) -> Ref:
        total, *others = (self.builder.apply(op, (part,)) for part in parts)
        for other in others:
            total = self.builder.apply(Add(), (total, other))
        return total

    def _keeps_rows(self, node: Node) -> bool:
        """Whether each row of a node comes of the same row of its inputs alone, and of no parameter's row."""
        op, rank = node.op, len(node.shape)
        shapes = [self._graph.nodes[i].shape for i in node.inputs]
        if any(len(shape) != rank or shape[0] != node.shape[0] for shape in shapes):
            return False
        if isinstance(op, Slice):
            return op.axis > 0
        if type(op) is Shift:
            return node.params[0].dim() < rank
        return isinstance(op, Linear | Expand | Mul | Add) or (isinstance(op, Pointwise) and not node.params)


def _for_rows(node: Node, rows: int) -> Affine | Pointwise | Bilinear:
    """The node's operator for so many of its rows."""
    if isinstance(node.op, Expand):
        return Expand((rows, *node.op.shape[1:]))
    if not isinstance(node.op, Affine | Pointwise | Bilinear):
        raise TypeError(f"{node.op.name} keeps no rows")
    return node.op
