"""The augmented Lagrangian method for minimal adversarial examples."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from certify.attacks.base import Look, State
from certify.attacks.losses import margin
from certify.attacks.minimal import Minimal, Nearby
from certify.attacks.norms import per_sample, wide
from certify.attacks.penalty import Moments, Scale
from certify.attacks.settings import check_between, check_counts, cosine

_CHECK, _PROGRESS, _GROWTH = 10, 0.95, 1.2  # M, tau and gamma of the paper's algorithm
_MULTIPLIERS = (1e-6, 1e12)
_FARTHEST = 1e6  # the largest violation counted, in margins of the start, so that its square stays finite
_LAST = 0.01  # the last step's length relative to the first's


@dataclass(frozen=True, eq=False, kw_only=True)
class Lagrangian(State):
    """multiplier, weight: mu and rho of the penalty. hit: whether a failure was seen since the last check.

    violation: the constraint's value at the last check; the specification fails at <= 0.
    """

    scale: Scale
    moments: Moments
    multiplier: Tensor
    weight: Tensor
    hit: Tensor
    violation: Tensor


@dataclass(frozen=True)
class ALMA(Minimal[Lagrangian]):
    """Augmented Lagrangian attack in the norm 2 (Rony et al. 2021), with their penalty P2.

    It descends on ``|d|^2 + P(margin, rho, mu)``; the multiplier mu follows the penalty's slope by a moving
    average, and the weight rho grows where ten steps came no nearer to a failure. A smooth penalty on both
    sides of the boundary takes the place of a search for a constant.

    Where the paper takes logit differences relative to others, the margin is taken relative to its value at
    the start, which works for two classes, too; distances are relative to where a linear model would fail,
    whose multiplier is then 2. Steps are those of Adam.

    steps: gradients. step_size: of the first step of each element, relative to the linear distance over the
    square root of the number of elements; the last is a hundredth of it. smoothing: of the multiplier's
    average. multiplier, weight: the first mu and rho; the paper's are 1.
    Raises ``UsageError`` for a value outside its domain.
    """

    steps: int = 100
    step_size: float = 4.0
    smoothing: float = 0.9
    multiplier: float = 3.0
    weight: float = 1.0

    norms: ClassVar[frozenset[float]] = frozenset({2})

    def __post_init__(self) -> None:
        check_counts("ALMA", 1, steps=self.steps)
        check_between("ALMA", 0, 1, smoothing=self.smoothing)
        positive = {"step_size": self.step_size, "multiplier": self.multiplier, "weight": self.weight}
        check_between("ALMA", 0, math.inf, **positive)

    def init(self, problem: Nearby, look: Look) -> Lagrangian:
        scale = Scale.of(look, problem.norm)
        one = torch.ones_like(scale.margin)
        return Lagrangian(
            points=problem.start,
            scale=scale,
            moments=Moments.none(problem.start),
            multiplier=one * self.multiplier,
            weight=one * self.weight,
            hit=torch.zeros_like(one, dtype=torch.bool),
            violation=one,
        )

    def step(self, problem: Nearby, state: Lagrangian, look: Look) -> Lagrangian:
        here = wide(state.points)
        delta = here - wide(problem.start)
        violation = (wide(look.deciding) / state.scale.margin).clamp(max=_FARTHEST)
        slope = _slope(violation, state.weight, state.multiplier)
        multiplier = state.multiplier.lerp(slope, 1 - self.smoothing).clamp(*_MULTIPLIERS)
        pull = _slope(violation, state.weight, multiplier) / state.scale.margin
        cost = 2 * delta / per_sample(state.scale.distance**2, delta)
        moments = state.moments.updated(cost - per_sample(pull, delta) * wide(look.gradient(margin)))
        share = cosine(self.step_size, _LAST * self.step_size, state.steps, self.steps)
        length = share * state.scale.distance / math.sqrt(delta[0].numel())
        moved = here - per_sample(length, delta) * moments.direction
        ahead = replace(
            state,
            points=problem.region.project(moved.to(problem.start.dtype)),
            steps=state.steps + 1,
            moments=moments,
            multiplier=multiplier,
            hit=state.hit | look.broken,
        )
        return ahead if ahead.steps % _CHECK else _checked(ahead, violation)

    def done(self, state: Lagrangian) -> bool:
        return state.steps >= self.steps


def _checked(state: Lagrangian, violation: Tensor) -> Lagrangian:
    """A larger weight where no failure was seen since the last check and the constraint came no nearer."""
    slow = ~state.hit & (violation > _PROGRESS * state.violation)
    return replace(
        state,
        weight=torch.where(slow, _GROWTH * state.weight, state.weight),
        hit=torch.zeros_like(state.hit),
        violation=violation,
    )


def _slope(violation: Tensor, weight: Tensor, multiplier: Tensor) -> Tensor:
    """The slope of P2: ``mu y + mu rho y^2 + rho^2 y^3 / 6`` for y >= 0, ``mu y / (1 - rho y)`` below."""
    over, under = weight * violation.clamp(min=0), weight * violation.clamp(max=0)
    above = multiplier * (1 + 2 * over) + over**2 / 2
    return torch.where(violation > 0, above, multiplier / (1 - under) ** 2)
