"""A graph of affine operators and ReLUs as quadratic constraints on few variables.

The variables are a 1, the inputs and the values of undecided neurons, moved and scaled to lie in [-1, 1].
Every node is an affine form in them, with a bound of what rounding did to its coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from bounds.errors import Unsupported
from bounds.graph import Graph
from bounds.kinds import Affine, Known, Operator, Tensors
from bounds.linear import Shape
from bounds.ops.relu import LeakyReLU, PReLU
from bounds.programs.maps import Floats, affine_map, magnitudes
from bounds.programs.solver import flat
from bounds.programs.system import Indices
from bounds.propagate.facts import Facts
from bounds.rounding import U64, gamma
from bounds.sets import Ball, InputSet

_MOST = 150  # variables that a semidefinite program of some minutes can have
_TINY = 2.0**-1000


@dataclass(frozen=True, eq=False)
class Forms:
    """Affine forms: coefficients of the variables, (forms, variables), the first of the 1; and error."""

    coefficient: Floats
    error: Floats

    def __getitem__(self, rows: Indices | slice) -> Forms:
        return Forms(self.coefficient[rows], self.error[rows])

    def __len__(self) -> int:
        return len(self.coefficient)

    def plus(self, other: Forms, factor: Floats | float = 1.0) -> Forms:
        """The sum with ``factor``, one or one for each form, times the other."""
        scale = np.broadcast_to(factor, len(other))[:, None]
        moved = scale * other.coefficient
        lost = 4 * U64 * (np.abs(self.coefficient) + np.abs(moved)) + _TINY
        error = (self.error + np.abs(scale) * other.error) * (1 + 8 * U64) + lost
        return Forms(self.coefficient + moved, error)


def joined(parts: Sequence[Forms]) -> Forms:
    """All forms, one below the other."""
    return Forms(
        np.concatenate([part.coefficient for part in parts]), np.concatenate([part.error for part in parts])
    )


@dataclass(frozen=True, eq=False)
class Products:
    """Constraints on sums of products of forms: ``factor left right`` each, in sum ``sum_``."""

    left: Forms
    right: Forms
    factor: Floats
    sum_: Indices


@dataclass(frozen=True, eq=False)
class Quadratic:
    """Sums that are at least zero, sums that are zero, and the graph's input and output as forms."""

    least: Products
    zero: Products
    input_: Forms
    output: Forms


def quadratic(graph: Graph, facts: Sequence[Facts], region: InputSet, sample: int) -> Quadratic:
    """The constraints of one sample.

    Raises ``Unsupported`` for other operators, and for more neurons than a semidefinite program can have.
    """
    free = {i: _undecided(graph, facts, i, sample) for i in range(len(graph.nodes))}
    space = _Space(1 + prod(graph.input_shape) + sum(len(each) for each in free.values()))
    forms = [space.scaled(*_ends(facts, 0, sample))]
    _inside(space, forms[0], region, sample)
    for index, node in enumerate(graph.nodes[1:], start=1):
        if isinstance(node.op, Affine):
            forms.append(_affine(graph, index, node.op, space, forms))
        elif isinstance(node.op, LeakyReLU | PReLU):
            forms.append(_relu(graph, facts, index, sample, space, forms, free[index]))
        elif isinstance(node.op, Known):
            forms.append(forms[node.inputs[0]])
        else:
            raise Unsupported(f"operator {node.op.name} of node {node.name!r} has no semidefinite program")
    return Quadratic(space.products(space.least), space.products(space.zero), forms[0], forms[graph.output])


Term = tuple[Forms, Forms, Floats, Indices]


class _Space:
    """Hands out variables and collects products."""

    def __init__(self, variables: int) -> None:
        """Raises ``Unsupported`` where there are too many."""
        if variables > _MOST:
            raise Unsupported(f"{variables} inputs and undecided neurons; semidefinite programs take {_MOST}")
        self._variables, self._next = variables, 1
        self.least, self.zero = list[Term](), list[Term]()

    def constant(self, value: Floats) -> Forms:
        """Forms that are numbers."""
        coefficient = np.zeros((len(value), self._variables))
        coefficient[:, 0] = value
        return Forms(coefficient, np.zeros_like(coefficient))

    def scaled(self, low: Floats, high: Floats) -> Forms:
        """New variables for values from low to high, which this constrains them to."""
        centre = low + 0.5 * (high - low)
        radius = np.nextafter(np.maximum(high - centre, centre - low), np.inf)
        found, unit = self.constant(centre), self.constant(np.zeros(len(low)))
        rows = np.arange(len(low))
        for forms, scale in ((found, radius), (unit, 1.0)):
            forms.coefficient[rows, self._next + rows] = scale
        self._next += len(low)
        one = self.constant(np.ones(len(low)))
        self.hold(self.least, one.plus(unit, -1.0), one.plus(unit))
        return found

    def hold(self, kind: list[Term], left: Forms, right: Forms) -> None:
        """Each product is a constraint of its own."""
        kind.append((left, right, np.ones(len(left)), np.arange(len(left))))

    def products(self, kind: list[Term]) -> Products:
        """All that were collected."""
        none = self.constant(np.zeros(0))
        terms = [(none, none, np.zeros(0), np.zeros(0, dtype=np.int64)), *kind]
        counts = np.cumsum([0, *(int(term[3].max(initial=-1)) + 1 for term in terms)])
        return Products(
            joined([term[0] for term in terms]),
            joined([term[1] for term in terms]),
            np.concatenate([term[2] for term in terms]),
            np.concatenate([term[3] + first for term, first in zip(terms, counts, strict=False)]),
        )


