"""The sigma-zero attack in the norm 0."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from certify.attacks.base import Look, State
from certify.attacks.losses import margin
from certify.attacks.minimal import Minimal, Nearby
from certify.attacks.norms import per_sample, size, wide
from certify.attacks.penalty import Scale
from certify.attacks.settings import check_between, check_counts, cosine


@dataclass(frozen=True, eq=False, kw_only=True)
class Sparse(State):
    """scale: of margins, and the unit that changes are counted in. threshold: smaller changes become 0."""

    scale: Scale
    threshold: Tensor


@dataclass(frozen=True)
class SigmaZero(Minimal[Sparse]):
    """Sigma-zero (Cinà et al. 2024, algorithm 1), for the number of changed elements.

    It descends on the margin's hinge plus a smooth count of the changes, ``mean(d^2 / (d^2 + sigma))``, by
    gradients of largest element 1, and drops changes below a threshold, which rises at failures of the
    specification and falls elsewhere. The defaults are the published ones. Changes are relative to the
    width of the valid range (to where a linear model would fail in the norm 1, if it has no ends) and
    margins to their value at the start, so that both terms lie between 0 and 1 at any scale of the logits.

    steps: gradients. step_size: the first one's, falls to 0 along a cosine. sigma: of the smooth count.
    threshold: the first one. rate: its change per step, relative to the step's length.
    Raises ``UsageError`` for a value outside its domain.
    """

    steps: int = 1000
    step_size: float = 1.0
    sigma: float = 1e-3
    threshold: float = 0.3
    rate: float = 0.01

    norms: ClassVar[frozenset[float]] = frozenset({0})

    def __post_init__(self) -> None:
        check_counts("SigmaZero", 1, steps=self.steps)
        positive = {"step_size": self.step_size, "sigma": self.sigma, "rate": self.rate}
        check_between("SigmaZero", 0, math.inf, **positive)
        check_between("SigmaZero", 0, 1, threshold=self.threshold)

    def init(self, problem: Nearby, look: Look) -> Sparse:
        scale = Scale.of(look, 1).within(problem)
        threshold = torch.full_like(scale.margin, self.threshold)
        return Sparse(points=problem.start, scale=scale, threshold=threshold)

    def step(self, problem: Nearby, state: Sparse, look: Look) -> Sparse:
        start, dtype = wide(problem.start), problem.start.dtype
        unit = per_sample(state.scale.distance, start)
        delta = (wide(state.points) - start) / unit
        count = 2 * self.sigma * delta / (delta**2 + self.sigma) ** 2 / delta[0].numel()
        pull = (state.scale.distance / state.scale.margin).masked_fill(look.broken, 0)
        gradient = count - per_sample(pull, delta) * wide(look.gradient(margin))
        largest = per_sample(size(gradient, math.inf), delta)
        direction = torch.where(largest > 0, gradient / largest, 0)
        length = cosine(self.step_size, 0, state.steps, self.steps)
        moved = problem.region.project((start + unit * (delta - length * direction)).to(dtype))
        kept = (wide(moved) - start).abs() >= unit * per_sample(state.threshold, delta)
        sign = torch.where(look.broken, 1, -1)
        return replace(
            state,
            points=torch.where(kept, moved, problem.start),
            steps=state.steps + 1,
            threshold=(state.threshold + sign * self.rate * length).clamp(0, 1),
        )

    def done(self, state: Sparse) -> bool:
        return state.steps >= self.steps
