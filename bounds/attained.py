"""Where linear bounds are attained: the points of a region that look worst to the relaxation."""

from __future__ import annotations

import torch
from torch import Tensor

from bounds.bound import bindable, check_shapes
from bounds.graph import Graph
from bounds.propagate import alpha
from bounds.propagate.alpha import Pace
from bounds.propagate.crown import forward_facts
from bounds.propagate.forms import Layout
from bounds.propagate.problem import Problem
from bounds.rounding import Level
from bounds.sets import InputSet
from bounds.spec import Spec


def minimisers(graph: Graph, region: InputSet, spec: Spec, memory: int = 2**28) -> Tensor:
    """Per row of ``spec`` the point of each sample's region at which CROWN's lower bound of it is taken.

    Good places to begin a search for counterexamples. memory: bytes that the rows of one chunk may take.
    Returns (batch, rows, *shape) in float32, which rounding may leave just outside the region. Raises
    ``InvalidInput`` for shapes that do not fit together, ``Unsupported`` for operators without bounds.
    """
    check_shapes(graph, region, spec)
    graph, region = bindable(graph, Level.FLOAT).to(torch.float32), region.to(torch.float32)
    spec = spec.to(torch.float32).on(region.box().lower.device).expanded(len(region))
    problem = Problem(graph, region, Level.FLOAT, memory)
    count, found = spec.matrix.shape[1], []
    with torch.inference_mode():
        facts = forward_facts(problem, tighten=True)
        every = torch.arange(len(region), device=spec.matrix.device)
        for samples in torch.split(every, max(1, alpha.rows_at_once(problem) // count)):
            rows = spec.matrix[samples].reshape(-1, *graph.output_shape)
            layout, offset = Layout(samples, count), spec.offset[samples].flatten()
            found.append(
                alpha.climb(problem, facts, rows, layout, offset, (), (), Pace(0)).last.minimisers(0)[0]
            )
    return torch.cat(found).view(len(region), count, *region.shape).clone()
