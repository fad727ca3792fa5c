"""The boundary attack: a random walk along the decision boundary, towards the input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from certify.attacks.blackbox.directions import Noise
from certify.attacks.blackbox.search import (
    DecisionAttack,
    Progress,
    across,
    at_boundary,
    broken_starts,
)
from certify.attacks.blackbox.view import Decisions
from certify.attacks.settings import check_between, check_counts

_STEP = 0.01  # both steps at first, relative to the distance
_LEAST = 1e-7  # a smaller step to the source ends the search
_SPHERE_EVERY = 5  # steps between two looks at a point on the sphere
_RISE = 1.1  # by which a step grows after a success


@dataclass(frozen=True, eq=False)
class Stroll(Progress):
    """points: (batch, *shape), broken. sphere, source: (batch,), the lengths of the two steps."""

    points: Tensor
    sphere: Tensor
    source: Tensor
    steps: int = 0


@dataclass(frozen=True)
class Boundary(DecisionAttack[Stroll]):
    """The boundary attack in L2 (Brendel, Rauber & Bethge 2018, algorithm 1).

    Every step goes to a random point at the same distance from the input, then a little nearer, and stays
    there if that is broken. The lengths of both moves follow their success: a half of the moves on the
    sphere and a quarter of the whole steps are to be broken. Each success makes a length 1.1 times longer,
    each failure shorter by as much as balances at that rate; every fifth step asks about the sphere.

    queries: at most so many per sample. subspace: directions are smooth, made of this share of the lowest
    frequencies per side of an image (Brunner et al. 2019 bias the walk so); 1: white noise.
    Raises ``UsageError`` for a value outside its domain.
    """

    norms: ClassVar[frozenset[float]] = frozenset({2})

    queries: int = 5000
    subspace: float = 1.0

    def __post_init__(self) -> None:
        check_counts("Boundary", 2, queries=self.queries)
        check_between("Boundary", 0, 1, subspace=self.subspace)

    def init(self, view: Decisions) -> Stroll:
        points, found = broken_starts(view)
        part = view[found]
        if len(part):
            points[found] = at_boundary(part, points[found])
        step = points.new_full((len(view),), _STEP)
        return Stroll(~found, points, step, step)

    def step(self, view: Decisions, progress: Stroll) -> Stroll:
        points, start = progress.points, view.start.to(progress.points.dtype)
        back = start - points
        away = across(back.flatten(1).norm(dim=1), points)
        noise = Noise(view, self.subspace).unit(1)[:, 0]
        turned = points + noise * away * across(progress.sphere, points) - start
        length = across(turned.flatten(1).norm(dim=1), points)
        turned = view.valid((start + turned * (away / length.clamp(min=1e-30)))[:, None])[:, 0].to(
            points.dtype
        )
        there = turned + (start - turned) * across(progress.source, points)
        there = view.valid(there[:, None])[:, 0].to(points.dtype)
        broken = view.broken(there[:, None])[:, 0]
        sphere = progress.sphere
        if progress.steps % _SPHERE_EVERY == 0:
            sphere = _followed(sphere, view.broken(turned[:, None])[:, 0], rate=0.5)
        source = _followed(progress.source, broken, rate=0.25)
        return replace(
            progress,
            done=progress.done | (source < _LEAST),
            points=torch.where(across(broken, points).bool(), there, points),
            sphere=sphere,
            source=source,
            steps=progress.steps + 1,
        )


def _followed(length: Tensor, success: Tensor, rate: float) -> Tensor:
    """Longer after a success, shorter after a failure; as long as before where successes have this rate."""
    return torch.where(success, length * _RISE, length * _RISE ** (-rate / (1 - rate))).clamp(max=1.0)
