"""From a solver's multipliers to choices of rows: how each is pulled back through every node.

The Lagrangian of the program gives a row the coefficient ``a`` over a function's value y and passes ``p`` on
to its input z. Among lines around the function this is the slope ``p / a``, whose best intercept is known
(and proved) for any slope; what no slope can express is a multiplier of the limits of z.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.kinds import Known, Pointwise
from bounds.programs.hull import Hull
from bounds.programs.maps import Floats
from bounds.programs.solver import Multipliers
from bounds.programs.system import Indices, Limits, Planes, System
from bounds.propagate.facts import Facts, line_cushion
from bounds.propagate.forms import Own, Push
from bounds.propagate.problem import Problem

_NOISE = 1e-9  # a coefficient, relative to the row's largest, that says nothing about a slope


def guided(
    problem: Problem,
    facts: list[Facts],
    system: System,
    sample: int,
    multipliers: Sequence[Multipliers | None],
) -> dict[int, Own]:
    """The lines, planes and multipliers of one sample's rows; rows without advice keep the usual ones."""
    own = dict[int, Own]()
    limited = set[int]()  # limits count once, however many functions look at a node
    for index, hull in system.hulls.items():
        node, source = problem.graph.nodes[index], problem.graph.nodes[index].inputs[0]
        limits = None if source in limited else system.limits[source]
        limited.add(source)
        pulls = np.stack([_pull(hull, limits, index, each) for each in multipliers])
        slope, multiplier = torch.from_numpy(pulls).unbind(1)
        if isinstance(node.op, Pointwise):
            x = facts[source].interval
            one = Interval(*(end[[sample]].expand(len(pulls), *end.shape[1:]) for end in (x.lower, x.upper)))
            slope, multiplier = (part.to(x.lower).view_as(one.lower) for part in (slope, multiplier))
            op = node.op.bind(node.params)
            own[index] = _own(op, one, facts[index], sample, slope, multiplier, problem.rounded)
    for index, node in enumerate(problem.graph.nodes):
        if isinstance(node.op, Known):
            x = facts[index].interval
            pushed = np.stack([_limited(system.limits[index], prod(node.shape), m) for m in multipliers])
            here = torch.from_numpy(pushed).to(x.lower).view(len(pushed), *node.shape)
            own[index] = Own(push=_push(Interval(x.lower[[sample]], x.upper[[sample]]), here))
    for index, planes in system.planes.items():
        turns = np.stack([_turn(planes, index, each) for each in multipliers])
        turn = torch.from_numpy(turns).to(facts[index].interval.lower)
        own[index] = Own(turn=turn.view(len(turns), *planes.singles))
    return own


def _pull(hull: Hull, limits: Limits | None, index: int, found: Multipliers | None) -> Floats:
    """Slope, NaN where there is no advice, and multiplier of every element; (2, elements)."""
    size = len(hull.low)
    if found is None:
        return np.stack([np.full(size, np.nan), np.zeros(size)])
    weight = found.lines[index] * hull.side
    at_value = _sums(hull.element, weight, size)
    passed = _sums(hull.element, weight * hull.slope, size)
    says = np.abs(at_value) > _NOISE * np.abs(at_value).max(initial=0.0)
    slope = np.full(size, np.nan)
    np.divide(passed, at_value, out=slope, where=says)
    slope = np.clip(slope, hull.low, hull.high)
    multiplier = np.where(says, at_value * np.nan_to_num(slope), 0.0) - passed
    if limits is not None:
        multiplier = multiplier + _limited(limits, size, found)
    return np.stack([slope, multiplier])


def _own(
    op: Pointwise, x: Interval, facts: Facts, sample: int, slope: Tensor, multiplier: Tensor, rounded: bool
) -> Own:
    """Lines of the given slopes, the usual ones where that is none; x, slope, multiplier: (rows, *shape)."""
    usual = facts.lines
    sides = []
    for side in (+1, -1):
        intercept = op.intercept(x, slope, side, rounded)
        mine, height = slope, intercept
        if usual is not None:
            shared = usual.of(torch.tensor([sample]))
            line = (
                (shared.lower_slope, shared.lower_intercept)
                if side > 0
                else (shared.upper_slope, shared.upper_intercept)
            )
            good = slope.isfinite() & intercept.isfinite()
            mine, height = (
                torch.where(good, own, kept) for own, kept in zip((slope, intercept), line, strict=True)
            )
        sides.append((mine, height))
    (low_slope, low), (high_slope, high) = sides
    steepest, highest = torch.maximum(low_slope.abs(), high_slope.abs()), torch.maximum(low.abs(), high.abs())
    cushion = line_cushion(steepest, highest, x) if rounded else None
    return Own(low_slope, low, high_slope, high, cushion=cushion, push=_push(x, multiplier))


def _push(x: Interval, multiplier: Tensor) -> Push:
    """Multipliers of the ends of an interval, where these are finite."""
    at = torch.where(multiplier > 0, x.lower, x.upper)
    known = at.isfinite()
    return Push(torch.where(known, multiplier, 0.0), torch.where(known, at, 0.0))


def _limited(limits: Limits, size: int, found: Multipliers | None) -> Floats:
    """The multipliers of a node's limits, below zero for upper ends; (elements,)."""
    if found is None:
        return np.zeros(size)
    return _sums(limits.element, limits.side * found.limits[limits.node], size)


def _sums(element: Indices, weight: Floats, size: int) -> Floats:
    """The sum of the weights of every element."""
    return np.bincount(element, weight, size).astype(np.float64)


def _turn(planes: Planes, index: int, found: Multipliers | None) -> Floats:
    """Where between its two planes each product's lies, from -1 to 1; (singles,)."""
    if found is None:
        return np.zeros(int(np.prod(planes.singles)))
    low, below, high, above = found.planes[index].reshape(4, -1)
    rising = low + below >= high + above
    more, less = np.where(rising, below, high), np.where(rising, low, above)
    total = more + less
    turn: Floats = (more - less) / np.where(total > 0, total, 1.0)
    return turn
