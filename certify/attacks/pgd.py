"""Projected gradient descent, for any region."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

import bounds
from certify.attacks.base import Attack, Look, Problem, State
from certify.attacks.losses import LOSSES, aimed_at
from certify.attacks.norms import half_way
from certify.attacks.settings import SCHEDULES, check_between, check_counts, check_loss
from certify.errors import UsageError


@dataclass(frozen=True, eq=False)
class Walk(State):
    """target: the clause that each sample's loss aims at; None: all of them, in the way of the loss."""

    target: Tensor | None = None


@dataclass(frozen=True)
class PGD(Attack[Walk]):
    """Projected gradient descent from random starts (Madry et al. 2018), one class for every norm.

    A step goes in the direction of steepest ascent over the region, half the way from its best to its worst
    point for a linear model: the gradient's sign for the norm inf, the gradient for 2, its largest
    coordinates for 1. The first step has length ``step_size`` relative to that half way, the others fall by
    the ``schedule``, so an unclipped ball of radius eps is crossed in steps of at most ``step_size * eps``.
    In a set that is not convex (L0, patches) a step goes that share of the way to the best point for a
    linear model.

    steps: per attempt. restarts: random starts per loss. loss: a name in ``LOSSES``. targets: after the
    untargeted attempts, as many again for each of this number of classes, nearest first, with a loss that
    pushes towards that class alone (Gowal et al. 2019, MultiTargeted); stronger, and slower by 1 + targets.
    schedule: a name in ``SCHEDULES``.
    Samples leave as soon as they are broken.
    Raises ``UsageError`` for a value outside its domain.
    """

    steps: int = 40
    restarts: int = 1
    step_size: float = 1.0
    loss: str = "cross-entropy"
    targets: int = 0
    schedule: str = "linear"

    def __post_init__(self) -> None:
        check_counts("PGD", 1, steps=self.steps, restarts=self.restarts)
        check_counts("PGD", 0, targets=self.targets)
        check_between("PGD", 0, math.inf, step_size=self.step_size)
        check_loss("PGD", self.loss)
        if self.schedule not in SCHEDULES:
            names = ", ".join(sorted(SCHEDULES))
            raise UsageError(f"unknown schedule {self.schedule!r} of PGD; choose one of {names}")

    @property
    def attempts(self) -> int:
        return self.restarts * (1 + self.targets)

    def init(self, problem: Problem, attempt: int) -> Walk:
        points = problem.random_points(f"start {attempt}")
        rank = attempt // self.restarts
        if rank == 0:
            return Walk(points)
        nearest = problem.look(problem.start).values.detach().argsort(dim=1)
        return Walk(points, target=nearest[:, min(rank, nearest.shape[1]) - 1])

    def step(self, problem: Problem, state: Walk, look: Look) -> Walk:
        loss = LOSSES[self.loss] if state.target is None else aimed_at(state.target)
        length = self.step_size * SCHEDULES[self.schedule](state.steps, self.steps)
        points = ascend(problem.region, state.points, look.gradient(loss), length)
        return replace(state, points=points, steps=state.steps + 1)

    def done(self, state: Walk) -> bool:
        return state.steps == self.steps


def ascend(region: bounds.InputSet, points: Tensor, gradient: Tensor, length: float) -> Tensor:
    """A step of steepest ascent in a region, ``length`` times half the way from its worst to its best point.

    Best and worst are meant for the linear function with that gradient; (batch, *shape), projected.
    """
    if region.is_convex:
        return region.project(points + length * half_way(region, gradient))
    # No middle to start from: go towards the best point itself.
    return region.project(points + length * (region.argmax(gradient) - points))
