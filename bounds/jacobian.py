"""Bounds of Jacobians: the backward graph as a graph, local Lipschitz constants, monotonicity.

Where a network has kinks, what is enclosed is Clarke's generalised Jacobian (Clarke 1983, *Optimization and
nonsmooth analysis*, chapter 2): at a kink every slope between the two one-sided ones counts. His chain rule
puts it into the hull of the products of the layers' own, which interval and linear bounds of the backward
graph enclose, and by Lebourg's mean-value theorem it bounds differences of function values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

from bounds.bound import Bounds, bound
from bounds.errors import InvalidInput, Unsupported
from bounds.graph import Builder, Graph, Node, Ref
from bounds.kinds import Affine, Bilinear, Known, Pointwise
from bounds.linear import Shape
from bounds.ops.adjoint import Adjoint, BilinearAdjoint, Constant, RowProduct
from bounds.ops.derivative import derivative
from bounds.ops.elementwise import Add
from bounds.propagate.problem import Problem
from bounds.propagate.signs import signs
from bounds.rounding import U64, Level, gamma, up
from bounds.sets import InputSet


def jacobian(graph: Graph, rows: Tensor | None = None) -> Graph:
    """The graph ``x -> rows @ (d f / d x)`` of shape (rows, *input_shape), on the same live parameters.

    rows: (rows, outputs) linear forms of the flattened outputs; by default every output. At a kink its value
    is the slope on the left; its bounds enclose Clarke's generalised Jacobian.
    Raises ``InvalidInput`` for rows that do not fit, ``Unsupported`` for functions without a derivative.
    """
    graph = graph.expanded()
    outputs = prod(graph.output_shape)
    rows = torch.eye(outputs, dtype=torch.float64) if rows is None else rows
    if rows.dim() != 2 or rows.shape[1] != outputs:
        raise InvalidInput(f"rows have shape {tuple(rows.shape)}; the graph expects (rows, {outputs})")
    builder = Builder(graph.input_shape)
    refs = [builder.input]
    for node in graph.nodes[1 : graph.output + 1]:
        refs.append(builder.apply(node.op, [refs[i] for i in node.inputs], node.params, node.name))
    shape = (len(rows), *graph.output_shape)
    cotangents = {graph.output: builder.apply(Constant(shape), [builder.input], (rows.view(shape),), "rows")}
    for index in range(graph.output, 0, -1):
        if index not in cotangents:
            continue
        node, here = graph.nodes[index], cotangents.pop(index)
        parts = _pulled(builder, node, refs, here)
        for source, part in zip(node.inputs[: len(parts)], parts, strict=True):
            known = cotangents.get(source)
            cotangents[source] = part if known is None else builder.apply(Add(), [known, part])
    return builder.build(cotangents[0])


def _pulled(builder: Builder, node: Node, refs: list[Ref], here: Ref) -> tuple[Ref, ...]:
    """The cotangents of a node's inputs from its own."""
    op, ins = node.op, [refs[i] for i in node.inputs]
    shapes: tuple[Shape, ...] = tuple(r.shape for r in ins)
    name = f"derivative of {node.name}"
    if isinstance(op, Known):
        return (here,)  # its value is that of its first input
    if isinstance(op, Affine):
        return tuple(
            builder.apply(Adjoint(op, shapes, node.shape, which), [here], node.params, name)
            for which in range(len(ins))
        )
    if isinstance(op, Pointwise):
        slope = builder.apply(derivative(op), ins, node.params, name)
        return (builder.apply(RowProduct(len(node.shape)), [here, slope], (), name),)
    if isinstance(op, Bilinear):
        pair = (shapes[0], shapes[1])
        return tuple(
            builder.apply(BilinearAdjoint(op, pair, node.shape, which), [here, ins[1 - which]], (), name)
            for which in (0, 1)
        )
    raise Unsupported(f"operator {op.name} of node {node.name!r} has no derivative to bound")


