"""Iterated steps from the input itself: the basic iterative method, and the same with momentum."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from certify.attacks.base import Attack, Look, Problem, State
from certify.attacks.losses import cross_entropy
from certify.attacks.pgd import ascend
from certify.attacks.settings import check_counts
from certify.errors import UsageError


@dataclass(frozen=True, eq=False)
class Drift(State):
    """velocity: the gradients so far, each of mean size one, older ones decayed; as the points."""

    velocity: Tensor | None = None


@dataclass(frozen=True)
class MIFGSM(Attack[Drift]):
    """The momentum iterative fast gradient sign method, for any region (Dong et al. 2018, algorithm 1).

    steps: of 1/steps of the radius each, beginning at the input. decay: of the gradients gathered so far;
    with 0 it is the basic iterative method (Kurakin, Goodfellow & Bengio 2017).
    Raises ``UsageError`` for a value outside its domain.
    """

    steps: int = 10
    decay: float = 1.0

    def __post_init__(self) -> None:
        owner = type(self).__name__
        check_counts(owner, 1, steps=self.steps)
        if not (math.isfinite(self.decay) and self.decay >= 0):
            raise UsageError(f"decay of {owner} is {self.decay}; give a number >= 0")

    def init(self, problem: Problem, attempt: int) -> Drift:
        return Drift(problem.start, velocity=torch.zeros_like(problem.start))

    def step(self, problem: Problem, state: Drift, look: Look) -> Drift:
        gradient = look.gradient(cross_entropy)
        size = gradient.abs().flatten(1).mean(1).view(-1, *[1] * (gradient.dim() - 1))
        unit = gradient / size.where(size > 0, 1.0)
        velocity = unit if state.velocity is None else self.decay * state.velocity + unit
        points = ascend(problem.region, state.points, velocity, 1 / self.steps)
        return replace(state, points=points, velocity=velocity, steps=state.steps + 1)

    def done(self, state: Drift) -> bool:
        return state.steps == self.steps


@dataclass(frozen=True)
class BIM(MIFGSM):
    """The basic iterative method (Kurakin, Goodfellow & Bengio 2017): see ``MIFGSM``."""

    decay: float = 0.0
