"""Fast minimum-norm attacks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from certify.attacks.base import Look, State
from certify.attacks.losses import LOSSES
from certify.attacks.minimal import Minimal, Nearby, Nearest, shorten
from certify.attacks.norms import DUAL, directions, per_sample, project, size, wide
from certify.errors import UsageError


@dataclass(frozen=True, eq=False, kw_only=True)
class Descent(State):
    """radius: of the ball that the next point lies in, (batch,). nearest: the least distance of a failure."""

    radius: Tensor
    nearest: Tensor


@dataclass(frozen=True)
class FMN(Minimal[Descent]):
    steps: int = 100
    alpha: float | None = None
    alpha_end: float = 0.01
    gamma: float = 0.05
    gamma_end: float = 1e-4
    loss: str = "margin"
    searches: int = 0

    norms: ClassVar[frozenset[float]] = frozenset({0, 1, 2, math.inf})

    def init(self, problem: Nearby, look: Look) -> Descent:
        never = torch.full_like(look.deciding, math.inf, dtype=torch.float64)
        return self.step(problem, Descent(problem.start, radius=never, nearest=never), look)

    def step(self, problem: Nearby, state: Descent, look: Look) -> Descent:
        points, start = wide(look.points.detach()), wide(problem.start)
        away = problem.distance(look.points)
        gradient = wide(look.gradient(LOSSES[self.loss]))
        nearest = torch.where(look.broken, torch.minimum(away, state.nearest), state.nearest)
        gamma = _cosine(self.gamma, self.gamma_end, state.steps, self.steps)
        radius = self._radius(problem, state.radius, look, gradient, away, nearest, gamma)
        first = self.alpha if self.alpha is not None else 10.0 if problem.norm == math.inf else 1.0
        alpha = _cosine(first, first * self.alpha_end, state.steps, self.steps)
        step = points - start + alpha * directions(gradient)
        moved = start + project(step, radius, problem.norm)
        return Descent(
            problem.region.project(moved.to(problem.start.dtype)),
            state.steps + 1,
            radius=radius,
            nearest=nearest,
        )

    def _radius(
        self,
        problem: Nearby,
        radius: Tensor,
        look: Look,
        gradient: Tensor,
        away: Tensor,
        nearest: Tensor,
        gamma: float,
    ) -> Tensor:
        """The next radius: smaller where the point is a failure, larger where it is none."""
        change = gamma * radius if problem.norm else torch.maximum(gamma * radius, torch.ones_like(radius))
        if problem.norm:
            steep = size(gradient.double(), DUAL[problem.norm])
            first = away + (-LOSSES[self.loss](look.values.detach())).clamp(min=0).double() / steep
            first = torch.where(steep > 0, first, away)
        else:
            first = away + 1
        first = torch.where(radius.isfinite(), torch.maximum(first, radius + change), first)
        larger = torch.where(nearest.isfinite(), radius + change, first)
        smaller = torch.minimum(radius - change, nearest)
        return torch.where(look.broken, smaller, larger)

    def done(self, state: Descent) -> bool:
        return state.steps == self.steps

    def finish(self, problem: Nearby, found: Nearest) -> Nearest:
        return shorten(problem, found, self.searches)


def _cosine(first: float, last: float, step: int, steps: int) -> float:
    """The cosine schedule from first to last."""
    return last + (first - last) * (1 + math.cos(math.pi * step / steps)) / 2
