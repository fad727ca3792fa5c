"""The fast gradient sign method, for any region."""

from __future__ import annotations

from dataclasses import dataclass

from certify.attacks.base import Attack, Look, Problem, State
from certify.attacks.losses import cross_entropy


@dataclass(frozen=True)
class FGSM(Attack[State]):
    """One step to the best point of the region for a linear model (Goodfellow, Shlens & Szegedy 2015).

    For the norm inf that is the sign of the cross-entropy's gradient, for 2 its direction, for 1 its largest
    coordinates. On an affine model with two classes it is exact.
    """

    def init(self, problem: Problem, attempt: int) -> State:
        return State(problem.start)

    def step(self, problem: Problem, state: State, look: Look) -> State:
        corner = problem.region.argmax(look.gradient(cross_entropy))
        return State(problem.region.project(corner), state.steps + 1)

    def done(self, state: State) -> bool:
        return state.steps == 1
