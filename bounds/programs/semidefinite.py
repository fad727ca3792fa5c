"""Semidefinite programs of small ReLU networks (Raghunathan et al. 2018), and what their multipliers prove.

Products of variables become entries of a positive semidefinite matrix. For any multipliers, right or wrong,
the row minus the weighted constraints is a quadratic form that lies below the row on the network's values;
how far it is from being positive semidefinite is bounded here with an account of every rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import torch
from scipy import sparse

from bounds.graph import Graph
from bounds.programs.maps import Floats
from bounds.programs.quadratic import Products, Quadratic, quadratic
from bounds.programs.relaxed import known_facts, replayed
from bounds.programs.result import Program, stated
from bounds.programs.solver import solved
from bounds.propagate.crown import spec_bounds
from bounds.rounding import U64, Level, down, gamma
from bounds.sets import InputSet
from bounds.spec import Spec

_INFLATE = 1 + 2.0**-20  # covers the rounding of sums of errors
_TINY = 2.0**-900
# How far below the solver's value a bound is tried to be proved, relative to it.
_STEPS = (0.0, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4)


@torch.no_grad()
def sdp(
    graph: Graph, region: InputSet, spec: Spec, *, joint: bool = False, level: Level | str = Level.REAL
) -> Program:
    """The least values of the rows over the semidefinite relaxation, (batch, rows), for small ReLU networks.

    As ``lp``; with one matrix over the inputs and all undecided neurons, at most 150 of them (minutes). An L1
    ball counts as its box.
    """
    problem, spec = stated(graph, region, spec, level)
    facts = known_facts(problem, joint)
    found = []
    for sample in range(len(region)):
        at = sample if len(spec.matrix) > 1 else 0
        matrix, offset = spec.matrix[at], spec.offset[at]
        program = _Semidefinite(quadratic(problem.graph, facts, problem.region, sample))
        solutions = [program.minimum(row.numpy()) for row in matrix]
        value, lower = (
            torch.tensor(ends, dtype=torch.float64)
            for ends in ([s.value for s in solutions], [s.lower for s in solutions])
        )
        points = replayed(problem, sample, [s.point for s in solutions], matrix, offset)
        found.append((value + offset, down(lower + offset), *points))
    value, lower, point, attained = (torch.stack(parts) for parts in zip(*found, strict=True))
    lower = torch.maximum(lower, spec_bounds(problem, facts, spec, backward=True).lower)
    return Program(torch.maximum(value, lower), lower, point, attained, problem.level)


@dataclass(frozen=True, eq=False)
class _Solution:
    """The solver's value, what is proved, and where the input lies; None where there is none."""

    value: float
    lower: float
    point: Floats | None


class _Semidefinite:
    """The least values of rows over the relaxation of one sample."""

    def __init__(self, constraints: Quadratic) -> None:
        """Build the constraints on the matrix of all products of variables."""
        self._constraints = constraints
        size = constraints.output.coefficient.shape[1]
        self._matrix = cp.Variable((size, size), PSD=True)
        self._cost = cp.Parameter(size)
        self._least = _sums(self._matrix, constraints.least) >= 0
        self._zero = _sums(self._matrix, constraints.zero) == 0
        held = [self._matrix[0, 0] == 1, self._least, self._zero]
        self._problem = cp.Problem(cp.Minimize(self._cost @ self._matrix[0]), held)

    def minimum(self, row: Floats) -> _Solution:
        """The least ``row . output``."""
        output = self._constraints.output
        self._cost.value = row @ output.coefficient
        status = solved(self._problem, cp.CLARABEL, {})
        if status in (cp.INFEASIBLE, cp.INFEASIBLE_INACCURATE):
            return _Solution(math.inf, -math.inf, None)
        if status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
            return _Solution(-math.inf, -math.inf, None)
        value = float(self._problem.value)
        form, error = self._form(row)
        lower = max(_least_value(form, error, value - step * (1 + abs(value))) for step in _STEPS)
        return _Solution(value, lower, self._constraints.input_.coefficient @ self._matrix.value[0])

    def _form(self, row: Floats) -> tuple[Floats, Floats]:
        """The quadratic form that lies below the row on the network's values, and what rounding did to it."""
        output, size = self._constraints.output, len(self._matrix.value)
        form, magnitude, error = (np.zeros((size, size)) for _ in range(3))
        form[0] = row @ output.coefficient
        magnitude[0] = np.abs(row) @ np.abs(output.coefficient)
        error[0] = np.abs(row) @ output.error
        least = -np.maximum(np.atleast_1d(self._least.dual_value), 0.0)
        terms = len(row)
        for products, weight in (
            (self._constraints.least, least),
            (self._constraints.zero, np.atleast_1d(self._zero.dual_value)),
        ):
            left, right, each = products.left, products.right, weight[products.sum_] * products.factor
            form += left.coefficient.T @ (each[:, None] * right.coefficient)
            size_l, size_r = np.abs(left.coefficient), np.abs(right.coefficient) * np.abs(each)[:, None]
            lost_r = right.error * np.abs(each)[:, None]
            magnitude += size_l.T @ size_r
            error += (size_l + left.error).T @ lost_r + left.error.T @ size_r
            terms += len(each)
        error += gamma(terms + 12, U64) * magnitude
        return (form + form.T) / 2, ((error + error.T) / 2 + 4 * U64 * np.abs(form + form.T)) * _INFLATE


def _sums(matrix: cp.Variable, products: Products) -> cp.Expression:
    """The sums of products, as they follow from the matrix."""
    count = int(products.sum_.max(initial=-1)) + 1
    each = cp.sum(cp.multiply(products.left.coefficient @ matrix, products.right.coefficient), axis=1)
    at = (products.factor, (products.sum_, np.arange(len(products.factor))))
    return sparse.csr_array(at, shape=(count, len(products.factor))) @ each


def _least_value(form: Floats, error: Floats, value: float) -> float:
    """A lower bound of ``v . form v`` over all v with ``v[0] = 1`` and no element beyond 1.

    With ``form = value E + W W' - shift I + rest``, E being 1 in its corner, it is the value less the shift's
    trace and the sum of all elements of the rest; any W will do.
    """
    size = len(form)
    centred = form.copy()
    centred[0, 0] -= value
    roots, vectors = np.linalg.eigh(centred)
    shift = max(0.0, -float(roots.min()))
    factor = vectors * np.sqrt(np.maximum(roots + shift, 0.0))
    square, magnitude = factor @ factor.T, np.abs(factor) @ np.abs(factor).T
    rest = np.abs(centred + shift * np.eye(size) - square)
    lost = 8 * U64 * (np.abs(form) + abs(value) + shift) + gamma(size + 8, U64) * magnitude + _TINY
    cost = (float((rest + lost + error).sum()) + shift * size) * _INFLATE
    found = float(np.nextafter(value - cost, -np.inf))
    return found if math.isfinite(found) else -math.inf
