"""GeoDA: the nearest point of a hyperplane that decisions near the boundary suggest."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from certify.attacks.blackbox.directions import Probes, probe, probe_radius
from certify.attacks.blackbox.search import (
    DecisionAttack,
    Progress,
    Way,
    across,
    at_boundary,
    bisect,
    broken_starts,
    precision,
)
from certify.attacks.blackbox.view import Decisions
from certify.attacks.norms import distance
from certify.attacks.settings import check_between, check_counts

_CONTRACTION = 0.6  # of the distance per step, which decides how queries are shared among the steps
_PER_STEP = 500  # queries for which there is one more step
_DOUBLINGS = 8


@dataclass(frozen=True, eq=False)
class Plane(Progress):
    """points: (batch, *shape), broken, at the boundary. seen: all decisions around them."""

    points: Tensor
    seen: Probes
    steps: int = 0


@dataclass(frozen=True)
class GeoDA(DecisionAttack[Plane]):
    """Geometric decision-based attack in L2 and Linf (Rahmati, Moosavi-Dezfooli, Frossard & Dai 2020).

    Every step estimates the boundary's normal from decisions around its nearest known point, and goes from
    the start towards the nearest point of the plane with this normal until it is broken (algorithm 1). The
    number of decisions grows from step to step by ``0.6^(-2/3)``, their optimal distribution (theorem 2).
    Where a step comes no nearer, its decisions count in the next one.

    queries: at most so many per sample. subspace: directions are smooth, made of this share of the lowest
    frequencies per side of an image; 1: white noise.
    Raises ``UsageError`` for a value outside its domain.
    """

    norms: ClassVar[frozenset[float]] = frozenset({2, math.inf})

    queries: int = 5000
    subspace: float = 1 / 3

    def __post_init__(self) -> None:
        check_counts("GeoDA", 2, queries=self.queries)
        check_between("GeoDA", 0, 1, subspace=self.subspace)

    def init(self, view: Decisions) -> Plane:
        points, found = broken_starts(view)
        part = view[found]
        if len(part):
            points[found] = at_boundary(part, points[found])
        return Plane(~found, points, Probes.none(points))

    def step(self, view: Decisions, progress: Plane) -> Plane:
        points, start = progress.points, view.start.to(progress.points.dtype)
        away = distance(points - start, view.norm)
        count = self._decisions(progress.steps)
        seen = progress.seen + probe(view, points, probe_radius(view, away), count, self.subspace)
        there, broken = self._reached(view, seen.normal, away)
        nearer = broken & (distance(there - start, view.norm) < away)
        fresh = across(nearer, points).bool()
        none = Probes.none(points)
        return replace(
            progress,
            points=torch.where(fresh, there, points),
            seen=Probes(
                torch.where(fresh, none.broken, seen.broken),
                torch.where(fresh, none.every, seen.every),
                torch.where(nearer, none.hits, seen.hits),
                torch.where(nearer, none.total, seen.total),
            ),
            steps=progress.steps + 1,
        )

    def _decisions(self, step: int) -> int:
        """How many decisions a step asks for; those of ``queries / 500`` steps sum up to the budget."""
        steps = max(1, round(self.queries / _PER_STEP))
        growth: float = _CONTRACTION ** (-2 / 3)
        shares = [growth**each for each in range(steps)]
        return max(1, round(self.queries * growth ** min(step, steps - 1) / sum(shares)))

    def _reached(self, view: Decisions, normal: Tensor, away: Tensor) -> tuple[Tensor, Tensor]:
        """The first broken points on the ways along the normals, and where there are any."""
        way = along(view, normal)
        far, broken = away, torch.zeros_like(view.over)
        for _ in range(_DOUBLINGS):
            wanted = ~broken & ~view.over
            if not wanted.any():
                break
            broken = broken | view.broken(way(far)[:, None], wanted[:, None])[:, 0]
            far = torch.where(broken, far, 2 * far)
        near = torch.zeros_like(far)
        width = torch.where(broken, far * precision(view), torch.inf)
        there = way(bisect(view, way, near, far, width))
        return view.valid(there[:, None])[:, 0].to(normal.dtype), broken


def along(view: Decisions, normal: Tensor) -> Way:
    """The ways from the starts by which a linear function with this gradient rises most, by length.

    For the norm 2 along the gradient, for inf along its signs; where the valid range cuts them, still.
    """
    start = view.start.to(normal.dtype)
    direction = normal if view.norm == 2 else normal.sign()
    return lambda length: start + across(length, start) * direction
