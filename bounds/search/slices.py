"""When a search asks mixed-integer linear programs for counterexamples, where attacks are blind.

Where few neurons of a domain are undecided, a solver looks at all their pieces at once and not, like
gradients, at those of one point. Its word is no verdict: a point is run before it is believed, and where it
finds none the search goes on as if nobody had been asked.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from math import inf, prod

import torch
from torch import Tensor

from bounds.errors import Unsupported
from bounds.kinds import Pointwise
from bounds.search.bounding import Bounded
from bounds.spec import Spec

_SHARE = 0.05  # of the search's time
_FIRST = 0.5  # seconds of the first slice; each further one is twice as long
_SPARE = 2.0  # seconds before the end from which on it is too late to begin
_MOST_UNDECIDED, _MOST_VALUES = 128, 2048  # neurons, and numbers in all, with which a slice gets anywhere


@dataclass(eq=False)
class Slices:
    """The time that programs take of a search: as long as they find nothing, ever longer and more seldom.

    began: of the search, on the clock ``time.monotonic``; worked: the same on ``time.process_time``, for on a
    busy machine the first one runs ahead. seconds: of the next slice. spent: on those before.
    """

    began: float = field(default_factory=time.monotonic)
    worked: float = field(default_factory=time.process_time)
    seconds: float = _FIRST
    spent: float = 0.0

    def point(self, found: Bounded, spec: Spec, row: Tensor, end: float) -> tuple[int, Tensor] | None:
        """A domain and a point, (*input_shape), that may be a counterexample, if a slice is due.

        spec: what the domains are asked; row: each one's deciding row; end: of all time.
        """
        now = time.monotonic()
        so_far = min(now - self.began, time.process_time() - self.worked)
        if self.spent + self.seconds > _SHARE * so_far or now + self.seconds + _SPARE > end:
            return None
        domains = _small(found)
        if not domains:
            return None
        began = now
        try:
            from bounds.search.integers import first_point  # noqa: PLC0415 - loads cvxpy, which takes a second

            began = time.monotonic()
            return first_point(found, spec, row, domains, min(began + self.seconds, end))
        except (Unsupported, ImportError):  # curved functions, or no memory left to load solvers into
            self.seconds = inf
            return None
        finally:
            self.spent += time.monotonic() - began
            self.seconds *= 2


def _small(found: Bounded) -> list[int]:
    """Open domains that are small enough, the worst first."""
    graph, lower = found.last.graph, found.domains.lower
    if lower.device.type != "cpu" or sum(prod(node.shape) for node in graph.nodes) > _MOST_VALUES:
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
