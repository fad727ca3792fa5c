"""Mixed-integer linear programs of piecewise linear graphs (Tjeng et al. 2019).

Where an interval holds several pieces of a function, a binary chooses one. The pieces are disaggregated
(Balas 1985): each has a copy of the input that is zero unless the piece is chosen. For a ReLU that is the
usual formulation with the tightest constants, and the relaxation is the convex hull for any function.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import cvxpy as cp
import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from bounds.errors import Unsupported
from bounds.graph import Graph
from bounds.interval import Interval
from bounds.kinds import Pointwise
from bounds.programs.maps import Floats
from bounds.programs.relaxed import known_facts, relaxed, replayed
from bounds.programs.result import Program, check_region, stated
from bounds.programs.solver import solved, within
from bounds.programs.system import Above, Indices, System, stacked, system
from bounds.propagate.facts import Facts
from bounds.propagate.problem import Problem
from bounds.rounding import Level
from bounds.sets import InputSet
from bounds.spec import Spec

_SAME = 1e-12
_GAP = 1e-9  # between the best point and what no point falls below, where a search ends


@torch.no_grad()
def milp(
    graph: Graph,
    region: InputSet,
    spec: Spec,
    *,
    joint: bool = False,
    level: Level | str = Level.REAL,
    seconds: float = math.inf,
) -> Program:
    """The least values of the rows over the region itself, (batch, rows), for piecewise linear graphs.

    ``value`` is exact to the solver's tolerances where it ends within ``seconds`` (each row), else its lower
    bound so far; ``attained`` comes from running the graph at the solver's point, and is an upper bound of
    the least value. What ``lower`` proves is no more than the linear relaxation does. joint: as in ``lp``.
    At a jump of a function both limits count. region: a box, or a ball of norm 1 or inf.

    Raises as ``lp``; ``Unsupported`` also for functions without linear pieces.
    """
    problem, spec = stated(graph, region, spec, level)
    return _searched(problem, spec, known_facts(problem, joint), None, seconds)


@torch.no_grad()
def below(
    graph: Graph,
    region: InputSet,
    spec: Spec,
    *,
    threshold: float = 0.0,
    joint: bool = False,
    level: Level | str = Level.REAL,
    seconds: float = math.inf,
) -> Program:
    """As ``milp``, but only until it is clear whether a row can be at or below ``threshold``.

    ``value`` is infinite where the solver says that it cannot. Where it can, ``point`` is the first place
    found and ``attained``, its value, decides. Rows that ``lower`` settles are not searched at all.
    """
    problem, spec = stated(graph, region, spec, level)
    return _searched(problem, spec, known_facts(problem, joint), threshold, seconds)


def _searched(
    problem: Problem, spec: Spec, facts: list[Facts], threshold: float | None, seconds: float
) -> Program:
    check_region(problem.region, cones=False)
    rough = relaxed(problem, spec, facts)
    values, points, attained = [], [], []
    for sample in range(len(problem.region)):
        program = ExactProgram(system(problem.graph, facts, sample), facts, problem.region, sample)
        at = sample if len(spec.matrix) > 1 else 0
        matrix, offset = spec.matrix[at], spec.offset[at]
        found = list[tuple[float, Floats | None]]()
        for j, row in enumerate(matrix.double().numpy()):
            if threshold is None:
                found.append(program.minimum(row, seconds))
            elif float(rough.lower[sample, j]) > threshold:
                found.append((math.inf, None))
            else:
                found.append(program.below(row, threshold - float(offset[j]), seconds))
        values.append(torch.tensor([value for value, _ in found], dtype=torch.float64) + offset)
        where = replayed(problem, sample, [point for _, point in found], matrix, offset)
        points.append(where[0])
        attained.append(where[1])
    value = torch.maximum(torch.stack(values), rough.value)
    return Program(value, rough.lower, torch.stack(points), torch.stack(attained), problem.level)


@dataclass(frozen=True, eq=False)
class _Choices:
    """Elements of one node with several pieces on their interval.

    element: (elements,) flat indices. One piece of each is its base: ``base`` holds start, end, slope and
    shift, (4, elements); ``others`` those of all further pieces, (4, pieces), and ``owner`` whose they are.
    """

    element: Indices
    base: Floats
    others: Floats
    owner: Indices


class ExactProgram:
    """The least values of linear forms over a piecewise linear graph on one sample's region."""

    def __init__(self, constraints: System, facts: list[Facts], region: InputSet, sample: int) -> None:
        """Build the constraints; facts: those that the system was made from."""
        self._system = constraints
        self._input = constraints.columns[0]
        self._x = cp.Variable(constraints.total)
        self._cost, self._most = cp.Parameter(constraints.total), cp.Parameter()
        self._binaries = 0
        if constraints.planes:
            raise Unsupported("products of branches have no mixed-integer linear program; use lp")
        equal, built = stacked(constraints.equal, constraints.total), list[cp.Constraint]()
        # Limits may be cuts, which hold in a part of the region alone.
        straight = [limits.above(constraints.columns) for limits in constraints.limits.values()]
        for index, hull in constraints.hulls.items():
            choices = _choices(constraints.graph, facts, index, sample)
            lines = constraints.lines[index]
            whole = ~np.isin(hull.element, choices.element)
            straight.append(Above(lines.matrix[whole], lines.least[whole]))
            built += self._chosen(index, choices)
        lines = stacked(straight, constraints.total)
        built += [equal.matrix @ self._x == equal.least, lines.matrix @ self._x >= lines.least]
        built += within(self._x[self._input], region, sample)
        objective = cp.Minimize(self._cost @ self._x)
        self._minimum = cp.Problem(objective, built)
        self._below = cp.Problem(objective, [*built, self._cost @ self._x <= self._most])

    def _chosen(self, index: int, choices: _Choices) -> list[cp.Constraint]:
        """Exactly one piece of each element holds."""
        count, pieces = len(choices.element), len(choices.owner)
        if pieces == 0:
            return []
        columns, node = self._system.columns, self._system.graph.nodes[index]
        z = self._x[columns.first[node.inputs[0]] + choices.element]
        y = self._x[columns.first[index] + choices.element]
        total = sparse.csr_array((np.ones(pieces), (choices.owner, np.arange(pieces))), shape=(count, pieces))
        inputs, chosen = cp.Variable(pieces), cp.Variable(pieces, boolean=True)
        self._binaries += pieces
        base_input, base_chosen = z - total @ inputs, 1 - total @ chosen
        found, value = [base_chosen >= 0], 0
        for share, pick, ends in (
            (inputs, chosen, choices.others),
            (base_input, base_chosen, choices.base),
        ):
            start, end, slope, shift = ends
            found += [share >= cp.multiply(start, pick), share <= cp.multiply(end, pick)]
            part = cp.multiply(slope, share) + cp.multiply(shift, pick)
            value = value + (total @ part if share is inputs else part)
        return [*found, y == value]

    def minimum(self, row: Floats, seconds: float) -> tuple[float, Floats | None]:
        """A lower bound of the least ``row . output``, exact if there was time, and where that is."""
        return self._solve(self._minimum, row, seconds, {})

    def below(self, row: Floats, most: float, seconds: float) -> tuple[float, Floats | None]:
        """Infinity if ``row . output`` is always above ``most``; else as ``minimum``, of a first point."""
        self._most.value = most
        return self._solve(self._below, row, seconds, {"objective_target": most})

    def _solve(
        self, problem: cp.Problem, row: Floats, seconds: float, options: dict[str, float]
    ) -> tuple[float, Floats | None]:
        cost = np.zeros(self._system.total)
        cost[self._system.columns[self._system.graph.output]] = row
        self._cost.value = cost
        options = {**options, "mip_rel_gap": 0.0, "mip_abs_gap": _GAP}
        if math.isfinite(seconds):
            options["time_limit"] = seconds
        status = solved(problem, cp.HIGHS, options)
        if status == cp.INFEASIBLE:
            return math.inf, None
        if status not in (cp.OPTIMAL, cp.USER_LIMIT) or problem.value is None:
            return -math.inf, None
        value = float(problem.value)
        if self._binaries:
            value = min(value, float(problem.solver_stats.extra_stats.mip_dual_bound))
        point = None if not math.isfinite(float(problem.value)) else cast(Floats, self._x.value)[self._input]
        return value, point


