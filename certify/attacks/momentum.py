"""The steps of Auto-PGD: momentum, and step sizes that are halved where no progress is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Self

import torch
from torch import Tensor

import bounds
from certify.attacks.climb import Climb
from certify.attacks.norms import per_sample, steepest

# Croce & Hein 2020, sections 3.1 and 3.2.
_MOMENTUM = 0.75  # the share of the new step; the rest repeats the step before
_FIRST = 2.0  # step size in units of eps
_RISING = 0.75  # the share of steps that must raise the loss


@dataclass(frozen=True, eq=False, kw_only=True)
class Momentum(Climb):
    """Croce & Hein 2020, algorithm 1.

    A step goes in the direction of steepest ascent: for a ball of radius eps of the norm inf the gradient's
    sign, for 2 its direction. Where a range cuts a ball of the norm inf, elements go by their own room.

    last: the points before. loss: at the points; of the step before until ``seen``. rises: steps since the
    last checkpoint that raised it. size: of the step, in units of eps. halved: whether the last checkpoint
    halved it. checked: ``best_loss`` there.
    """

    last: Tensor
    loss: Tensor
    rises: Tensor
    size: Tensor
    halved: Tensor
    checked: Tensor

    @classmethod
    def begin(cls, points: Tensor, target: Tensor | None, whole: int) -> Self:
        """Before the first look."""
        least = points.new_full((len(points),), -torch.inf)
        return cls(
            points=points,
            best=points,
            best_loss=least,
            best_gradient=torch.zeros_like(points),
            target=target,
            whole=whole,
            last=points,
            loss=least,
            rises=torch.zeros_like(least),
            size=torch.full_like(least, _FIRST),
            halved=torch.ones_like(least, dtype=torch.bool),
            checked=least,
        )

    def seen(self, loss: Tensor, gradient: Tensor) -> Self:
        """With what a look at ``points`` has shown, which may have raised the loss or not."""
        rises = self.rises + (loss > self.loss) if self.steps else self.rises
        return replace(super().seen(loss, gradient), rises=rises, loss=loss)

    def moved(self, region: bounds.InputSet, gradient: Tensor) -> Momentum:
        windows = _windows(self.whole)
        if self.steps in windows:
            state, gradient = self._checked(windows[self.steps], gradient)
        else:
            state = self
        here, size = state.points, per_sample(state.size, state.points)
        if region.is_convex:
            points = region.project(here + size * steepest(region, gradient))
        else:  # no middle to start from: go towards the best point itself
            points = region.project(here + size.clamp(max=1) * (region.argmax(gradient) - here))
        if self.steps:
            old, new = here - state.last, points - here
            points = region.project(here + _MOMENTUM * new + (1 - _MOMENTUM) * old)
        return replace(state, points=points, last=here, steps=self.steps + 1)

    def _checked(self, window: int, gradient: Tensor) -> tuple[Momentum, Tensor]:
        """At a checkpoint: halve the steps that do not get on, and go on from the best point."""
        idle = ~self.halved & (self.checked >= self.best_loss)
        halve = (self.rises < _RISING * window) | idle
        back = per_sample(halve, gradient)
        state = replace(
            self,
            points=torch.where(back, self.best, self.points),
            size=torch.where(halve, self.size / 2, self.size),
            rises=torch.zeros_like(self.rises),
            halved=halve,
            checked=self.best_loss,
        )
        return state, torch.where(back, self.best_gradient, gradient)


@cache
def _windows(steps: int) -> dict[int, int]:
    """The checkpoints ``ceil(p_j steps)`` and how many steps lie between each and the one before."""
    before, share, place = 0.0, 0.22, 0
    windows = {}
    while share <= 1:
        here = math.ceil(round(share * steps, 9))
        if here > place:
            windows[here] = here - place
        before, share, place = share, share + max(share - before - 0.03, 0.06), here
    return windows
