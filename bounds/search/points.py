"""Points that mixed-integer linear programs believe to be counterexamples, where attacks are blind.

Where few neurons of a domain are undecided, a solver looks at all their pieces at once and not, like
gradients, at those of one point. Its word is no verdict: a point is run before it is believed, and where it
finds none the search goes on as if nobody had been asked.
"""

from __future__ import annotations

import time
from math import prod

import torch
from torch import Tensor

from bounds.errors import Unsupported
from bounds.graph import Graph
from bounds.kinds import Pointwise
from bounds.search.bounding import Bounded
from bounds.spec import Spec

_MOST_UNDECIDED, _MOST_VALUES = 128, 2048  # neurons, and numbers in all, with which a slice gets anywhere


def worth_asking(graph: Graph) -> bool:
    """Whether a network is small enough, and on a processor."""
    devices = {p.device.type for node in graph.nodes for p in node.params}
    return devices <= {"cpu"} and sum(prod(node.shape) for node in graph.nodes) <= _MOST_VALUES


def point(found: Bounded, spec: Spec, row: Tensor, seconds: float, end: float) -> tuple[int, Tensor] | None:
    """A domain and a point, (*input_shape), that may be a counterexample.

    spec: what the domains are asked; row: each one's deciding row. seconds: that solvers may take, and when
    all time is over, on the clock ``time.monotonic``.
    Raises ``Unsupported`` for curved functions, and where there is no memory left to load solvers into.
    """
    domains = _small(found)
    if not domains:
        return None
    try:
        from bounds.search.integers import first_point  # noqa: PLC0415 - loads cvxpy: a second, not counted
    except ImportError as error:
        raise Unsupported(f"solvers cannot be loaded: {error}") from error
    return first_point(found, spec, row, domains, min(time.monotonic() + seconds, end))


def _small(found: Bounded) -> list[int]:
    """Open domains that are small enough, the worst first."""
    graph, lower = found.last.graph, found.domains.lower
    if not worth_asking(graph):
        return []
    undecided = torch.zeros_like(lower, dtype=torch.long)
    for node in graph.nodes:
        if isinstance(node.op, Pointwise):
            x = found.facts[node.inputs[0]].interval
            undecided += node.op.bind(node.params).undecided(x).flatten(1).sum(1)
    wanted = (lower <= 0) & (undecided <= _MOST_UNDECIDED)
    order = lower.argsort()
    small: list[int] = order[wanted[order]].tolist()
    return small
