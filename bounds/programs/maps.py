"""Affine operators as sparse matrices, from nothing but their values."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from bounds.graph import Graph
from bounds.kinds import Affine, Tensors
from bounds.linear import Shape

Floats = NDArray[np.float64]
Map = Callable[[Tensors, Tensors], torch.Tensor]

_AT_ONCE = 2**23  # numbers in one chunk of basis vectors and their images


def affine_map(graph: Graph, index: int, op: Affine) -> tuple[list[sparse.csr_array], Floats]:
    """W and b of ``y = sum_i W_i x_i + b`` on flattened samples: one matrix per input, and the offset."""
    node = graph.nodes[index]
    ins = [graph.nodes[i].shape for i in node.inputs]
    weights, offset = op.weights(node.params), op.offset(node.params)
    matrices = [_matrix(op, op.linear, weights, ins, place, node.shape) for place in range(len(ins))]
    if offset is None:
        return matrices, np.zeros(prod(node.shape))
    flat = offset.detach().expand(1, *node.shape).flatten()
    return matrices, flat.numpy().astype(np.float64)


def magnitudes(graph: Graph, index: int, op: Affine) -> list[sparse.csr_array]:
    """What rounding in the matrices is relative to: at least ``|W_i|``, one per input."""
    node = graph.nodes[index]
    ins, weights = [graph.nodes[i].shape for i in node.inputs], op.weights(node.params)
    return [_matrix(op, op.absolute, weights, ins, place, node.shape) for place in range(len(ins))]


def _matrix(
    op: Affine, apply: Map, weights: Tensors, ins: list[Shape], place: int, out: Shape
) -> sparse.csr_array:
    columns, rows = prod(ins[place]), prod(out)
    if op.exact:
        return _moved(apply, weights, ins, place, rows)
    step = max(1, _AT_ONCE // (rows + columns))
    parts = []
    for first in range(0, columns, step):
        count = min(step, columns - first)
        basis = torch.zeros(count, columns, dtype=torch.float64)
        basis[torch.arange(count), torch.arange(first, first + count)] = 1.0
        images = _linear(apply, weights, ins, place, basis)
        parts.append(sparse.csr_array(images.reshape(count, rows).numpy()))
    return sparse.csr_array(sparse.vstack(parts).T)


def _moved(apply: Map, weights: Tensors, ins: list[Shape], place: int, rows: int) -> sparse.csr_array:
    """Of an operator that only moves, drops and negates: one look at numbered elements is enough."""
    columns = prod(ins[place])
    numbers = torch.arange(1, columns + 1, dtype=torch.float64)[None]
    seen = _linear(apply, weights, ins, place, numbers).flatten().numpy()
    at = np.flatnonzero(seen)
    entries = (np.sign(seen[at]), (at, np.abs(seen[at]).astype(np.int64) - 1))
    return sparse.csr_array(entries, shape=(rows, columns))


def _linear(apply: Map, weights: Tensors, ins: list[Shape], place: int, x: torch.Tensor) -> torch.Tensor:
    """W x, or ``|W| x``, for one of the inputs, all others zero; x: (batch, elements)."""
    xs = tuple(
        x.view(len(x), *shape) if i == place else x.new_zeros(len(x), *shape) for i, shape in enumerate(ins)
    )
    return apply(xs, weights).detach()
