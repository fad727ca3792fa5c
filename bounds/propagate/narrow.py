"""Rows in float32 that prove on which side of zero neurons are, in half the time of rows in float64.

Every value z of a node is written as c + d, where c is a float64 number near the middle of what is known of
z. An affine operator takes d as its linear part does, up to what rounding makes of c; lines move along. So
all numbers are about as large as what is not known of a value, not as the value, and so are the errors of
float32. They are accounted for as those of float64 are (see ``bounds.rounding``), by another unit roundoff:
bounds are a little less tight and proved all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.kinds import Affine, Known, Pointwise
from bounds.linear import Unit
from bounds.propagate.facts import Facts
from bounds.propagate.forms import Forms, Layout
from bounds.propagate.problem import Problem
from bounds.propagate.rows import lower_bounds
from bounds.propagate.sieve import Sieve
from bounds.relaxation import Lines
from bounds.rounding import U32, U64, Level, down, gamma, has_float32_products, inflation, up
from bounds.sets import Box

_ROUNDINGS = 32  # of a coefficient on its way through one node, its weights' among them, beside its terms
_MOST_TERMS = 2**20  # as many as accounts in float32 allow for
# Below which all numbers are: then underflows cost less than ``_TINY`` for a coefficient of one, and less
# than ``_SLACK`` on the whole way of a row. Each is 2^-126 at most, even where they are flushed to zero.
_MOST, _TINY, _SLACK = 2.0**20, 2.0**-80, 2.0**-40
_INFLATE = inflation(torch.float32)


class Narrow:
    """The facts of a problem, counted from centres and in float32."""

    def __init__(self, problem: Problem, facts: Sequence[Facts]) -> None:
        """facts: of the nodes so far, in order; more may come, and the last one may still change."""
        self._problem, self._wide = problem, facts
        self._graph = problem.quick.graph
        self._known: list[tuple[Facts, Tensor]] = []
        self._last: tuple[Facts, Tensor] | None = None
        self._stopped = False

    @staticmethod
    def suits(problem: Problem) -> bool:
        """Whether rows of the problem may be float32."""
        box = problem.region.box()
        return (
            problem.level is Level.REAL
            and problem.step_dtype is torch.float32
            and problem.region.is_box
            and not torch.is_grad_enabled()
            and has_float32_products(box.lower.device.type)
            and float(box.magnitude.max()) < _MOST
        )

    def reaches(self, index: int) -> bool:
        """Whether everything on the way of rows over a node has an account in float32."""
        while len(self._known) < index and not self._stopped:
            self._stopped = not self._adds(len(self._known))
        self._last = None if self._stopped else self._at(index)
        return self._last is not None

    def lower(self, index: int, layout: Layout, unit: Unit) -> tuple[Tensor, int]:
        """Lower bounds of rows with one nonzero each over the node last asked for by ``reaches``; (rows,).

        In float64. Nothing is asked of them but to be above zero. Also the most coefficients that a row had.
        """
        if len(self._known) != index or self._last is None:
            raise ValueError(f"rows over node {index} have no account in float32")
        here, centre = self._last
        facts = [*(known for known, _ in self._known), here]
        start = centre.flatten(1)[layout.rows, unit.index] * unit.sign
        enough = -start.float()
        forms = Forms(layout, torch.zeros_like(enough), torch.full_like(enough, _SLACK))
        rows, sieve = Unit(unit.index, unit.sign.float(), unit.shape), Sieve(enough)
        box = facts[0].interval
        region = Box(box.lower, box.upper)
        found = lower_bounds(self._graph, facts, region, index, rows, forms, sieve=sieve)
        lower = torch.nan_to_num(down(found.double() + start), -torch.inf, -torch.inf, -torch.inf)
        return lower, sieve.widest

    def _adds(self, index: int) -> bool:
        """Note a node whose facts are final; False where that is not possible."""
        here = self._at(index)
        if here is None:
            return False
        facts = here[0]
        largest = [facts.interval.magnitude.max()]
        if facts.lines is not None:
            largest += [facts.lines.intercept_magnitude.max(), facts.lines.slope_magnitude.max()]
        self._known.append(here)
        return float(torch.stack(largest).max()) < _MOST  # not where one is not a number

    def _at(self, index: int) -> tuple[Facts, Tensor] | None:
        """A node's facts and the centre they count from, given those of its inputs."""
        node, wide = self._graph.nodes[index], self._wide[index]
        if prod(node.shape) > _MOST_TERMS // 4:
            return None
        if isinstance(node.op, Affine):
            return self._affine(index, node.op)
        if isinstance(node.op, Pointwise):
            return None if wide.lines is None else self._pointwise(node.inputs[0], wide, wide.lines)
        if index == 0 or isinstance(node.op, Known):
            centre = wide.interval.centre if index == 0 else self._known[node.inputs[0]][1]
            return Facts(_around(wide.interval, centre)), centre
        return None

    def _affine(self, index: int, op: Affine) -> tuple[Facts, Tensor] | None:
        """``y = W x + b``: the centre of y is what float64 makes of that of x, and d_y is W d_x, up to the
        errors of that centre, which are within the cushion in float64, or a share of W d_x."""
        node, wide = self._graph.nodes[index], self._wide[index]
        params = self._problem.graph.nodes[index].params
        ins = [self._known[i] for i in node.inputs]
        centre = op.value(tuple(c for _, c in ins), params)
        interval = _around(wide.interval, centre)
        if not _close(op.weights(node.params), op.weights(params)):
            return None
        if wide.cushion is None:
            return Facts(interval, centred=True), centre
        shapes = [self._graph.nodes[i].shape for i in node.inputs]
        counts = [f(shapes, node.shape, node.params) for f in (op.fan_out, op.fan_in)]
        if max(counts) + _ROUNDINGS > _MOST_TERMS:
            return None
        reach = op.absolute(tuple(f.interval.magnitude for f, _ in ins), op.magnitudes(node.params))
        cushion = reach * gamma(counts[0] + _ROUNDINGS, U32) + up(wide.cushion.float()) + _TINY
        return Facts(interval, cushion=cushion * _INFLATE, centred=True), centre

    def _pointwise(self, source: int, wide: Facts, around: Lines) -> tuple[Facts, Tensor]:
        """Lines over z as lines over d_z, and between them the centre of f(z).

        A slope that float32 does not hold is another one, for which the intercept has to make up.
        """
        (before, centre_before), graph = self._known[source], self._graph
        x = before.interval.magnitude
        slopes = around.lower_slope.float(), around.upper_slope.float()
        low, high = around.lower_slope * centre_before, around.upper_slope * centre_before
        size = low.abs() + high.abs() + around.lower_intercept.abs() + around.upper_intercept.abs()
        low, high = low + around.lower_intercept, high + around.upper_intercept
        centre = torch.lerp(low, high, 0.5)
        lost = 16 * U64 * size
        reach = x.double() * _INFLATE
        ends = Interval(
            low - centre - (around.lower_slope - slopes[0]).abs() * reach - lost,
            high - centre + (around.upper_slope - slopes[1]).abs() * reach + lost,
        ).outward(torch.float32)
        lines = Lines(slopes[0], ends.lower, slopes[1], ends.upper)
        alone = isinstance(graph.nodes[source].op, Affine) and len(graph.users[source]) == 1
        entering = before.cushion if alone else None
        # A row's constant is a sum over all elements of up to three intercepts, these guarded by the cushion.
        share = 3 * gamma(prod(centre.shape[1:]) + _ROUNDINGS, U32)
        cushion = x * lines.slope_magnitude * gamma(_ROUNDINGS, U32) + _TINY
        height = lines.intercept_magnitude
        if entering is not None:
            height = torch.addcmul(height, lines.slope_magnitude, entering)
        cushion = torch.add(cushion, height, alpha=share) * (_INFLATE / (1 - share))
        return Facts(_around(wide.interval, centre), lines, cushion=cushion, entering=entering), centre


def _around(x: Interval, centre: Tensor) -> Interval:
    """An interval counted from a centre, in float32; a difference of zero is exact."""
    lower, upper = x.lower - centre, x.upper - centre
    lower, upper = torch.where(lower == 0, lower, down(lower)), torch.where(upper == 0, upper, up(upper))
    return Interval(lower, upper).outward(torch.float32)


def _close(narrow: Sequence[Tensor], wide: Sequence[Tensor]) -> bool:
    """Whether float32 weights are off by few units, and zero where they are: some only tell what is kept.

    Where they are computed, differences may cancel.
    """
    return all(
        bool((((n - w).abs() <= 8 * U32 * w.abs() + 2.0**-121) & ((n == 0) == (w == 0))).all())
        for n, w in zip(narrow, wide, strict=True)
    )
