"""Auto-PGD: projected gradient ascent whose step sizes follow the progress made."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

import bounds
from certify.attacks.base import Attack, Look, Problem
from certify.attacks.climb import Climb
from certify.attacks.losses import AIMED, LOSSES, Loss
from certify.attacks.momentum import Momentum
from certify.attacks.norms import per_sample
from certify.attacks.settings import check_counts
from certify.attacks.sparse import Sparse
from certify.errors import UsageError

_ABREAST = 3  # targets of a sample that are tried side by side; the nearest break nearly all that break


@dataclass(frozen=True)
class APGD(Attack[Climb]):
    """Auto-PGD (Croce & Hein 2020, algorithm 1), with the authors' steps for the norm 1 (Croce & Hein 2021).

    The published climb begins at a random point, and all steps are one climb: ``APGD(100, restarts=1,
    probes=0)``. Here as many passes make two climbs, and each begins at the best point for the mean gradient
    of the loss at some random points: of the images that any attack breaks, on ReLU networks, that misses a
    third as many. In a ball of the norm 1 that point is too sparse: climbs begin at random ones there,
    and a single long one is the better (``restarts=1``).

    steps: per climb, probes included. restarts: climbs per loss. loss: a name in ``LOSSES``. targets: 0 for
    the loss of all classes; else the loss that pushes towards one class, for each of this number of classes,
    in the order of their logits at the clean input (APGD-T is ``APGD(loss="dlr", targets=9)``). probes: the
    random points of each mean, at most half the steps.
    Samples leave as soon as they are broken.
    Raises ``UsageError`` for a value outside its domain.
    """

    steps: int = 50
    restarts: int = 2
    loss: str = "cross-entropy"
    targets: int = 0
    probes: int = 10

    def __post_init__(self) -> None:
        check_counts("APGD", 1, steps=self.steps, restarts=self.restarts)
        check_counts("APGD", 0, targets=self.targets, probes=self.probes)
        known, what = (AIMED, "targeted loss") if self.targets else (LOSSES, "loss")
        if self.loss not in known:
            raise UsageError(f"unknown {what} {self.loss!r}; choose one of {', '.join(sorted(known))}")

    @property
    def attempts(self) -> int:
        return self.restarts * math.ceil(max(1, self.targets) / _ABREAST)

    def copies(self, problem: Problem, attempt: int) -> int:
        if self.targets == 0:
            return 1
        return max(0, min(_ABREAST, min(self.targets, problem.num_clauses) - self._rank(attempt)))

    def _rank(self, attempt: int) -> int:
        """The place of the first target of an attempt."""
        return attempt // self.restarts * _ABREAST

    def init(self, problem: Problem, attempt: int) -> Climb:
        copies, first = self.copies(problem, attempt), self._rank(attempt)
        one, target = problem[torch.arange(0, len(problem.start), copies)], None
        if self.targets:
            target = (
                one.look(one.start)
                .values.detach()
                .argsort(dim=1, stable=True)[:, first : first + copies]
                .flatten()
            )
        stages = [f"start {attempt} {copy}" for copy in range(copies)]
        points = torch.stack([one.random_points(stage) for stage in stages], dim=1).flatten(0, 1)
        if isinstance(problem.region, bounds.Ball) and problem.region.norm == 1:
            return Sparse.begin(points, target, self.steps)
        probes = min(self.probes, self.steps // 2)
        drawn = (one.random_points(f"probe {attempt} {probe}") for probe in range(probes))
        looks = (problem.look(each.repeat_interleave(copies, 0)) for each in drawn)
        slope = sum((look.gradient(self._loss(target)) for look in looks), torch.zeros_like(points))
        return Momentum.begin(_best(problem.region, slope, points), target, self.steps - probes)

    def step(self, problem: Problem, state: Climb, look: Look) -> Climb:
        loss = self._loss(state.target)
        gradient = look.gradient(loss)
        value = loss(look.values.detach()).masked_fill(~look.finite, -torch.inf)
        return state.seen(value, gradient).moved(problem.region, gradient)

    def done(self, state: Climb) -> bool:
        return state.steps == state.whole

    def _loss(self, target: Tensor | None) -> Loss:
        return LOSSES[self.loss] if target is None else AIMED[self.loss](target)


def _best(region: bounds.InputSet, gradient: Tensor, points: Tensor) -> Tensor:
    """Where a linear function with this gradient is largest; the points given where the gradient is 0."""
    steep = per_sample((gradient != 0).flatten(1).any(1), gradient)
    return torch.where(steep, region.argmax(gradient), points)
