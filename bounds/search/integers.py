"""Points of domains where a mixed-integer linear program believes the specification to fail."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bounds.programs.exact import ExactProgram
from bounds.programs.system import system
from bounds.search.bounding import Bounded
from bounds.spec import Spec


def first_point(
    found: Bounded, spec: Spec, row: Tensor, domains: Sequence[int], end: float
) -> tuple[int, Tensor] | None:
    """The first of some domains where the solver puts its row at 0 or below, and where, (*input_shape).

    A domain without such a point is left for the next one, until the time is over: then the point is the best
    so far. spec: what the domains are asked; row: each one's deciding row; end: on the clock
    ``time.monotonic``.

    Raises ``Unsupported`` for functions without linear pieces.
    """
    graph, region = found.last.graph, found.last.region
    for domain in domains:
        program = ExactProgram(system(graph, found.facts, domain), found.facts, region, domain)
        seconds = end - time.monotonic()
        if seconds <= 0:
            break
        j = int(row[domain]) % found.rows.shape[1]
        most = -float(spec.offset[domain, j])
        _, point = program.below(spec.matrix[domain, j].double().numpy(), most, seconds)
        if point is not None and np.isfinite(point).all():
            return domain, torch.from_numpy(point).view(region.shape)
    return None