def lipschitz(
    graph: Graph,
    region: InputSet,
    norm: float = math.inf,
    method: str = "crown",
    rows: Tensor | None = None,
    level: Level | str | None = None,
) -> Tensor:
    """Upper bounds (batch, rows) of how fast each output, or row, changes: ``|f(x) - f(y)| <= L ||x - y||``
    for all x, y in the convex hull of each sample's region.

    norm: of x - y: inf, 2 or 1; L is the dual norm of the largest absolute derivatives over the region.
    method, level: of ``bounds.bound``; level ``deployed`` says nothing of derivatives and is refused.
    rows: (rows, outputs) linear forms of the outputs, or (batch, rows, outputs) for each sample its own, such
        as ``bounds.margins(labels, classes).matrix``; by default every output. Samples with the same rows go
        together.
    Raises as ``jacobian`` and ``bounds.bound`` do, ``InvalidInput`` for another norm.
    """
    if norm not in (1, 2, math.inf):
        raise InvalidInput(f"norm {norm} is not known; use 1, 2 or inf")
    if rows is not None and rows.dim() == 3:
        return _by_rows(region, rows, lambda part, own: lipschitz(graph, part, norm, method, own, level))
    found = _bounds(graph, region, method, rows, level)
    size = torch.maximum(found.lower.abs(), found.upper.abs()).flatten(2)
    dual = {1: math.inf, 2: 2.0, math.inf: 1.0}[norm]
    value: Tensor = torch.linalg.vector_norm(size, ord=dual, dim=2)
    if found.level is Level.FLOAT or norm == 1:
        return value
    n = size.shape[2]
    return up(value * (1 + gamma(n + 8, U64)) + n * 2.0**-500)


def monotone(
    graph: Graph,
    region: InputSet,
    method: str = "crown",
    rows: Tensor | None = None,
    level: Level | str | None = None,
) -> Tensor:
    """The sign of every partial derivative over each region: (batch, rows, *input_shape), int8.

    +1: the row never falls as that input grows (a constant counts as such), -1: it never rises, 0: not known.
    Found by the derivatives' bounds, or by the signs of all terms that they are sums of. Arguments and errors
    as in ``lipschitz``; as there, it holds on the convex hull of the region.
    """
    if rows is not None and rows.dim() == 3:
        return _by_rows(region, rows, lambda part, own: monotone(graph, part, method, own, level))
    found = _bounds(graph, region, method, rows, level)
    by_terms = signs(_problem(jacobian(graph, rows), region))
    rising = (found.lower >= 0) | (by_terms.negative == 0)
    falling = (found.upper <= 0) | (by_terms.positive == 0)
    return rising.to(torch.int8) - (falling & ~rising).to(torch.int8)


def _by_rows(region: InputSet, rows: Tensor, of: Callable[[InputSet, Tensor], Tensor]) -> Tensor:
    """Samples with rows (batch, rows, outputs) of their own: one call for all that have the same."""
    if len(rows) != len(region):
        raise InvalidInput(f"there are rows for {len(rows)} samples; the region has {len(region)}")
    kinds, which = torch.unique(rows, dim=0, return_inverse=True)
    groups = [(which == kind).nonzero()[:, 0] for kind in range(len(kinds))]
    found = torch.cat([of(region[group], own) for group, own in zip(groups, kinds, strict=True)])
    return found[torch.cat(groups).argsort()]


def _problem(graph: Graph, region: InputSet) -> Problem:
    region = region.to(torch.float64)
    return Problem(graph.to(torch.float64, region.box().lower.device), region, Level.REAL, 2**28)


def _bounds(
    graph: Graph, region: InputSet, method: str, rows: Tensor | None, level: Level | str | None
) -> Bounds:
    if level in (Level.DEPLOYED, Level.DEPLOYED.value):
        raise InvalidInput("level 'deployed' speaks of executions, which have no derivative; use 'real'")
    return bound(jacobian(graph, rows), region, method=method, level=level)
