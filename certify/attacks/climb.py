"""The state that both forms of Auto-PGD share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor

import bounds
from certify.attacks.base import State


@dataclass(frozen=True, eq=False, kw_only=True)
class Climb(State):
    """Where a climb stands; every tensor has one entry per sample.

    best, best_loss, best_gradient: the point with the largest loss seen. target: the clause that the loss
    aims at, None for all of them. whole: the number of steps of the climb.
    """

    best: Tensor
    best_loss: Tensor
    best_gradient: Tensor
    target: Tensor | None
    whole: int

    def seen(self, loss: Tensor, gradient: Tensor) -> Self:
        """With what a look at ``points`` has shown; loss: (batch,), gradient: as the points."""
        better = (loss > self.best_loss).nonzero()[:, 0]
        return replace(
            self,
            best=self.best.index_copy(0, better, self.points[better]),
            best_loss=self.best_loss.index_copy(0, better, loss[better].to(self.best_loss.dtype)),
            best_gradient=self.best_gradient.index_copy(0, better, gradient[better]),
        )

    @abstractmethod
    def moved(self, region: bounds.InputSet, gradient: Tensor) -> Climb:
        """The state at the next points, from the gradient at these."""
