"""Alternatives of a clause as one row: the network is continued to the largest of them."""

from __future__ import annotations

import torch

from bounds.graph import Builder, Graph
from bounds.ops.linear import Linear
from bounds.ops.minmax import Extreme
from bounds.ops.shape import Reshape
from bounds.spec import Spec

ALTERNATIVES = "alternatives"  # the name of the layer of all rows


def joined(graph: Graph, spec: Spec) -> tuple[Graph, Spec]:
    """The network with an output for each clause, the value of its best row, which all must be > 0.

    The least of the largest row is more than the largest of each row's least. With the maximum in the
    network, a row's bound is that of the best mixture of the alternatives, and they may be cut like other
    neurons. Unchanged where no clause has alternatives, or where samples ask for different rows.
    """
    if spec.clause is None or not _same(spec):
        return graph, spec
    clause = spec.clause[0]
    groups = [(clause == number).nonzero()[:, 0] for number in torch.unique(clause)]
    width = max(map(len, groups))
    if width == 1:
        return graph, spec
    order = torch.cat([torch.cat([g, g[:1].expand(width - len(g))]) for g in groups])
    builder = Builder(graph.input_shape)
    here = builder.apply(Reshape((spec.num_outputs,)), (builder.inlined(graph, builder.input),))
    here = builder.apply(Linear(), (here,), (spec.matrix[0, order], spec.offset[0, order]), ALTERNATIVES)
    here = builder.apply(Reshape((len(groups), width)), (here,))
    here = builder.apply(Extreme(1, largest=True), (here,), (), "best alternative")
    here = builder.apply(Reshape((len(groups),)), (here,))
    one = torch.eye(len(groups)).to(spec.matrix)[None]
    return builder.build(here).expanded(), Spec(one, one.new_zeros(1, len(groups))).expanded(len(spec.matrix))


def _same(spec: Spec) -> bool:
    """Whether all samples ask for the same rows."""
    parts = [spec.matrix, spec.offset] + ([] if spec.clause is None else [spec.clause])
    return all(bool((part == part[:1]).all()) for part in parts)
