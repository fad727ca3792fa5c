"""The fast adaptive boundary attack."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from certify.attacks.base import Look, State
from certify.attacks.losses import aimed_at
from certify.attacks.minimal import Minimal, Nearby, Nearest, shorten
from certify.attacks.norms import nearest_plane, per_sample, size, to_plane, wide
from certify.errors import UsageError


@dataclass(frozen=True, eq=False, kw_only=True)
class Hunt(State):
    """Per sample: where its attempt stands.

    order: (batch, clauses), nearest first at the start. attempt: 0, 1, ... made: steps of this attempt.
    back: whether the point was moved back towards the start. nearest: the smallest distance of a failure.
    """

    order: Tensor
    attempt: Tensor
    made: Tensor
    back: Tensor
    nearest: Tensor


@dataclass(frozen=True)
class FAB(Minimal[Hunt]):
    """The fast adaptive boundary attack (Croce & Hein 2020, "Minimally distorted adversarial examples").

    Each step linearises the clauses at hand, projects both the point and the start onto the nearest of the
    planes where one fails, within the valid range, and goes to a mean of the two, a little beyond; a failure
    found is moved back towards the start. ``targets=9`` is FAB-T, as in AutoAttack (Croce & Hein 2020,
    "Reliable evaluation"): one attempt for each of the nearest classes, in the order of their logits, with
    one gradient a step.

    steps: per attempt. restarts: attempts, per target; all but the first begin at random. targets: 0 takes
    the nearest of all planes in every step. alpha_max, eta, beta: the published 0.1, 1.05 and 0.9.
    searches: steps of the last search on the way from start to failure, 3 in the paper.
    Raises ``UsageError`` for a value outside its domain.
    """

    steps: int = 100
    restarts: int = 1
    targets: int = 0
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9
    searches: int = 3

    norms: ClassVar[frozenset[float]] = frozenset({1, 2, math.inf})

    def __post_init__(self) -> None:
        for name, value, least in (
            ("steps", self.steps, 1),
            ("restarts", self.restarts, 1),
            ("targets", self.targets, 0),
            ("searches", self.searches, 0),
        ):
            if value < least:
                raise UsageError(f"{name} of FAB is {value}; give an integer >= {least}")
        for name, number, low, high in (
            ("alpha_max", self.alpha_max, 0.0, 1.0),
            ("eta", self.eta, 1.0, math.inf),
            ("beta", self.beta, 0.0, 1.0),
        ):
            if not low <= number <= high or math.isinf(number):
                raise UsageError(f"{name} of FAB is {number}; give a number from {low:g} to {high:g}")

    def init(self, problem: Nearby, look: Look) -> Hunt:
        count = torch.zeros_like(look.broken, dtype=torch.long)
        return Hunt(
            points=problem.start,
            order=look.values.detach().argsort(dim=1, stable=True),
            attempt=count,
            made=count,
            back=torch.zeros_like(look.broken),
            nearest=torch.full_like(count, math.inf, dtype=torch.float64),
        )

    def step(self, problem: Nearby, state: Hunt, look: Look) -> Hunt:
        away = problem.reached(look)
        nearest = torch.minimum(state.nearest, away)
        anew = state.made == self.steps
        back = look.broken & ~state.back & ~anew
        moved = self._moved(problem, state, look)
        mask = per_sample(back, moved)
        returned = problem.start + self.beta * (look.points.detach() - problem.start)
        points = torch.where(mask, returned, moved)
        if bool(anew.any()):
            points = torch.where(per_sample(anew, moved), self._begun(problem, state, nearest, look), points)
        return replace(
            state,
            points=problem.region.project(points),
            attempt=state.attempt + anew.long(),
            made=torch.where(anew, 0, state.made + (~back).long()),
            back=back,
            nearest=nearest,
        )

    def done(self, state: Hunt) -> bool:
        return False  # each sample has its own end

    def settled(self, state: Hunt, look: Look) -> Tensor:
        attempts = self.restarts * max(1, min(self.targets, state.order.shape[1]))
        return (state.made == self.steps) & (state.attempt == attempts - 1)

    def finish(self, problem: Nearby, found: Nearest) -> Nearest:
        return shorten(problem, found, self.searches)

    def _moved(self, problem: Nearby, state: Hunt, look: Look) -> Tensor:
        """One step: a mean of the projections of the point and of the start (the paper's algorithm 1)."""
        points, start = wide(look.points.detach()), wide(problem.start)
        gradient, value = (wide(each) for each in self._plane(problem, state, look))
        box = problem.region.box()
        lower, upper = wide(box.lower), wide(box.upper)
        gap = (gradient * (points - start)).flatten(1).sum(1)
        here = to_plane(gradient, -value, lower - points, upper - points, problem.norm)
        there = to_plane(gradient, gap - value, lower - start, upper - start, problem.norm)
        short, long = size(here, problem.norm), size(there, problem.norm)
        share = (short / (short + long)).nan_to_num(0.0).clamp(max=self.alpha_max)
        share = per_sample(share, points)
        moved = (1 - share) * (points + self.eta * here) + share * (start + self.eta * there)
        return moved.to(problem.start.dtype)

    def _plane(self, problem: Nearby, state: Hunt, look: Look) -> tuple[Tensor, Tensor]:
        """The gradient and the value of each sample's clause: its target, or that of the nearest plane."""
        values = look.values.detach()
        if self.targets:
            clause = state.order.gather(1, (state.attempt // self.restarts)[:, None])
            return -look.gradient(aimed_at(clause[:, 0])), values.gather(1, clause)[:, 0]
        rows = look.gradients()
        clause = nearest_plane(rows, values, problem.norm)
        everyone = torch.arange(len(values), device=values.device)
        return rows[everyone, clause], values[everyone, clause]

    def _begun(self, problem: Nearby, state: Hunt, nearest: Tensor, look: Look) -> Tensor:
        """Where the next attempt begins: at the start, or at random half as far as the nearest failure.

        Where there is none, half as far as the budget, and where there is none either, half as far as the
        last attempt has come.
        """
        known = nearest.clamp(max=problem.enough) if problem.enough > 0 else nearest
        radius = torch.where(known.isfinite(), known, problem.distance(look.points)) / 2
        begun = problem.start.clone()
        for i in (((state.attempt + 1) % self.restarts != 0) & (state.made == self.steps)).nonzero()[:, 0]:
            stage = f"start {int(state.attempt[i]) + 1}"
            generator = problem.run.generator(problem.key, problem.samples[i], stage)
            draw = torch.randn(begun[i].shape, generator=generator, device=begun.device)
            draw = draw.clamp(-1, 1) if problem.norm == math.inf else draw
            begun[i] += (draw * (radius[i] / size(draw[None], problem.norm))).to(begun.dtype)
        return begun
