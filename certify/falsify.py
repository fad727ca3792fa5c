"""Gradient attacks in the form in which ``bounds.verify`` asks for candidates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import bounds
from certify.attacks import PGD
from certify.attacks.base import Problem
from certify.attacks.pgd import Walk
from certify.run import Run

_COPIES = 8  # attempts side by side on a property of one box; fewer each where there are more boxes


@dataclass(frozen=True)
class FromStarts(PGD):
    """Steps from the points that are given, not from random ones."""

    def init(self, problem: Problem, attempt: int) -> Walk:
        return Walk(problem.region.project(problem.start))


def falsifier(
    network: bounds.Graph, run: Run
) -> Callable[[bounds.InputSet, bounds.Spec, Tensor | None], Tensor]:
    """Gradient steps from several random points of each set, or from the starts that are given."""

    def falsify(region: bounds.InputSet, spec: bounds.Spec, starts: Tensor | None) -> Tensor:
        sets = len(region)
        copies = max(1, _COPIES // sets) if starts is None else 1
        every = torch.arange(sets).repeat(copies)
        inner, asked = region.to(torch.float32)[every], spec[every].to(torch.float32)
        attack = PGD(steps=40) if starts is None else FromStarts(steps=40)
        start = inner.box().centre if starts is None else starts.float()
        key, ids = repr(attack), tuple(range(len(every)))
        found = attack.find(Problem(lambda x: network(x).flatten(1), inner, asked, start, ids, key, run))
        best = found.deciding.view(copies, sets).argmin(0)
        points: Tensor = found.points.view(copies, sets, *region.shape)[best, torch.arange(sets)]
        return points

    return falsify
