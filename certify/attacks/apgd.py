"""Auto-PGD: projected gradient ascent whose step sizes follow the progress made."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

import bounds
from certify.attacks.base import Attack, Look, Problem
from certify.attacks.climb import Climb
from certify.attacks.losses import AIMED, LOSSES
from certify.attacks.momentum import Momentum
from certify.attacks.settings import check_counts
from certify.attacks.sparse import Sparse
from certify.errors import UsageError

_ABREAST = 3  # targets of a sample that are tried side by side; the nearest break nearly all that break


@dataclass(frozen=True)
class APGD(Attack[Climb]):
    """Auto-PGD (Croce & Hein 2020, algorithm 1), with the authors' steps for the norm 1 (Croce & Hein 2021).

    steps: per attempt. restarts: random starts per loss. loss: a name in ``LOSSES``. targets: 0 for the loss
    of all classes; else the loss that pushes towards one class, for each of this number of classes, in the
    order of their logits at the clean input (APGD-T is ``APGD(loss="dlr", targets=9)``).
    Samples leave as soon as they are broken.
    Raises ``UsageError`` for a value outside its domain.
    """

    steps: int = 100
    restarts: int = 1
    loss: str = "cross-entropy"
    targets: int = 0

    def __post_init__(self) -> None:
        check_counts("APGD", 1, steps=self.steps, restarts=self.restarts)
        check_counts("APGD", 0, targets=self.targets)
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
        one = problem[torch.arange(0, len(problem.start), copies)]
        starts = [one.random_points(f"start {attempt} {copy}") for copy in range(copies)]
        points, target = torch.stack(starts, dim=1).flatten(0, 1), None
        if self.targets:
            target = (
                one.look(one.start)
                .values.detach()
                .argsort(dim=1, stable=True)[:, first : first + copies]
                .flatten()
            )
        sparse = isinstance(problem.region, bounds.Ball) and problem.region.norm == 1
        return (Sparse if sparse else Momentum).begin(points, target)

    def step(self, problem: Problem, state: Climb, look: Look) -> Climb:
        loss = LOSSES[self.loss] if state.target is None else AIMED[self.loss](state.target)
        gradient = look.gradient(loss)
        value = loss(look.values.detach()).masked_fill(~look.finite, -torch.inf)
        return state.seen(value, gradient).moved(problem.region, gradient, self.steps)

    def done(self, state: Climb) -> bool:
        return state.steps == self.steps
