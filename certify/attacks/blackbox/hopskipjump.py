"""HopSkipJump: the gradient of the decision boundary, estimated from decisions at random directions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from certify.attacks.blackbox.directions import probe, probe_radius
from certify.attacks.blackbox.search import (
    DecisionAttack,
    Progress,
    across,
    at_boundary,
    broken_starts,
)
from certify.attacks.blackbox.view import Decisions
from certify.attacks.norms import distance
from certify.attacks.settings import check_between, check_counts

_HALVINGS = 20


@dataclass(frozen=True, eq=False)
class Hop(Progress):
    """points: (batch, *shape), broken, in a wide dtype. steps: made so far."""

    points: Tensor
    steps: int = 0


@dataclass(frozen=True)
class HopSkipJump(DecisionAttack[Hop]):
    """HopSkipJump in L2 and Linf (Chen, Jordan & Wainwright 2020, algorithm 2).

    Every step goes to the boundary by bisection, estimates its normal there from ``directions * sqrt(step)``
    random directions, and leaves the boundary along it by the largest of ever halved steps that stays
    broken. The constants are the paper's: see ``precision`` and ``probe_radius``; the first length that is
    tried is ``dist / sqrt(step)``.

    queries: at most so many per sample. directions: of the first step. subspace: directions are smooth, made
    of this share of the lowest frequencies per side of an image (Li et al. 2020, QEBA); 1: white noise.
    Raises ``UsageError`` for a value outside its domain.
    """

    norms: ClassVar[frozenset[float]] = frozenset({2, math.inf})

    queries: int = 5000
    directions: int = 100
    subspace: float = 1.0

    def __post_init__(self) -> None:
        check_counts("HopSkipJump", 2, queries=self.queries)
        check_between("HopSkipJump", 0, 1, subspace=self.subspace)
        check_counts("HopSkipJump", 1, directions=self.directions)

    def init(self, view: Decisions) -> Hop:
        points, found = broken_starts(view)
        return Hop(~found, points)

    def step(self, view: Decisions, progress: Hop) -> Hop:
        number = progress.steps + 1
        points = at_boundary(view, progress.points)
        away = distance(points - view.start.to(points.dtype), view.norm)
        count = round(self.directions * math.sqrt(number))
        normal = probe(view, points, probe_radius(view, away), count, self.subspace).normal
        if view.norm == math.inf:
            normal = normal.sign()
        points = self._jump(view, points, normal, away / math.sqrt(number))
        return replace(progress, points=points, steps=number)

    def _jump(self, view: Decisions, points: Tensor, normal: Tensor, length: Tensor) -> Tensor:
        """Along the normal by the largest halved length that stays broken; where none does, stay."""
        result, landed = points, torch.zeros_like(view.over)
        for _ in range(_HALVINGS):
            wanted = ~landed & ~view.over
            if not wanted.any():
                break
            there = points + across(length, normal) * normal
            broken = view.broken(there[:, None], wanted[:, None])[:, 0]
            there = view.valid(there[:, None])[:, 0].to(points.dtype)
            result = torch.where(across(broken, points).bool(), there, result)
            landed, length = landed | broken, length / 2
        return result
