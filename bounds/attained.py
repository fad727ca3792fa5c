"""Where linear bounds are attained: the points of a region that look worst to the relaxation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.bound import bindable, check_shapes
from bounds.graph import Graph
from bounds.propagate import alpha
from bounds.propagate.alpha import Pace
from bounds.propagate.crown import forward_facts, spec_bounds
from bounds.propagate.forms import Layout
from bounds.propagate.problem import Problem
from bounds.propagate.turns import turns
from bounds.rounding import Level
from bounds.sets import InputSet
from bounds.spec import Spec


@dataclass(frozen=True, eq=False)
class Minimisers:
    """Per row of a specification where its lower bound is taken, and the bound.

    points: (batch, rows, *shape) in float32, which rounding may leave just outside the region. lower:
    (batch, rows), CROWN's bounds by float arithmetic: no proof.
    """

    points: Tensor
    lower: Tensor


def minimisers(graph: Graph, region: InputSet, spec: Spec, memory: int = 2**28) -> Minimisers:
    """Where CROWN's bounds are taken, with one gradient step on the slopes, as ``bound`` makes it.

    Good places to begin a search for counterexamples. memory: bytes that the rows of one chunk may take.
    Raises ``InvalidInput`` for shapes that do not fit together, ``Unsupported`` for operators without bounds.
    """
    check_shapes(graph, region, spec)
    graph, region = bindable(graph, Level.FLOAT).to(torch.float32), region.to(torch.float32)
    spec = spec.to(torch.float32).on(region.box().lower.device).expanded(len(region))
    problem = Problem(graph, region, Level.FLOAT, memory)
    count, found = spec.matrix.shape[1], []
    with torch.inference_mode():
        facts = forward_facts(problem, tighten=True)
        lower = spec_bounds(problem, facts, spec, backward=False).lower
        every = torch.arange(len(region), device=spec.matrix.device)
        for samples in torch.split(every, max(1, alpha.rows_at_once(problem) // count)):
            rows = spec.matrix[samples].reshape(-1, *graph.output_shape)
            layout, offset = Layout(samples, count), spec.offset[samples].flatten()
            free = turns(graph, facts, layout)
            start = [turn.inside(turn.start) for turn in free]
            climb = alpha.climb(problem, facts, rows, layout, offset, free, start, Pace(1))
            found.append(Minimisers(climb.last.minimisers(0)[0], climb.value))
    points = torch.cat([each.points for each in found]).view(len(region), count, *region.shape)
    climbed = torch.cat([each.lower for each in found]).view(lower.shape)
    return Minimisers(points.clone(), torch.maximum(lower, climbed).clone())
