"""Answers to one property of one network, as in the verification competitions; incomplete, never wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import prod

import torch
from torch import Tensor

import bounds
from bounds.rounding import Level
from certify.attacks import PGD
from certify.decide import refutes
from certify.errors import UsageError
from certify.run import Run

# Cheap first; each is asked only about what the ones before left open.
CASCADE = ("ibp", "crown-ibp", "crown")
LEVEL = Level.REAL
_QUICK, _THOROUGH = PGD(steps=40), PGD(steps=100, restarts=10)


class Status(Enum):
    """The words of VNN-COMP."""

    UNSAT = "unsat"  # no counterexample exists: the property holds
    SAT = "sat"  # a counterexample was found and replayed
    UNKNOWN = "unknown"
    TIMEOUT = "timeout"


@dataclass(frozen=True, eq=False)
class Answer:
    """The status and, where it is ``SAT``, the counterexample.

    x: (inputs,) float32, inside the region, or the nearest float32 where an input is pinned to a number that
    is none; y: (outputs,) float32, what the network answers there.
    """

    status: Status
    x: Tensor | None = None
    y: Tensor | None = None


def answer(graph: bounds.Graph, region: bounds.Box, spec: bounds.Spec, run: Run) -> Answer:
    """Search a counterexample, then a proof, then a counterexample again with more effort.

    region, spec: as ``bounds.read_vnnlib`` gives them, flat and in float64; one property per box.
    Raises ``UsageError`` if network and property have different numbers of variables.
    """
    region = _shaped(graph, region, spec)
    found = _attack(graph, region, spec, _QUICK, run)
    if found.status is Status.SAT:
        return found
    open_boxes = torch.arange(len(region))
    for stage, method in enumerate(CASCADE):
        run.progress(f"proof by {method}", stage, len(CASCADE))
        open_boxes = open_boxes[~_proved(graph, region[open_boxes], spec[open_boxes], method, run)]
        if len(open_boxes) == 0:
            return Answer(Status.UNSAT)
    return _attack(graph, region[open_boxes], spec[open_boxes], _THOROUGH, run)


def _shaped(graph: bounds.Graph, region: bounds.Box, spec: bounds.Spec) -> bounds.Box:
    """The boxes in the shape of the network's input."""
    inputs, outputs = prod(graph.input_shape), prod(graph.output_shape)
    if (prod(region.shape), spec.num_outputs) != (inputs, outputs):
        raise UsageError(
            f"the property speaks of {prod(region.shape)} inputs and {spec.num_outputs} outputs, the network "
            f"has {inputs} and {outputs}; check that the two files belong together"
        )
    shape = (len(region), *graph.input_shape)
    return bounds.Box(region.lower.view(shape), region.upper.view(shape))


def _proved(graph: bounds.Graph, region: bounds.Box, spec: bounds.Spec, method: str, run: Run) -> Tensor:
    """Per box whether the property is proved: a fast look in float32, then the proof in float64."""
    with torch.no_grad():
        rough = bounds.bound(
            graph, region.to(torch.float32), spec.to(torch.float32), method, memory=run.memory
        )
        proved = spec.worst(rough.lower) > 0
        hopeful = proved.nonzero()[:, 0]
        if len(hopeful):
            asked = spec[hopeful]
            sound = bounds.bound(
                graph, region[hopeful], asked, method, torch.float64, LEVEL, memory=run.memory
            )
            proved[hopeful] = asked.worst(sound.lower) > 0
    return proved


def _attack(graph: bounds.Graph, region: bounds.Box, spec: bounds.Spec, attack: PGD, run: Run) -> Answer:
    """A counterexample that holds when replayed alone in float32, or unknown."""
    network = graph.to(torch.float32)
    inner = _float32_points(region)
    for box in range(len(region)):
        one = torch.tensor([box])
        run.progress("search for a counterexample", box, len(region))
        x = attack.falsify(network, inner[one], spec[one].to(torch.float32), run)
        if x is None:
            continue
        with torch.no_grad():
            y = network(x[None])
        if bool(refutes(network, inner[one], spec[one], x[None])):
            return Answer(Status.SAT, x.flatten(), y.flatten())
    return Answer(Status.UNKNOWN)


def _float32_points(region: bounds.Box) -> bounds.Box:
    """The float32 points of each box; where a side holds none, the one nearest to it."""
    lower, upper = region.lower.float(), region.upper.float()
    up = torch.nextafter(lower, torch.full_like(lower, torch.inf))
    down = torch.nextafter(upper, torch.full_like(upper, -torch.inf))
    inner_lower = torch.where(lower.double() < region.lower, up, lower)
    inner_upper = torch.where(upper.double() > region.upper, down, upper)
    empty = inner_lower > inner_upper
    nearest = region.box().centre.float()
    return bounds.Box(
        torch.where(empty, nearest, inner_lower),
        torch.where(empty, nearest, inner_upper),
    )
