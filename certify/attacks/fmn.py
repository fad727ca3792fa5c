"""Fast minimum-norm attacks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from certify.attacks.base import Look, State
from certify.attacks.losses import LOSSES
from certify.attacks.minimal import Minimal, Nearby, Nearest, shorten
from certify.attacks.norms import DUAL, directions, project, size, wide
from certify.attacks.settings import check_between, check_counts, check_loss, cosine
from certify.errors import UsageError


@dataclass(frozen=True, eq=False, kw_only=True)
class Descent(State):
    """radius: of the ball that the next point lies in, (batch,). nearest: the least distance of a failure."""

    radius: Tensor
    nearest: Tensor


# Lengths of the first step per norm, in input units: the paper's are 1, and 10 for the norm inf.
_ALPHA = {0: 5.0, 1: 5.0, 2: 2.0, math.inf: 20.0}

_BEYOND = 1 + 1e-4


@dataclass(frozen=True)
class FMN(Minimal[Descent]):
    """Fast minimum-norm attack (Pintor et al. 2021, algorithm 1), for the norms 0, 1, 2 and inf.

    Each step follows the loss's gradient, of Euclidean length 1, and is projected onto a ball around the
    start: the ball's radius goes to where a linear model fails until a failure is found, and from then on
    shrinks by the factor ``1 - gamma`` at each failure and grows by ``1 + gamma`` elsewhere (for the norm 0
    by one element at least). Lengths and gamma fall along cosines.

    The defaults are not the published ones but find smaller distances in 100 steps on the networks they were
    tried on. As published: ``FMN(alpha=1, gamma=0.05, growth=0, loss="margin", searches=0)``, with alpha=10
    for the norm inf, and 1000 steps.

    steps: gradients. alpha: the length of the first step in input units; None: by norm. alpha_end: of the
    last one relative to it. gamma, gamma_end: the first and the last. growth: until a failure is found, the
    radius grows by this factor at least. loss: a name in ``LOSSES``. searches: looks on the way from the
    start to the failure found, at the end.
    Raises ``UsageError`` for a value outside its domain.
    """

    steps: int = 100
    alpha: float | None = None
    alpha_end: float = 0.01
    gamma: float = 0.2
    gamma_end: float = 1e-4
    growth: float = 1.2
    loss: str = "cross-entropy"
    searches: int = 10

    norms: ClassVar[frozenset[float]] = frozenset({0, 1, 2, math.inf})

    def __post_init__(self) -> None:
        check_counts("FMN", 1, steps=self.steps)
        check_counts("FMN", 0, searches=self.searches)
        check_between("FMN", 0, math.inf, alpha=1.0 if self.alpha is None else self.alpha)
        check_between("FMN", 0, 1, alpha_end=self.alpha_end, gamma=self.gamma, gamma_end=self.gamma_end)
        if not 0 <= self.growth < math.inf:
            raise UsageError(f"growth of FMN is {self.growth}; give a factor >= 1, or 0 for none")
        check_loss("FMN", self.loss)

    def init(self, problem: Nearby, look: Look) -> Descent:
        zero = torch.zeros_like(look.deciding, dtype=torch.float64)
        return self.step(problem, Descent(problem.start, radius=zero, nearest=zero + math.inf), look)

    def step(self, problem: Nearby, state: Descent, look: Look) -> Descent:
        points, start = wide(look.points.detach()), wide(problem.start)
        gradient = wide(look.gradient(LOSSES[self.loss]))
        away = problem.reached(look)
        nearest = torch.minimum(state.nearest, away)
        gamma = cosine(self.gamma, self.gamma_end, state.steps, self.steps)
        change = gamma * state.radius
        if problem.norm == 0:
            change = change.clamp(min=1)
        larger = torch.where(
            nearest.isfinite(), state.radius + change, self._reach(problem, state, look, gradient)
        )
        radius = torch.where(look.broken, torch.minimum(state.radius - change, nearest), larger)
        first = _ALPHA[problem.norm] if self.alpha is None else self.alpha
        alpha = cosine(first, first * self.alpha_end, state.steps, self.steps)
        delta = project(points - start + alpha * directions(gradient), radius, problem.norm)
        moved = problem.region.project((start + delta).to(problem.start.dtype))
        return Descent(moved, state.steps + 1, radius=radius, nearest=nearest)

    def done(self, state: Descent) -> bool:
        return state.steps == self.steps

    def finish(self, problem: Nearby, found: Nearest) -> Nearest:
        return shorten(problem, found, self.searches)

    def _reach(self, problem: Nearby, state: Descent, look: Look, gradient: Tensor) -> Tensor:
        """The radius as long as there is no failure: to where a linear model has one, or more."""
        away = problem.distance(look.points)
        if problem.norm == 0:
            return torch.maximum(away + 1, state.radius * self.growth)
        gap = -LOSSES[self.loss](look.values.detach()).double().clamp(max=0)
        # A little beyond: on the plane itself rounding would decide.
        reach = away + _BEYOND * gap / size(gradient.double(), DUAL[problem.norm])
        return torch.maximum(torch.where(reach.isfinite(), reach, away), state.radius * self.growth)