def _choices(graph: Graph, facts: list[Facts], index: int, sample: int) -> _Choices:
    """The pieces of one node, beside those elements that have but one."""
    node = graph.nodes[index]
    x = facts[node.inputs[0]].interval
    one = Interval(x.lower[[sample]].double(), x.upper[[sample]].double())
    pieces = node.op.bind(node.params).pieces(one) if isinstance(node.op, Pointwise) else ()
    if not pieces:
        raise Unsupported(f"operator {node.op.name} of node {node.name!r} has no linear pieces; use lp")
    if not bool((one.lower.isfinite() & one.upper.isfinite()).all()):
        raise Unsupported(f"what enters node {node.name!r} has no finite bounds; use a smaller region")
    ends = torch.stack(
        [
            torch.stack([torch.maximum(p.start, one.lower) for p in pieces]),
            torch.stack([torch.minimum(p.end, one.upper) for p in pieces]),
            torch.stack([p.slope for p in pieces]),
            torch.stack([p.shift for p in pieces]),
        ]
    ).reshape(4, len(pieces), -1)
    there = _needed(ends)
    several = (there.sum(0) > 1).nonzero().flatten()
    there, ends = there[:, several], ends[:, :, several]
    first = there.to(torch.uint8).argmax(0)
    rest = there.scatter(0, first[None], value=False)
    piece, owner = rest.nonzero().T
    base = ends.gather(1, first.expand(4, 1, -1)).squeeze(1)
    return _Choices(several.numpy(), base.numpy(), ends[:, piece, owner].numpy(), owner.numpy())


def _needed(ends: Tensor) -> Tensor:
    """Which pieces count: those on the interval, but for single points that another piece covers."""
    start, end, slope, shift = ends
    needed: Tensor = start <= end
    value = slope * start + shift
    for place in range(len(start)):
        beside = torch.where(needed, slope * start[place] + shift, math.nan)
        covers = (beside - value[place]).abs() <= _SAME * (1 + value[place].abs())
        covers &= (start <= start[place]) & (start[place] <= end)
        covers[place] = False
        needed[place] &= (start[place] < end[place]) | ~covers.any(0)
    return needed
