"""Linear programs (Wong & Kolter 2018; Salman et al. 2019), and what their multipliers prove.

The solver's multipliers say how a row is best pulled back through every node: with which slope through a
function, between which planes through a product, and in exchange for which constraint on what enters it. Any
such choice is sound, so rows that make it are bounded as all others are, with an account of every rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from bounds.graph import Graph
from bounds.interval import Interval
from bounds.programs.guided import guided
from bounds.programs.maps import Floats
from bounds.programs.result import Program, check_region, stated
from bounds.programs.solver import LinearProgram, Solution
from bounds.programs.system import System, system
from bounds.propagate.crown import forward_facts, spec_bounds, undecided_elements
from bounds.propagate.facts import Facts, node_facts
from bounds.propagate.forms import Layout
from bounds.propagate.problem import Problem
from bounds.propagate.rows import lower_bounds
from bounds.rounding import Level
from bounds.sets import InputSet
from bounds.spec import Spec


@torch.no_grad()
def lp(
    graph: Graph, region: InputSet, spec: Spec, *, joint: bool = False, level: Level | str = Level.REAL
) -> Program:
    """The least values of the rows over the linear relaxation of the graph, (batch, rows).

    Every function is replaced by (nearly) its convex hull on its interval, every product by McCormick's
    planes; over an L2 ball it is a second-order cone program. joint: the intervals come from such programs,
    too, not only from CROWN: two for every undecided neuron. region: a box or a ball.

    Raises ``InvalidInput`` for shapes that do not fit together; ``Unsupported`` for operators and regions
    without a program.
    """
    problem, spec = stated(graph, region, spec, level)
    return relaxed(problem, spec, known_facts(problem, joint))


def known_facts(problem: Problem, joint: bool) -> list[Facts]:
    """The facts of every node by CROWN, with ``joint`` tightened by linear programs."""
    check_region(problem.region, cones=True)
    facts = forward_facts(problem, tighten=True)
    return _tightened(problem, facts) if joint else facts


def row_bounds(problem: Problem, spec: Spec, joint: bool) -> Interval:
    """What programs prove of the rows, (batch, rows), with upper ends by interval analysis."""
    facts = known_facts(problem, joint)
    upper = spec_bounds(problem, facts, spec, backward=False).upper
    return Interval(relaxed(problem, spec, facts).lower.to(upper), upper)


def relaxed(problem: Problem, spec: Spec, facts: list[Facts]) -> Program:
    """As ``lp``, with given facts."""
    found = [_of_sample(problem, facts, spec, sample) for sample in range(len(problem.region))]
    value, lower, point, attained = (torch.stack(parts) for parts in zip(*found, strict=True))
    lower = torch.maximum(lower, spec_bounds(problem, facts, spec, backward=True).lower)
    return Program(torch.maximum(value, lower.double()), lower, point, attained, problem.level)


def _of_sample(problem: Problem, facts: list[Facts], spec: Spec, sample: int) -> tuple[Tensor, ...]:
    """Value, lower, point and attained of one sample's rows."""
    constraints = system(problem.graph, facts, sample)
    program = LinearProgram(constraints, problem.region, sample)
    at = sample if len(spec.matrix) > 1 else 0
    matrix, offset = spec.matrix[at], spec.offset[at]
    solutions = [program.minimum(row.double().numpy()) for row in matrix]
    lower = proved(problem, facts, constraints, sample, solutions, matrix, offset)
    value = torch.tensor([s.value for s in solutions], dtype=torch.float64) + offset
    points = [None if s.x is None else s.x[constraints.columns[0]] for s in solutions]
    return value, lower, *replayed(problem, sample, points, matrix, offset)


def replayed(
    problem: Problem, sample: int, points: Sequence[Floats | None], matrix: Tensor, offset: Tensor
) -> tuple[Tensor, Tensor]:
    """Solutions moved into the region, or its middle, and the value of each one's row there."""
    region = problem.region[torch.tensor([sample])]
    centre = region.project(region.box().centre)
    found = [
        centre if p is None else region.project(torch.from_numpy(p).to(centre).view_as(centre))
        for p in points
    ]
    point = torch.cat(found)
    outputs = problem.graph(point).reshape(len(point), -1)
    return point, (matrix * outputs).sum(1) + offset


def proved(
    problem: Problem,
    facts: list[Facts],
    constraints: System,
    sample: int,
    solutions: Sequence[Solution],
    matrix: Tensor,
    offset: Tensor,
) -> Tensor:
    """Lower bounds of rows at the problem's level from the solver's multipliers; (rows,)."""
    graph, region = problem.graph, problem.region
    rows = matrix.reshape(-1, *problem.graph.output_shape)
    layout = Layout(torch.tensor([sample]), len(rows))
    forms = problem.forms(layout, offset)
    own = guided(problem, facts, constraints, sample, [s.multipliers for s in solutions])
    return lower_bounds(graph, facts, region, graph.output, rows, forms, own=own)


def _tightened(problem: Problem, facts: list[Facts]) -> list[Facts]:
    """Facts at least as tight as those given, with two programs for every undecided neuron."""
    graph, found = problem.graph, [facts[0]]
    for index, node in enumerate(graph.nodes[1:], start=1):
        here = node_facts(graph, node, tuple(found[i] for i in node.inputs), problem.level, relaxed=True)
        here = replace(here, interval=here.interval.met(facts[index].interval))
        found.append(here)
        if not here.tight:
            found[index] = replace(here, interval=_by_programs(problem, found, index))
    return found


def _by_programs(problem: Problem, facts: list[Facts], index: int) -> Interval:
    """The node's interval met with programs' bounds of the elements that are undecided."""
    x, part = facts[index].interval, problem.until(index)
    wanted = undecided_elements(problem, index, x).reshape(len(problem.region), -1)
    ends = torch.stack([x.lower.view_as(wanted), -x.upper.view_as(wanted)], 1)
    for sample in wanted.any(1).nonzero().flatten().tolist():
        element = wanted[sample].nonzero().flatten()
        constraints = system(part.graph, facts, sample)
        program = LinearProgram(constraints, part.region, sample)
        some = torch.eye(wanted.shape[1], dtype=ends.dtype)[element]
        matrix = torch.cat([some, -some])
        solutions = [program.minimum(row.double().numpy()) for row in matrix]
        zero = matrix.new_zeros(len(matrix))
        lower = proved(part, facts, constraints, sample, solutions, matrix, zero).view(2, -1)
        ends[sample, :, element] = torch.maximum(ends[sample, :, element], lower)
    low, high = ends.view(len(wanted), 2, *x.lower.shape[1:]).unbind(1)
    return Interval(torch.minimum(low, -high), torch.maximum(low, -high))
