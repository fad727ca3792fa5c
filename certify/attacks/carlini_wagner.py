"""The attacks of Carlini & Wagner, with constants and steps that no scale of logits or inputs changes."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from certify.attacks.base import Look, State
from certify.attacks.losses import margin
from certify.attacks.minimal import Minimal, Nearby
from certify.attacks.norms import per_sample, wide
from certify.attacks.penalty import Constant, Moments, Scale
from certify.attacks.settings import check_between, check_counts

_LAST = 0.01  # the last step's length relative to the first's
_LINEAR = 2.0  # the constant by which a linear model is just broken, over the squared distance to there
_SURPLUS = 4.0  # the first constant relative to that: the hinge ends the way at the boundary anyway


@dataclass(frozen=True, eq=False, kw_only=True)
class Descent(State):
    """One round of each sample: its constant, Adam's moments, and what the round has seen.

    succeeded: whether this one has seen a failure of the specification. threshold: the
    change that costs nothing, for the norm inf.
    """

    scale: Scale
    constant: Constant
    moments: Moments
    succeeded: Tensor
    threshold: Tensor


@dataclass(frozen=True)
class _Rounds(Minimal[Descent]):
    """Rounds of Adam from the start, each with one constant that weighs the margin's hinge."""

    rounds: int
    steps: int
    step_size: float
    norm: ClassVar[float]

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_counts(name, 1, rounds=self.rounds, steps=self.steps)
        check_between(name, 0, math.inf, step_size=self.step_size)

    @abstractmethod
    def first_constant(self, distance: Tensor, size: int) -> Tensor:
        """From each sample's linear distance, (batch,), and the number of elements."""

    @abstractmethod
    def unit(self, distance: Tensor, size: int) -> Tensor:
        """The change of each element that step_size counts, from the same."""

    @abstractmethod
    def cost(self, delta: Tensor, threshold: Tensor) -> Tensor:
        """The gradient of the change's size, (batch, *shape)."""

    def lowered(self, problem: Nearby, state: Descent, look: Look) -> Tensor:
        """The next threshold, (batch,)."""
        return state.threshold

    def init(self, problem: Nearby, look: Look) -> Descent:
        scale = Scale.of(look, self.norm)
        zero = torch.zeros_like(scale.margin)
        return Descent(
            points=problem.start,
            scale=scale,
            constant=Constant.starting(self.first_constant(scale.distance, problem.start[0].numel())),
            moments=Moments.none(problem.start),
            succeeded=zero.bool(),
            threshold=zero + math.inf,
        )

    def step(self, problem: Nearby, state: Descent, look: Look) -> Descent:
        threshold = self.lowered(problem, state, look)
        here = wide(state.points)
        pull = (state.constant.value / state.scale.margin).masked_fill(look.broken, 0)
        cost = self.cost(here - wide(problem.start), threshold)
        moments = state.moments.updated(cost - per_sample(pull, here) * wide(look.gradient(margin)))
        falling = (1 + torch.cos(math.pi * (moments.seen - 1) / self.steps)) / 2
        length = self.step_size * (_LAST + (1 - _LAST) * falling)
        length = length * self.unit(state.scale.distance, problem.start[0].numel())
        moved = here - per_sample(length, here) * moments.direction
        over = moments.seen >= self.steps
        succeeded = state.succeeded | look.broken
        points = problem.region.project(moved.to(problem.start.dtype))
        return replace(
            state,
            points=torch.where(per_sample(over, points), problem.start, points),
            steps=state.steps + 1,
            constant=state.constant.after(over, succeeded),
            moments=moments.forgotten(over),
            succeeded=succeeded & ~over,
            threshold=threshold.masked_fill(over, math.inf),
        )

    def done(self, state: Descent) -> bool:
        return state.steps >= self.rounds * self.steps


@dataclass(frozen=True)
class CarliniWagner(_Rounds):
    """The attack in the norm 2 (Carlini & Wagner 2017, section VI.A): least ``|d|^2 + c max(margin, 0)``.

    Each round minimises it from the start by Adam with one constant c; the rounds search c as published. The
    scales are each sample's own: the margin is divided by its value at the start, c begins at four times
    what a linear model would need, and the first step moves each element by ``step_size / sqrt(elements)``
    of the distance at which that model would fail. Steps of four such lengths, which fall to a hundredth
    along a cosine, find smaller distances than the published 0.01 throughout, in fewer steps.

    The box is kept by projection, the paper's first way (section V.B), instead of the tanh whose gradient is
    zero at its ends: elements at the ends of the range can move, and an unbounded range needs nothing else.
    A round is never given up early: its progress comes at the end, with the small steps.

    rounds: constants tried. steps: per round. step_size: see above.
    Raises ``UsageError`` for a value outside its domain.
    """

    rounds: int = 4
    steps: int = 140
    step_size: float = 4.0

    norms: ClassVar[frozenset[float]] = frozenset({2})
    norm: ClassVar[float] = 2

    def first_constant(self, distance: Tensor, size: int) -> Tensor:
        return _SURPLUS * _LINEAR * distance**2

    def unit(self, distance: Tensor, size: int) -> Tensor:
        return distance / math.sqrt(size)

    def cost(self, delta: Tensor, threshold: Tensor) -> Tensor:
        return 2 * delta


@dataclass(frozen=True)
class CarliniWagnerLinf(_Rounds):
    """The attack in the norm inf (Carlini & Wagner 2017, section VI.C).

    It minimises ``c max(margin, 0) + sum max(|d_i| - threshold, 0)``; each failure of the specification
    lowers the threshold to ``shrink`` times its distance, and the search goes on from there. Rounds, scales,
    steps and the box as in ``CarliniWagner``; the published shrink is 0.9, which ends farther away.

    rounds: constants tried. steps: per round. step_size: of the first step of each element, relative to the
    distance at which a linear model would fail.
    Raises ``UsageError`` for a value outside its domain.
    """

    rounds: int = 4
    steps: int = 100
    step_size: float = 0.1
    shrink: float = 0.97

    norms: ClassVar[frozenset[float]] = frozenset({math.inf})
    norm: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("CarliniWagnerLinf", 0, 1, shrink=self.shrink)

    def first_constant(self, distance: Tensor, size: int) -> Tensor:
        return distance * size  # an average element's gradient then equals that of its own cost

    def unit(self, distance: Tensor, size: int) -> Tensor:
        return distance

    def cost(self, delta: Tensor, threshold: Tensor) -> Tensor:
        return torch.where(delta.abs() > per_sample(threshold, delta), delta.sign(), 0)

    def lowered(self, problem: Nearby, state: Descent, look: Look) -> Tensor:
        reached = self.shrink * problem.distance(state.points).to(state.threshold.dtype)
        return torch.where(look.broken, torch.minimum(state.threshold, reached), state.threshold)
