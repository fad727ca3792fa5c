"""Linear programs over a sample's constraints; the only place, with ``exact``, that speaks to solvers."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
from torch import Tensor

from bounds.programs.maps import Floats
from bounds.programs.system import System, stacked
from bounds.sets import Ball, InputSet


@dataclass(frozen=True, eq=False)
class Multipliers:
    """What the solver weighs the constraints with, each >= 0: of lines, of limits and of planes by node."""

    lines: dict[int, Floats]
    limits: dict[int, Floats]
    planes: dict[int, Floats]


@dataclass(frozen=True, eq=False)
class Solution:
    """The least value, the values of all variables there, and multipliers; None where there are none."""

    value: float
    x: Floats | None
    multipliers: Multipliers | None


class LinearProgram:
    """The least values of linear forms over the constraints of one sample."""

    def __init__(self, system: System, region: InputSet, sample: int) -> None:
        """Build the constraints; sample: which of the region's."""
        self._system = system
        self._x = cp.Variable(system.total)
        self._cost = cp.Parameter(system.total)
        limits = {i: each.above(system.columns) for i, each in system.limits.items()}
        planes = {i: each.above for i, each in system.planes.items()}
        self._named = (system.lines, limits, planes)
        every, equal = (
            stacked(parts, system.total)
            for parts in ([each for kind in self._named for each in kind.values()], system.equal)
        )
        self._above = every.matrix @ self._x >= every.least
        inside = within(self._x[system.columns[0]], region, sample)
        self._cones = not region.is_box and isinstance(region, Ball) and region.norm == 2
        self._problem = cp.Problem(
            cp.Minimize(self._cost @ self._x), [self._above, equal.matrix @ self._x == equal.least, *inside]
        )

    def minimum(self, row: Floats) -> Solution:
        """The least ``row . output``; row: (outputs,)."""
        cost = np.zeros(self._system.total)
        cost[self._system.columns[self._system.graph.output]] = row
        self._cost.value = cost
        status = solved(self._problem, cp.CLARABEL if self._cones else cp.HIGHS, {})
        if status in (cp.INFEASIBLE, cp.INFEASIBLE_INACCURATE):
            return Solution(math.inf, None, None)
        if status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
            return Solution(-math.inf, None, None)
        return Solution(float(self._problem.value), self._x.value, self._multipliers())

    def _multipliers(self) -> Multipliers:
        """The constraints' multipliers, in the order in which they were stacked."""
        rest: Floats = np.maximum(np.atleast_1d(self._above.dual_value), 0.0)
        kinds = []
        for kind in self._named:
            parts = np.split(rest, np.cumsum([len(each.least) for each in kind.values()], dtype=int))
            kinds.append(dict(zip(kind, parts, strict=False)))
            rest = parts[-1]
        return Multipliers(*kinds)


def within(x: cp.Expression, region: InputSet, sample: int) -> list[cp.Constraint]:
    """That x, flat, lies in one of the region's sets, which is a box or a ball."""
    box = region.box()
    found = [x >= flat(box.lower, sample), x <= flat(box.upper, sample)]
    if isinstance(region, Ball) and not region.is_box:
        found.append(cp.norm(x - flat(region.center, sample), int(region.norm)) <= region.eps)
    return found


def flat(x: Tensor, sample: int) -> Floats:
    """One sample's numbers in a row."""
    found: Floats = x[sample].detach().double().flatten().numpy()
    return found


def solved(problem: cp.Problem, solver: str, options: dict[str, float]) -> str:
    """Solve, and cvxpy's status; numbers that a solver cannot work with are a failure of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of inaccurate solutions, which are advice here
        try:
            problem.solve(solver=solver, **options)
        except (cp.SolverError, ValueError):
            return str(cp.SOLVER_ERROR)
    return str(problem.status)
