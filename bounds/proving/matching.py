"""Which node of the engine's graph is which step of the checker's network.

Both have read the same file in their own ways. They are compared by what they compute: a mistake here costs
tightness, never soundness, since the checker believes nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bounds.graph import Graph
from bounds.kinds import Bilinear, Pointwise
from bounds.proof.arithmetic import Floats
from bounds.proof.basics import Array
from bounds.proof.functions import Function
from bounds.proof.more.functions import Product
from bounds.proof.network import Network
from bounds.proof.steps import Affine
from bounds.sets import InputSet

_POINTS = 3
_CLOSE = 1e-9  # relative to the largest element, in float64


@dataclass(frozen=True)
class Match:
    """One nonlinear function on both sides.

    node, source: of the graph, the function and what enters it, of two values the first. layer: its number
    among the network's nonlinear steps, from 1. value: of the network, what enters it. start, size: its slope
    codes. does: what the checker knows of it. same: nodes that enter, and what they are in it.
    """

    node: int
    source: int
    layer: int
    value: int
    start: int
    size: int
    does: Function
    same: Sequence[tuple[int, int]]


def matches(graph: Graph, network: Network, region: InputSet) -> tuple[list[Match], list[Match]]:
    """The functions of one value that both sides know, and the products of two.

    graph: in float64, without composites; region: of some samples.
    """
    g = torch.Generator().manual_seed(0)
    box = region[torch.zeros(_POINTS, dtype=torch.long)].box()
    share = torch.rand(box.lower.shape, generator=g, dtype=torch.float64)
    x = box.lower + share * (box.upper - box.lower)
    with torch.inference_mode():
        ours = graph.values(x)
    theirs = _values(network, x)
    functions = {k: s.does for k, s in enumerate(network.steps) if isinstance(s.does, Function)}
    starts = np.cumsum([0, *(network.steps[k].size for k in functions)]).tolist()
    found, taken = (list[Match](), list[Match]()), set[int]()
    for index, node in enumerate(graph.nodes):
        if not isinstance(node.op, Pointwise | Bilinear):
            continue
        product, source = isinstance(node.op, Bilinear), node.inputs[0]
        made = _made(graph, index, ours)
        for layer, (k, does) in enumerate(functions.items(), start=1):
            if layer in taken or isinstance(does, Product) != product or not _same(made, theirs[k + 1]):
                continue
            value, size = network.steps[k].inputs[0], network.steps[k].size
            if product or _same(ours[source], theirs[value]):
                same = [(source, value)] if not product else list(_found(node.inputs, ours, theirs))
                found[product].append(Match(index, source, layer, value, starts[layer - 1], size, does, same))
                taken.add(layer)
                break
    return found


def _found(
    nodes: Sequence[int], ours: Sequence[Tensor], theirs: Sequence[Array]
) -> Iterator[tuple[int, int]]:
    """Nodes with the first of the network's values that are the same."""
    for node in nodes:
        yield from itertools.islice(((node, v) for v, y in enumerate(theirs) if _same(ours[node], y)), 1)


def _made(graph: Graph, index: int, values: Sequence[Tensor]) -> Tensor:
    """The values of a node, or the single products that it sums."""
    node = graph.nodes[index]
    if not isinstance(node.op, Bilinear):
        return values[index]
    op = node.op.apart([graph.nodes[i].shape for i in node.inputs])
    return op.product(*(values[i] for i in node.inputs))


def _values(network: Network, x: Tensor) -> list[Array]:
    """All values of the checker's network, nearly."""
    a, values = Floats(), [x.flatten(1).numpy()]
    for step in network.steps:
        ins = np.concatenate([values[i] for i in step.inputs], 1)
        values.append(step.does.value(ins) if isinstance(step.does, Affine) else step.does.below(ins, a))
    return values


def _same(ours: Tensor, y: Array) -> bool:
    x = ours.flatten(1).numpy()
    return x.shape == y.shape and bool(
        np.abs(x - y).max(initial=0) <= _CLOSE * (1 + np.abs(x).max(initial=0))
    )
