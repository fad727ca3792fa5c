"""Attacks that go from plane to plane: DeepFool and SuperDeepFool."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from certify.attacks.base import Look, State
from certify.attacks.minimal import Minimal, Nearby, Nearest, shorten
from certify.attacks.norms import distance, nearest_plane, per_sample, to_plane, wide
from certify.attacks.settings import check_between, check_counts

_LEAST = 1e-3  # of the distance from the start, that a step has at least


@dataclass(frozen=True)
class DeepFool(Minimal[State]):
    """DeepFool (Moosavi-Dezfooli et al. 2016, algorithm 2), for the norms 2 and inf.

    Each step goes to the nearest of the planes where a linear model of the clauses fails, a little beyond,
    and back into the valid range, until the point is a failure.

    steps: at most. overshoot: beyond each plane, relative to the way there; 0.02 in the paper. searches:
    looks on the way from the start to the failure found, at the end; none in the paper.
    Raises ``UsageError`` for a value outside its domain.
    """

    steps: int = 50
    overshoot: float = 0.02
    searches: int = 0

    norms: ClassVar[frozenset[float]] = frozenset({2, math.inf})

    def __post_init__(self) -> None:
        check_counts("DeepFool", 1, steps=self.steps)
        check_counts("DeepFool", 0, searches=self.searches)
        check_between("DeepFool", 0, math.inf, overshoot=self.overshoot)

    def init(self, problem: Nearby, look: Look) -> State:
        return self.step(problem, State(problem.start), look)

    def step(self, problem: Nearby, state: State, look: Look) -> State:
        rows, values = look.gradients(), look.values.detach()
        clause = nearest_plane(rows, values, problem.norm)
        return State(_onto(problem, look, rows, values, clause, self.overshoot), state.steps + 1)

    def done(self, state: State) -> bool:
        return state.steps == self.steps

    def settled(self, state: State, look: Look) -> Tensor:
        return look.broken

    def finish(self, problem: Nearby, found: Nearest) -> Nearest:
        return shorten(problem, found, self.searches)


@dataclass(frozen=True, eq=False, kw_only=True)
class Course(State):
    """turned: whether the point is a projection of the start, not a step of DeepFool; (batch,) booleans.

    over: whether the failure before it was no nearer. nearest: the least distance of a failure, (batch,).
    """

    turned: Tensor
    over: Tensor
    nearest: Tensor


@dataclass(frozen=True)
class SuperDeepFool(Minimal[Course]):
    """SuperDeepFool (Abdollahpourrostam et al. 2024, SDF(inf, 1)), for the norm 2.

    DeepFool runs until it finds a failure; there the start is projected onto the tangent plane of the
    boundary. If that point is no failure, DeepFool goes on from it, as long as the failures get nearer.

    steps: at most, of both kinds. overshoot: see ``DeepFool``. tolerance: failures must get nearer by this
    share; the paper has no such end, but without it the steps become tiny. searches: looks on the way from
    the start to the failure found, at the end.
    Raises ``UsageError`` for a value outside its domain.
    """

    steps: int = 100
    overshoot: float = 0.02
    tolerance: float = 1e-3
    searches: int = 10

    norms: ClassVar[frozenset[float]] = frozenset({2})

    def __post_init__(self) -> None:
        check_counts("SuperDeepFool", 1, steps=self.steps)
        check_counts("SuperDeepFool", 0, searches=self.searches)
        check_between("SuperDeepFool", 0, math.inf, overshoot=self.overshoot)
        check_between("SuperDeepFool", -1, 1, tolerance=self.tolerance)

    def init(self, problem: Nearby, look: Look) -> Course:
        never = torch.full_like(look.deciding, math.inf, dtype=torch.float64)
        course = Course(problem.start, turned=look.broken, over=look.broken, nearest=never)
        return self.step(problem, course, look)

    def step(self, problem: Nearby, state: Course, look: Look) -> Course:
        rows, values = look.gradients(), look.values.detach()
        clause = torch.where(look.broken, values.argmin(1), nearest_plane(rows, values, problem.norm))
        ahead = _onto(problem, look, rows, values, clause, self.overshoot)
        back = _tangent(problem, look, rows, clause)
        points = torch.where(per_sample(look.broken, ahead), back, ahead)
        away = problem.reached(look)
        over = look.broken & (away > (1 - self.tolerance) * state.nearest)
        nearest = torch.minimum(away, state.nearest)
        return Course(points, state.steps + 1, turned=look.broken, over=over, nearest=nearest)

    def done(self, state: Course) -> bool:
        return state.steps == self.steps

    def settled(self, state: Course, look: Look) -> Tensor:
        return state.turned & (look.broken | state.over)

    def finish(self, problem: Nearby, found: Nearest) -> Nearest:
        return shorten(problem, found, self.searches)


def _onto(
    problem: Nearby, look: Look, rows: Tensor, values: Tensor, clause: Tensor, overshoot: float
) -> Tensor:
    """From the points a little beyond the plane where a linear model of the clause is 0, then into the range.

    The range is not minded by the step, as published: more, and smaller, steps follow the model better than
    few that go all the way where much of the input is at the end of its range. But each is a share of the
    way made so far at least: what the range cuts off would leave ever smaller steps short of the boundary.
    """
    points = wide(look.points.detach())
    row, value = (wide(_pick(each, clause)) for each in (rows, values))
    free = torch.full_like(points, math.inf)
    step = to_plane(row, -value, -free, free, problem.norm)
    least = _LEAST * problem.distance(points) / distance(step, problem.norm)
    length = least.nan_to_num(0.0, posinf=0.0).clamp(min=1 + overshoot).to(step)
    return problem.region.project((points + per_sample(length, step) * step).to(problem.start.dtype))


def _tangent(problem: Nearby, look: Look, rows: Tensor, clause: Tensor) -> Tensor:
    """The starts projected onto the planes through the points that are normal to the clause's gradient."""
    start, box, row = wide(problem.start), problem.region.box(), wide(_pick(rows, clause))
    gap = (row * (wide(look.points.detach()) - start)).flatten(1).sum(1)
    step = to_plane(row, gap, wide(box.lower) - start, wide(box.upper) - start, problem.norm)
    return problem.region.project((start + step).to(problem.start.dtype))


def _pick(rows: Tensor, clause: Tensor) -> Tensor:
    """The row of each sample's clause."""
    return rows[torch.arange(len(rows), device=rows.device), clause]
