"""Chains of linear layers as one, where that is exact: matrices that select and subtract lose no digit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bounds.graph import Builder, Graph, Node, Ref
from bounds.ops.elementwise import Shift
from bounds.ops.linear import Linear

_TERMS = 4  # entries per row up to which a product is tried
_LEAST = 2.0**-900  # below this a product may have lost digits


@dataclass(frozen=True, eq=False)
class _Map:
    """``weight x + bias`` of an earlier node x, and how many linear layers that is."""

    source: int
    weight: Tensor
    bias: Tensor
    layers: int


def shortened(graph: Graph) -> Graph:
    """The same function, equal in exact arithmetic, with fewer and not larger linear layers, in float64.

    Itself where there is nothing to be shortened.
    """
    maps: dict[int, _Map] = {}
    for index, node in enumerate(graph.nodes):
        found = _mapped(graph, maps, node)
        if found is not None:
            maps[index] = found
    if all(found.layers < 2 for found in maps.values()):
        return graph
    builder = Builder(graph.input_shape)
    refs: list[Ref] = [builder.input]
    for index, node in enumerate(graph.nodes[1:], start=1):
        found = maps.get(index)
        if found is not None and found.layers > 1:
            params = (found.weight, found.bias)
            refs.append(builder.apply(Linear(), (refs[found.source],), params, node.name))
        else:
            refs.append(builder.apply(node.op, [refs[i] for i in node.inputs], node.params, node.name))
    return builder.build(refs[graph.output])


def _mapped(graph: Graph, maps: dict[int, _Map], node: Node) -> _Map | None:
    if not isinstance(node.op, Linear | Shift) or len(node.shape) != 1:
        return None
    source = node.inputs[0]
    before = maps.get(source) if len(graph.users[source]) == 1 else None
    if isinstance(node.op, Shift):
        moved = None if before is None else _sum(before.bias, node.params[0].double().expand(node.shape))
        return None if before is None or moved is None else replace(before, bias=moved)
    if len(graph.nodes[source].shape) != 1:
        return None
    weight = node.params[0].double()
    bias = node.params[1].double() if len(node.params) > 1 else weight.new_zeros(len(weight))
    alone = _Map(source, weight, bias, 1)
    if before is None or before.weight.shape[1] > weight.shape[1]:
        return alone
    product = _product(weight, torch.cat([before.weight, before.bias[:, None]], 1))
    moved = None if product is None else _sum(product[:, -1], bias)
    if product is None or moved is None:
        return alone
    return _Map(before.source, product[:, :-1], moved, before.layers + 1)


def _product(a: Tensor, b: Tensor) -> Tensor | None:
    """``a @ b`` if every step of it is exact: few entries per row, all powers of two; else None."""
    terms = int((a != 0).sum(1).max())
    entries = a[a != 0]
    if terms > _TERMS or bool((entries.frexp().mantissa.abs() != 0.5).any()):
        return None
    columns = (a != 0).to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :terms]
    total = b.new_zeros(len(a), b.shape[1])
    for k in range(terms):
        factor, entry = a.gather(1, columns[:, k, None]), b[columns[:, k]]
        term = factor * entry
        lost = (factor != 0) & (entry != 0) & (term.abs() < _LEAST)  # by underflow
        summed = None if bool(lost.any()) else _sum(total, term)
        if summed is None:
            return None
        total = summed
    return total


def _sum(a: Tensor, b: Tensor) -> Tensor | None:
    """``a + b`` if no element of it is rounded (Knuth's two-sum leaves nothing), else None."""
    total = a + b
    other = total - a
    lost = (a - (total - other)) + (b - other)
    return total if bool((lost == 0).all()) else None
