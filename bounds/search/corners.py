"""Where no neuron is left to cut the network is linear: a linear program tells what gradient steps only near.

A bound's own minimiser is a corner of the region that need not obey the cuts. The point that does is
a guess like any other: it is run before it is believed. So are the program's multipliers: bounds by them
are computed as by any others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from torch import Tensor

from bounds.kinds import Affine, Known, Pointwise
from bounds.search.bounding import Bounded
from bounds.search.domains import NOWHERE, Domains
from bounds.spec import Spec

_MOST_INPUTS = 1024  # as many runs of the network does it take


# A cut node, an element, and the multiplier of its cut.
Push = tuple[int, int, float]


@dataclass(frozen=True, eq=False)
class Corner:
    """Where a domain's deciding row is least within its cuts, and what each cut weighs there.

    point: (inputs,). pushes: multipliers, > 0 of ``z >= at`` and < 0 of ``z <= at``.
    """

    domain: int
    point: Tensor
    pushes: Sequence[Push]


def corners(found: Bounded, spec: Spec, row: Tensor, domains: Tensor) -> list[Corner]:
    """Of some domains, as far as the solver can tell.

    spec: what the domains are asked; row: each one's deciding row; domains: which of them.
    """
    if prod(found.last.region.shape) > _MOST_INPUTS:
        return []
    tried = (_corner(found, spec, int(row[d]) % found.rows.shape[1], d) for d in domains.tolist())
    return [each for each in tried if each is not None]


def weighed(found: Bounded, corners: Sequence[Corner]) -> Domains:
    """The domains of corners with the multipliers of these, from which a bound may be proved."""
    domains, graph = found.domains[torch.tensor([each.domain for each in corners])], found.last.graph
    chosen = {p: torch.zeros_like(x) if p[0] == "Multiplier" else x for p, x in domains.chosen.items()}
    for k, each in enumerate(corners):
        for node, element, push in each.pushes:
            users = (u for u in graph.users[node] if isinstance(graph.nodes[u].op, Pointwise))
            place = ("Multiplier", next(users, -1), 0)
            if place in chosen:
                chosen[place][k].flatten(1)[:, element] = push
    return replace(domains, chosen=chosen)


def _corner(found: Bounded, spec: Spec, row: int, domain: int) -> Corner | None:
    from scipy.optimize import linprog  # noqa: PLC0415 - slow to load, and seldom needed

    values = _linear(found, domain)
    cuts, box = found.domains.cuts[torch.tensor([domain])], found.last.region.box()
    if values is None:
        return None
    output = values[found.last.graph.output] @ spec.matrix[domain, row].double()
    limits, ends, places = [], [], []
    for node, element, at, side in zip(*(x[0].tolist() for x in cuts.columns), strict=True):
        if node not in (NOWHERE, 0):
            here = values[node][:, element]
            limits.append((-side * here[1:]).numpy())
            ends.append(side * (float(here[0]) - at))
            places.append((node, element, side))
    low, high = box.lower[domain].flatten().double(), box.upper[domain].flatten().double()
    solved = linprog(
        output[1:].numpy(),
        A_ub=np.stack(limits) if limits else None,
        b_ub=np.array(ends) if limits else None,
        bounds=torch.stack([low, high], 1).numpy(),
    )
    if solved.status != 0:
        return None
    weights = solved.ineqlin.marginals.tolist()
    pushes = [
        (node, element, -side * w) for (node, element, side), w in zip(places, weights, strict=True) if w
    ]
    return Corner(domain, torch.from_numpy(solved.x), pushes)


def _linear(found: Bounded, domain: int) -> list[Tensor] | None:
    """Each node through the lines: its constant, then what each input adds; (1 + inputs, elements).

    None where a node has no lines, or numbers too large for them.
    """
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
    if not all(bool(value.isfinite().all()) for value in flat):
        return None
    return [torch.cat([value[:1], value[1:] - value[:1]]) for value in flat]
