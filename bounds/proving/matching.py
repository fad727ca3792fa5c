"""Which node of the engine's graph is which step of the checker's network.

Both have read the same file in their own ways. They are compared by what they compute: a mistake here costs
tightness, never soundness, since the checker believes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bounds.graph import Graph
from bounds.kinds import Pointwise
from bounds.proof.arithmetic import Floats
from bounds.proof.format import Array
from bounds.proof.functions import Function
from bounds.proof.network import Network
from bounds.proof.steps import Affine
from bounds.sets import InputSet

_POINTS = 3
_CLOSE = 1e-9  # relative to the largest element, in float64


@dataclass(frozen=True)
class Match:
    """One nonlinear function on both sides.

    node, source: of the graph, the function and what enters it. layer: its number among the network's
    nonlinear steps, from 1. value: of the network, what enters it. start, size: its slope codes. does: what
    the checker knows of it.
    """

    node: int
    source: int
    layer: int
    value: int
    start: int
    size: int
    does: Function


def matches(graph: Graph, network: Network, region: InputSet) -> list[Match]:
    """The functions that both sides know. graph: in float64, without composites; region: of some samples."""
    g = torch.Generator().manual_seed(0)
    box = region[torch.zeros(_POINTS, dtype=torch.long)].box()
    share = torch.rand(box.lower.shape, generator=g, dtype=torch.float64)
    x = box.lower + share * (box.upper - box.lower)
    with torch.inference_mode():
        ours = [v.flatten(1).numpy() for v in graph.values(x)]
    theirs = _values(network, x)
    functions = {k: s.does for k, s in enumerate(network.steps) if isinstance(s.does, Function)}
    starts = np.cumsum([0, *(network.steps[k].size for k in functions)]).tolist()
    found, taken = [], set[int]()
    for index, node in enumerate(graph.nodes):
        if not isinstance(node.op, Pointwise):
            continue
        source = node.inputs[0]
        for layer, k in enumerate(functions, start=1):
            value = network.steps[k].inputs[0]
            same = _same(ours[source], theirs[value]) and _same(ours[index], theirs[k + 1])
            if layer not in taken and same:
                size, does = network.steps[k].size, functions[k]
                found.append(Match(index, source, layer, value, starts[layer - 1], size, does))
                taken.add(layer)
                break
    return found


def _values(network: Network, x: Tensor) -> list[Array]:
    """All values of the checker's network, nearly."""
    a, values = Floats(), [x.flatten(1).numpy()]
    for step in network.steps:
        ins = np.concatenate([values[i] for i in step.inputs], 1)
        values.append(step.does.value(ins) if isinstance(step.does, Affine) else step.does.below(ins, a))
    return values


def _same(x: Array, y: Array) -> bool:
    return x.shape == y.shape and bool(
        np.abs(x - y).max(initial=0) <= _CLOSE * (1 + np.abs(x).max(initial=0))
    )
