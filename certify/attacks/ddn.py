"""Decoupled direction and norm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from certify.attacks.base import Look, State
from certify.attacks.losses import LOSSES
from certify.attacks.minimal import Minimal, Nearby, Nearest, shorten
from certify.attacks.norms import directions, per_sample, wide
from certify.attacks.settings import check_between, check_counts, check_loss, cosine


@dataclass(frozen=True, eq=False, kw_only=True)
class Descent(State):
    """radius: of the sphere that the points lie on, before they are moved into the valid range; (batch,)."""

    radius: Tensor


@dataclass(frozen=True)
class DDN(Minimal[Descent]):
    """Decoupled direction and norm (Rony et al. 2019, algorithm 1), for the norm 2.

    Each step follows the loss's gradient by a length that falls along a cosine, and goes back to a sphere
    whose radius shrinks by the factor ``1 - gamma`` where the point was a failure, and grows by ``1 + gamma``
    where it was none.

    steps: gradients; 100, 300 and 1000 in the paper. alpha: the length of the first step, 1 there; alpha_end:
    of the last one relative to it, 0.01. gamma: 0.05. radius: the first one, 1, in input units. loss: a name
    in ``LOSSES``. searches: looks on the way from the start to the failure found, at the end; none in the
    paper.
    Raises ``UsageError`` for a value outside its domain.
    """

    steps: int = 100
    alpha: float = 1.0
    alpha_end: float = 0.01
    gamma: float = 0.05
    radius: float = 1.0
    loss: str = "cross-entropy"
    searches: int = 10

    norms: ClassVar[frozenset[float]] = frozenset({2})

    def __post_init__(self) -> None:
        check_counts("DDN", 1, steps=self.steps)
        check_counts("DDN", 0, searches=self.searches)
        check_between("DDN", 0, math.inf, alpha=self.alpha, radius=self.radius)
        check_between("DDN", 0, 1, alpha_end=self.alpha_end, gamma=self.gamma)
        check_loss("DDN", self.loss)

    def init(self, problem: Nearby, look: Look) -> Descent:
        radius = torch.full_like(look.deciding, self.radius, dtype=torch.float64)
        return self.step(problem, Descent(problem.start, radius=radius), look)

    def step(self, problem: Nearby, state: Descent, look: Look) -> Descent:
        start = wide(problem.start)
        alpha = cosine(self.alpha, self.alpha * self.alpha_end, state.steps, self.steps)
        delta = (
            wide(look.points.detach()) - start + alpha * directions(wide(look.gradient(LOSSES[self.loss])))
        )
        radius = state.radius * torch.where(look.broken, 1 - self.gamma, 1 + self.gamma)
        if state.steps == 0:
            radius = state.radius
        moved = start + per_sample(radius.to(delta.dtype), delta) * directions(delta)
        points = problem.region.project(moved.to(problem.start.dtype))
        return Descent(points, state.steps + 1, radius=radius)

    def done(self, state: Descent) -> bool:
        return state.steps == self.steps

    def finish(self, problem: Nearby, found: Nearest) -> Nearest:
        return shorten(problem, found, self.searches)
