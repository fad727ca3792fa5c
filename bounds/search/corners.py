"""Counterexamples where no neuron is left to cut: the network is linear there, a linear program finds them.

A bound's own minimiser is a corner of the region that need not obey the cuts. The point that does is
a guess like any other: it is run before it is believed, and nothing is proved by it.
"""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from bounds.kinds import Affine, Known, Pointwise
from bounds.search.bounding import Bounded
from bounds.search.domains import NOWHERE
from bounds.spec import Spec

_MOST_INPUTS = 1024  # as many runs of the network does it take


def least_points(found: Bounded, spec: Spec, row: Tensor, domains: Tensor) -> tuple[Tensor, Tensor]:
    """Where the deciding row is least within the cuts, (points, *shape), and of which domain each point is.

    spec: what the domains are asked; row: each one's deciding row; domains: which of them. Domains without
    such a point, as far as the solver can tell, have none.
    """
    shape = found.last.region.shape
    points, of = [], []
    if prod(shape) <= _MOST_INPUTS:
        for domain in domains.tolist():
            x = _least(found, spec, int(row[domain]) % found.rows.shape[1], domain)
            if x is not None:
                points.append(x.view(shape))
                of.append(domain)
    empty = found.rows.new_zeros(0, *shape, dtype=torch.float64)
    return torch.stack(points) if points else empty, torch.tensor(of, dtype=torch.long)


def _least(found: Bounded, spec: Spec, row: int, domain: int) -> Tensor | None:
    from scipy.optimize import linprog  # noqa: PLC0415 - slow to load, and seldom needed

    values = _linear(found, domain)
    cuts, box = found.domains.cuts[torch.tensor([domain])], found.last.region.box()
    if values is None:
        return None
    output = values[found.last.graph.output] @ spec.matrix[domain, row].double()
    limits, ends = [], []
    for node, element, at, side in zip(*(x[0].tolist() for x in cuts.columns), strict=True):
        if node not in (NOWHERE, 0):
            here = values[int(node)][:, int(element)]
            limits.append((-side * here[1:]).numpy())
            ends.append(side * (float(here[0]) - at))
    low, high = box.lower[domain].flatten().double(), box.upper[domain].flatten().double()
    solved = linprog(
        output[1:].numpy(),
        A_ub=np.stack(limits) if limits else None,
        b_ub=np.array(ends) if limits else None,
        bounds=torch.stack([low, high], 1).numpy(),
    )
    return torch.from_numpy(solved.x) if solved.status == 0 else None


def _linear(found: Bounded, domain: int) -> list[Tensor] | None:
    """Each node through the lines: its constant, then what each input adds; (1 + inputs, elements)."""
    graph, inputs = found.last.graph, prod(found.last.region.shape)
    units = torch.cat([torch.zeros(1, inputs), torch.eye(inputs)]).to(found.rows)
    values = [units.view(-1, *found.last.region.shape)]
    for index, node in enumerate(graph.nodes[1:], start=1):
        xs = tuple(values[i] for i in node.inputs)
        lines = found.facts[index].lines
        if isinstance(node.op, Affine):
            values.append(node.op.value(xs, node.params))
        elif isinstance(node.op, Pointwise) and lines is not None:
            values.append(lines.lower_slope[domain] * xs[0] + lines.lower_intercept[domain])
        elif isinstance(node.op, Known):
            values.append(xs[0])
        else:
            return None
    flat = [value.flatten(1).double() for value in values]
    return [torch.cat([value[:1], value[1:] - value[:1]]) for value in flat]
