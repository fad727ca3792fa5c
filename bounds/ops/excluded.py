"""Minus infinity as a mask: what models write in front of a softmax to leave positions out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.errors import Unsupported
from bounds.graph import Graph, Ref
from bounds.kinds import Operator, Tensors
from bounds.ops.registry import Call
from bounds.ops.shape import Reshape


@dataclass(frozen=True)
class Excluded(Operator):
    """Minus infinity where the mask is zero; a softmax takes it out again. params: mask, as the sample."""

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        return xs[0].masked_fill(params[0] == 0, -torch.inf)


def excluded(call: Call, x: Ref, held: Tensor) -> Ref:
    """The value where ``held``, minus infinity elsewhere."""
    return call.apply(Excluded(), x, params=(held.to(call.dtype).expand(x.shape),))


def included(call: Call, x: Ref, axis: int) -> tuple[Ref, Tensors]:
    """The value without its mask, and the mask, which must leave something along the axis of the sample."""
    node = call.builder.node(x)
    reshape = isinstance(node.op, Reshape)
    inner = call.builder.node(call.builder.ref(node.inputs[0])) if reshape else node
    if not isinstance(inner.op, Excluded):
        return x, ()
    mask = inner.params[0].reshape(x.shape)
    if not bool((mask != 0).any(axis).all()):
        return x, ()
    free = call.builder.ref(inner.inputs[0])
    return (call.apply(Reshape(x.shape), free) if reshape else free), (mask,)


def check(graph: Graph) -> Graph:
    """The graph; refused if minus infinity is left in it."""
    for node in graph.nodes:
        if isinstance(node.op, Excluded):
            raise Unsupported(
                f"node {node.name!r} fills with minus infinity what is no softmax's input, or all of it; "
                "fill with a finite number"
            )
    return graph