def _ends(facts: Sequence[Facts], index: int, sample: int) -> tuple[Floats, Floats]:
    x = facts[index].interval
    return flat(x.lower, sample), flat(x.upper, sample)


def _undecided(graph: Graph, facts: Sequence[Facts], index: int, sample: int) -> Indices:
    """Elements of a ReLU on both sides of its kink."""
    node = graph.nodes[index]
    if not isinstance(node.op, LeakyReLU | PReLU):
        return np.zeros(0, dtype=np.int64)
    low, high = _ends(facts, node.inputs[0], sample)
    if not bool(np.isfinite([low, high]).all()):
        raise Unsupported(f"what enters node {node.name!r} has no finite bounds; use a smaller region")
    return np.flatnonzero((low < 0) & (high > 0))


def _inside(space: _Space, x: Forms, region: InputSet, sample: int) -> None:
    """The ball's own constraint; that of the box comes with the variables."""
    if region.is_box or not isinstance(region, Ball) or region.norm != 2:
        return
    away = x.plus(space.constant(flat(region.center, sample)), -1.0)
    radius = space.constant(np.array([region.eps]))
    terms = joined([radius, away])
    factor = np.array([1.0, *[-1.0] * len(away)])
    space.least.append((terms, terms, factor, np.zeros(len(terms), dtype=np.int64)))


def _affine(graph: Graph, index: int, op: Affine, space: _Space, forms: Sequence[Forms]) -> Forms:
    node = graph.nodes[index]
    matrices, offset = affine_map(graph, index, op)
    sizes = magnitudes(graph, index, op)
    ins = [graph.nodes[i].shape for i in node.inputs]
    terms = op.terms(ins, node.shape, node.params) + sum(prod(shape) for shape in ins) + 8
    total, size, error = space.constant(offset).coefficient, np.abs(space.constant(offset).coefficient), 0.0
    magnitude = op.offset_magnitude(node.params)
    if magnitude is not None:
        size[:, 0] = flat(magnitude.expand(1, *node.shape), 0)
    for matrix, most, source in zip(matrices, sizes, node.inputs, strict=True):
        total = total + matrix @ forms[source].coefficient
        size = size + most @ np.abs(forms[source].coefficient)
        error = error + most @ forms[source].error
    return Forms(total, (error + gamma(terms, U64) * size) * (1 + 2.0**-20) + _TINY)


def _relu(
    graph: Graph,
    facts: Sequence[Facts],
    index: int,
    sample: int,
    space: _Space,
    forms: Sequence[Forms],
    free: Indices,
) -> Forms:
    """``y >= z, y >= s z, (y - z)(y - s z) = 0``, all turned round where s > 1, and z within its limits."""
    node = graph.nodes[index]
    slope = _slope(node.op, node.params, node.shape)
    low, high = _ends(facts, node.inputs[0], sample)
    z = forms[node.inputs[0]]
    straight = space.constant(np.zeros(len(z))).plus(z, np.where(low >= 0, 1.0, slope))
    y = space.scaled(*(end[free] for end in _ends(facts, index, sample)))
    turned = np.where(slope[free] > 1, -1.0, 1.0)
    none, one = space.constant(np.zeros(len(free))), space.constant(np.ones(len(free)))
    above = none.plus(y.plus(z[free], -1.0), turned)
    leaking = none.plus(y.plus(z[free], -slope[free]), turned)
    space.hold(space.least, one, above)
    space.hold(space.least, one, leaking)
    space.hold(space.zero, above, leaking)
    over = z[free].plus(space.constant(low[free]), -1.0)
    space.hold(space.least, over, space.constant(high[free]).plus(z[free], -1.0))
    straight.coefficient[free], straight.error[free] = y.coefficient, y.error
    return straight


def _slope(op: Operator, params: Tensors, shape: Shape) -> Floats:
    """The slope below zero, of every element."""
    bound = op.bind(params) if isinstance(op, PReLU) else op
    if isinstance(bound, PReLU) and bound.slope is not None:
        return flat(bound.slope.expand(1, *shape), 0)
    return np.full(prod(shape), bound.negative_slope if isinstance(bound, LeakyReLU) else 0.0)
