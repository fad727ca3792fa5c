"""The steps of Auto-PGD in balls of the norm 1: as sparse as the best point found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

import bounds
from certify.attacks.climb import Climb
from certify.attacks.norms import per_sample

# Croce & Hein 2021, section 3.
_FIRST_SHARE = 0.2  # of the elements that the first steps change
_EVERY = 0.04  # share of all steps between checkpoints
_SPARSER = 1.5  # a step changes this much fewer elements than the best point does
_STABLE = 0.95  # a number of changed elements that falls less than this is stable
_SHORTER, _SHORTEST = 1.5, 0.1  # of step sizes


@dataclass(frozen=True, eq=False, kw_only=True)
class Sparse(Climb):
    """Croce & Hein 2021, "Mind the box", algorithm 1: signs of the largest gradients, exact projections.

    The projection is onto what the range leaves of the ball, as the authors', not onto one after the other.
    Elements that are at their end in the gradient's direction do not count among the largest.

    size: of the step, in units of eps. share: of elements that a step changes. changed: the number of
    elements in which the best point differed from the centre at the last checkpoint.
    """

    size: Tensor
    share: Tensor
    changed: Tensor

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
            size=torch.ones_like(least),
            share=torch.full_like(least, _FIRST_SHARE),
            changed=torch.full_like(least, points[0].numel() if len(points) else 0),
        )

    def moved(self, region: bounds.InputSet, gradient: Tensor) -> Sparse:
        if not isinstance(region, bounds.Ball):
            raise TypeError(f"sparse steps are for balls, not {type(region).__name__}")
        state = self
        if self.steps and self.steps % max(1, int(_EVERY * self.whole)) == 0:
            state, gradient = self._checked(region.center, gradient)
        box = region.box()
        ended = torch.where(gradient > 0, state.points >= box.upper, state.points <= box.lower)
        step = _largest(gradient.masked_fill(ended, 0), state.share)
        step = step * per_sample(state.size * region.eps, gradient)
        return replace(state, points=region.project(state.points + step), steps=self.steps + 1)

    def _checked(self, center: Tensor, gradient: Tensor) -> tuple[Sparse, Tensor]:
        """At a checkpoint: sparser steps from the best point where that got sparser, else shorter steps."""
        changed = (self.best != center).flatten(1).sum(1).to(self.changed)
        sparser = changed < _STABLE * self.changed
        back = per_sample(sparser, gradient)
        state = replace(
            self,
            points=torch.where(back, self.best, self.points),
            size=torch.where(sparser, 1.0, (self.size / _SHORTER).clamp(min=_SHORTEST)),
            share=changed / (gradient[0].numel() * _SPARSER),
            changed=changed,
        )
        return state, torch.where(back, self.best_gradient, gradient)


def _largest(gradient: Tensor, share: Tensor) -> Tensor:
    """The signs of each sample's largest gradients, of norm 1 together; share: (batch,) of the elements."""
    flat = gradient.flatten(1)
    size, d = flat.abs(), flat.shape[1]
    place = d - (share * d).floor().clamp(1, d).long()
    least = size.sort(dim=1).values.gather(1, place[:, None])
    signs = torch.where(size >= least, flat.sign(), 0)
    return (signs / signs.abs().sum(1, keepdim=True).clamp(min=1)).view_as(gradient)
