"""The elastic-net attack."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from certify.attacks.base import Look, State
from certify.attacks.losses import margin
from certify.attacks.minimal import Minimal, Nearby, Nearest, shorten
from certify.attacks.norms import per_sample, wide
from certify.attacks.penalty import Constant, Scale
from certify.attacks.settings import check_between, check_counts
from certify.errors import UsageError

RULES = ("EN", "L1")
_SURPLUS = 16.0  # the first constant relative to what a linear model needs


@dataclass(frozen=True, eq=False, kw_only=True)
class Shrinking(State):
    """One round of each sample.

    plain: the last point without its momentum. unit: what step_size counts. age: steps of this round.
    succeeded: whether it has seen a failure of the specification.
    """

    plain: Tensor
    scale: Scale
    unit: Tensor
    constant: Constant
    age: Tensor
    succeeded: Tensor


@dataclass(frozen=True)
class EAD(Minimal[Shrinking]):
    """Elastic-net attack (Chen et al. 2018, algorithm 1): least ``c max(margin, 0) + |d|_2^2 + beta |d|_1``.

    Accelerated shrinkage and thresholding within the valid range; rounds search the constant c like those of
    ``CarliniWagner``. Margins are relative to their value at the start, c begins at 16 times what a linear
    model would need for the norm 1, and a step moves the steepest element of that model by ``step_size``
    times the range's width at most, then falls with the square root of the steps left, as published.

    rounds: constants tried. steps: per round. beta: of the norm 1, in input units; the published 0.001 to
    0.1 give larger ones. rule: the nearest failure is that of the least elastic net ("EN":
    ``|d|_2^2 + beta |d|_1``) or of the least norm 1 ("L1"); the distance told is in the norm 1.
    searches: looks on the way from the start to the failure found, at the end.
    Raises ``UsageError`` for a value outside its domain.
    """

    rounds: int = 5
    steps: int = 100
    step_size: float = 0.2
    beta: float = 5.0
    rule: str = "L1"
    searches: int = 10

    norms: ClassVar[frozenset[float]] = frozenset({1})

    def __post_init__(self) -> None:
        check_counts("EAD", 1, rounds=self.rounds, steps=self.steps)
        check_counts("EAD", 0, searches=self.searches)
        check_between("EAD", 0, math.inf, step_size=self.step_size, beta=self.beta)
        if self.rule not in RULES:
            raise UsageError(f"unknown rule {self.rule!r} of EAD; choose one of {', '.join(RULES)}")

    def rank(self, change: Tensor, norm: float) -> Tensor:
        delta = change.flatten(1)
        length = delta.abs().sum(1)
        return length if self.rule == "L1" else (delta**2).sum(1) + self.beta * length

    def init(self, problem: Nearby, look: Look) -> Shrinking:
        scale = Scale.of(look, 1)
        zero = torch.zeros_like(scale.margin)
        return Shrinking(
            points=problem.start,
            plain=problem.start,
            scale=scale,
            unit=scale.within(problem).distance,
            constant=Constant.starting(_SURPLUS * self.beta * scale.distance),
            age=zero,
            succeeded=zero.bool(),
        )

    def step(self, problem: Nearby, state: Shrinking, look: Look) -> Shrinking:
        start, dtype = wide(problem.start), problem.start.dtype
        delta = wide(state.points) - start
        constant = state.constant.value
        pull = (constant / state.scale.margin).masked_fill(look.broken, 0)
        gradient = 2 * delta - per_sample(pull, delta) * wide(look.gradient(margin))
        length = (self.step_size * state.unit * state.scale.distance / constant).clamp(max=0.5)
        length = per_sample(length * (1 - state.age / self.steps).sqrt(), delta)
        moved = delta - length * gradient
        shrunk = moved.sign() * (moved.abs() - self.beta * length).clamp(min=0)
        plain = problem.region.project((start + shrunk).to(dtype))
        ahead = plain + per_sample(state.age / (state.age + 3), delta) * (wide(plain) - wide(state.plain))
        points = problem.region.project(ahead.to(dtype))
        over = state.age + 1 >= self.steps
        succeeded, anew = state.succeeded | look.broken, per_sample(over, start)
        return replace(
            state,
            points=torch.where(anew, problem.start, points),
            plain=torch.where(anew, problem.start, plain),
            steps=state.steps + 1,
            constant=state.constant.after(over, succeeded),
            age=(state.age + 1).masked_fill(over, 0),
            succeeded=succeeded & ~over,
        )

    def finish(self, problem: Nearby, found: Nearest) -> Nearest:
        return shorten(problem, found, self.searches, self.rank)

    def done(self, state: Shrinking) -> bool:
        return state.steps >= self.rounds * self.steps
