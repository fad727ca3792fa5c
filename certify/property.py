"""Answers to one property of one network, as in the verification competitions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import prod

import torch
from torch import Tensor

import bounds
from bounds.rounding import Level
from certify.errors import UsageError
from certify.falsify import falsifier
from certify.run import Run


class Status(Enum):
    """The words of VNN-COMP."""

    UNSAT = "unsat"  # no counterexample exists: the property holds
    SAT = "sat"  # a counterexample was found and replayed
    UNKNOWN = "unknown"
    TIMEOUT = "timeout"


@dataclass(frozen=True, eq=False)
class Answer:
    """The status and, where it is ``SAT``, the counterexample; where nothing is decided, what is missing.

    x: (inputs,) in the network's dtype, inside the region, or the nearest number where an input is pinned to
    one that the dtype does not have; y: (outputs,), what the network answers there. gap: the worst of all
    parts that are open after so many domains.
    """

    status: Status
    x: Tensor | None = None
    y: Tensor | None = None
    gap: bounds.Gap | None = None
    domains: int = 0


def answer(
    graph: bounds.Graph,
    region: bounds.Box,
    spec: bounds.Spec,
    run: Run,
    seconds: float = 60.0,
    level: Level = Level.REAL,
) -> Answer:
    """Decide a property: no counterexample exists, or here is one; or the time was too short.

    region, spec: as ``bounds.read_vnnlib`` gives them, flat and in float64; one part of the property per box.
    level: what "unsat" claims.
    Raises ``UsageError`` if network and property have different numbers of variables.
    """
    region = shaped(graph, region, spec)
    run.progress("decide", 0, 1)
    found = bounds.verify(
        graph,
        region,
        spec,
        timeout=seconds,
        level=level,
        memory=run.memory,
        falsify=falsifier(graph.to(torch.float32), run),
        joint=True,
    )
    for each in found:
        if each.witness is not None:
            with torch.no_grad():
                y = graph(each.witness[None])
            return Answer(Status.SAT, each.witness.flatten(), y.flatten())
    statuses = {each.status for each in found}
    if statuses == {bounds.Status.VERIFIED}:
        return Answer(Status.UNSAT)
    gaps = [each.gap for each in found if each.gap is not None]
    worst = bounds.Gap(*(min(getattr(gap, name) for gap in gaps) for name in ("root", "bound", "attack")))
    status = Status.TIMEOUT if bounds.Status.TIMEOUT in statuses else Status.UNKNOWN
    return Answer(status, gap=worst, domains=sum(each.domains for each in found))


def shaped(graph: bounds.Graph, region: bounds.Box, spec: bounds.Spec) -> bounds.Box:
    """The boxes in the shape of the network's input; raises ``UsageError`` as ``answer`` does."""
    inputs, outputs = prod(graph.input_shape), prod(graph.output_shape)
    if (prod(region.shape), spec.num_outputs) != (inputs, outputs):
        raise UsageError(
            f"the property speaks of {prod(region.shape)} inputs and {spec.num_outputs} outputs, the network "
            f"has {inputs} and {outputs}; check that the two files belong together"
        )
    shape = (len(region), *graph.input_shape)
    return bounds.Box(region.lower.view(shape), region.upper.view(shape))
