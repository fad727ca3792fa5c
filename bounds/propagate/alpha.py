"""Better lines and planes for single rows, by a few gradient steps (alpha-CROWN).

Any slope of a line is sound, so the slopes may be chosen for each row anew to raise that row's bound
(Xu et al. 2021, "Fast and complete"); so is any plane between the two of McCormick. A bound is concave in
these numbers wherever lines only touch the function. The rows of a specification are few beside those of the
intermediate neurons: a handful of steps costs little and makes up for what the fixed choice gives away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bounds.kinds import Tensors
from bounds.propagate.dual import Pass
from bounds.propagate.facts import Facts
from bounds.propagate.forms import Forms, Layout, Own
from bounds.propagate.problem import Problem
from bounds.propagate.rows import lower_bounds
from bounds.propagate.turns import Turn, elements, only, turns

# Adam with short memories: the bound is piecewise linear in the slopes, old gradients are soon wrong ones.
_BETAS = (0.5, 0.99)
# Adam divides each gradient by its own size. Relative to the row's largest, gradients below this are mostly
# rounding noise, which must not become full steps: a row's bound would depend on how its batch was cut.
_NOISE = 3e-4
_TINY = 1e-30


@dataclass(frozen=True)
class Pace:
    """How many gradient steps, how long the first one is, and by what factor each is shorter than the last.

    Lengths are relative to the range of what is moved.
    """

    steps: int
    rate: float = 0.35
    decay: float = 0.93

    def rate_at(self, step: int) -> float:
        """The length of one step."""
        return self.rate * self.decay**step


def rows_at_once(problem: Problem) -> int:
    """How many rows fit into the memory budget; each keeps about a dozen copies of every node."""
    size = sum(elements(problem.graph, node) for node in problem.graph.nodes)
    return max(1, problem.memory // (12 * size * problem.region.box().lower.element_size()))


@torch.no_grad()
def improved(
    problem: Problem, facts: list[Facts], rows: Tensor, layout: Layout, offset: Tensor, steps: int
) -> Tensor:
    """Lower bounds of ``rows . output + offset`` after ``steps`` steps on each row's own choices; (rows,).

    rows: (rows, *output_shape), dense; offset: (rows,).
    """
    free = turns(problem.graph, facts, layout)
    if not free:
        return settled(problem, facts, rows, layout, offset, free, ())
    if problem.rounded and problem.step_dtype is torch.float32:
        chosen = _quickly(problem, facts, rows, layout, offset, free, steps)
        return settled(problem, facts, rows, layout, offset, free, chosen)
    found = climb(problem, facts, rows, layout, offset, free, [turn.start for turn in free], Pace(steps))
    if not problem.rounded:
        return found.value
    return settled(problem, facts, rows, layout, offset, free, found.chosen)


def _quickly(
    problem: Problem,
    facts: list[Facts],
    rows: Tensor,
    layout: Layout,
    offset: Tensor,
    free: Sequence[Turn],
    steps: int,
) -> list[Tensor]:
    """The choices behind the best bounds by steps in float32."""
    known = [fact.quick for fact in facts]
    moved = turns(problem.graph, known, layout)
    start = [turn.start for turn in moved]
    found = climb(problem.quick, known, rows.float(), layout, offset.float(), moved, start, Pace(steps))
    best = {turn.place: k for turn, k in zip(moved, found.chosen, strict=True)}
    return [turn.begun(best.get(turn.place)) for turn in free]


def settled(
    problem: Problem,
    facts: list[Facts],
    rows: Tensor,
    layout: Layout,
    offset: Tensor,
    free: Sequence[Turn],
    chosen: Sequence[Tensor],
) -> Tensor:
    """Lower bounds of rows whose choices are given, at the problem's level; (rows,)."""
    problem.check_time()
    graph, region = problem.graph, problem.region
    own = owned(free, chosen, problem.rounded)
    forms = problem.forms(layout, offset)
    return lower_bounds(graph, facts, region, graph.output, rows, forms, own=own)


def climb(
    problem: Problem,
    facts: list[Facts],
    rows: Tensor,
    layout: Layout,
    offset: Tensor,
    free: Sequence[Turn],
    start: Sequence[Tensor],
    pace: Pace,
) -> Climb:
    """Gradient steps from given choices, without account of rounding."""
    graph, region = problem.graph, problem.region

    def bound(chosen: Sequence[Tensor]) -> tuple[Tensor, Pass]:
        problem.check_time()
        own, record = owned(free, chosen, rounded=False), dict[int, Tensor]()
        forms = Forms(layout, offset, slack=None)
        value = lower_bounds(graph, facts, region, graph.output, rows, forms, own=own, record=record)
        return value, Pass(graph, facts, region, layout, record, own)

    if free and pace.steps:
        return _ascend(bound, free, start, pace)
    value, last = bound(start)
    return Climb(
        value, value, [Moving(turn, None, k) for turn, k in zip(free, start, strict=True)], start, last
    )


@dataclass(frozen=True, eq=False)
class Moving:
    """What moves of one node's choices.

    turn: of the elements in ``columns`` alone, of all where that is None. start: all choices at the start.
    """

    turn: Turn
    columns: Tensor | None
    start: Tensor

    @classmethod
    def of(cls, turn: Turn, start: Tensor) -> Moving:
        """The elements that any row may move, where these are few; Adam goes over them a dozen times."""
        free = turn.free.reshape(len(turn.free), -1).any(0)
        columns = free.nonzero().squeeze(1)
        if 2 * len(columns) <= len(free):
            # one that does not move rather than none, which has no largest gradient
            columns = columns if len(columns) else columns.new_zeros(1)
            part = turn.of(columns)
            if part is not None:
                return cls(part, columns, start)
        return cls(turn, None, start)

    @property
    def begin(self) -> Tensor:
        """Where what moves begins."""
        return self.turn.inside(self.part(self.start))

    def part(self, x: Tensor) -> Tensor:
        """Of a tensor (rows, *shape) what moves."""
        return x if self.columns is None else only(x, self.columns)

    def whole(self, moved: Tensor) -> Tensor:
        """All choices, (rows, *shape)."""
        if self.columns is None:
            return moved
        whole = self.start.reshape(len(moved), -1).index_copy(1, self.columns, moved)
        return whole.view_as(self.start)

    def gradient(self, moved: Tensor, rows: Tensor | None, xs: Tensors) -> Tensor:
        """The derivative of every row's bound."""
        if rows is None:
            return torch.zeros_like(moved)
        return self.turn.gradient(moved, self.part(rows), tuple([self.part(x) for x in xs]))


@dataclass(frozen=True, eq=False)
class Climb:
    """Rows' bounds, by float arithmetic, the choices behind them, and the last way back that was gone.

    first: the bounds before any step. best: of what moves, the choices of each row's best bound.
    """

    first: Tensor
    value: Tensor
    parts: Sequence[Moving]
    best: Sequence[Tensor]
    last: Pass

    @cached_property
    def chosen(self) -> list[Tensor]:
        """All choices behind the bounds."""
        return [part.whole(k) for part, k in zip(self.parts, self.best, strict=True)]


def _ascend(
    bound: Callable[[Sequence[Tensor]], tuple[Tensor, Pass]],
    free: Sequence[Turn],
    start: Sequence[Tensor],
    pace: Pace,
) -> Climb:
    """Adam on all rows at once; keeps the choices of each row's best bound."""
    parts = [Moving.of(turn, chosen) for turn, chosen in zip(free, start, strict=True)]
    best = moving = [part.begin for part in parts]
    value, found = bound([part.whole(chosen) for part, chosen in zip(parts, moving, strict=True)])
    first = best_value = value
    adams = [_Adam(part.turn.scale(found.rows.get(part.turn.index))) for part in parts]
    for step in range(pace.steps):
        slopes = gradients(parts, moving, found)
        scaled = [_times(g, adam.scale) for g, adam in zip(slopes, adams, strict=True)]
        largest = torch.stack([_largest(g.reshape(len(g), -1)) for g in scaled]).amax(0).clamp_min_(_TINY)
        moving = [
            part.turn.inside(adam.moved(chosen, g.div_(_column(largest, g)), pace.rate_at(step)))
            for part, adam, chosen, g in zip(parts, adams, moving, scaled, strict=True)
        ]
        value, found = bound([part.whole(chosen) for part, chosen in zip(parts, moving, strict=True)])
        better = value > best_value
        best_value = torch.where(better, value, best_value)
        best = [torch.where(_column(better, k), s, k) for k, s in zip(best, moving, strict=True)]
    return Climb(first, best_value, parts, best, found)


@dataclass(eq=False)
class _Adam:
    """The steps of Kingma & Ba (2015) for one node's choices.

    scale: how far these may reasonably move, None for 1. mean, square: the moments of the gradients so far,
    after one of them that gradient itself: the moments' lengths cancel out of the first step.
    """

    scale: Tensor | None
    steps: int = 0
    mean: Tensor | None = None
    square: Tensor | None = None

    def moved(self, chosen: Tensor, gradient: Tensor, rate: float) -> Tensor:
        """Where a step leads."""
        self.steps += 1
        if self.mean is None:
            self.mean = gradient
            size = gradient.abs().add_(_NOISE)
            return torch.addcdiv(chosen, _times(gradient, self.scale), size, value=rate)
        first, second = (1 - beta**self.steps for beta in _BETAS)
        if self.square is None:
            self.square = self.mean.square().mul_(1 - _BETAS[1])
            self.mean = self.mean.mul(1 - _BETAS[0])
        self.mean.lerp_(gradient, 1 - _BETAS[0])
        self.square.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        # What makes up for the start of the moments at zero is a matter of numbers, not of tensors.
        size = self.square.sqrt().add_(_NOISE * second**0.5)
        return torch.addcdiv(chosen, _times(self.mean, self.scale), size, value=rate * second**0.5 / first)


def _largest(x: Tensor) -> Tensor:
    """The largest absolute value of each row; many times faster than a norm on a processor."""
    return torch.maximum(x.amax(1), -x.amin(1))


def _times(x: Tensor, scale: Tensor | None) -> Tensor:
    """The product, where it is more than x itself."""
    return x if scale is None else x * scale


def gradients(parts: Sequence[Moving], moving: Sequence[Tensor], found: Pass) -> list[Tensor]:
    """The derivative of every row's bound by all that moves."""
    inputs = [found.graph.nodes[part.turn.index].inputs for part in parts]
    values = found.minimisers(max(map(max, inputs)))
    return [
        part.gradient(moved, found.rows.get(part.turn.index), tuple([values[i] for i in ins]))
        for part, moved, ins in zip(parts, moving, inputs, strict=True)
    ]


def owned(free: Sequence[Turn], chosen: Sequence[Tensor], rounded: bool) -> dict[int, Own]:
    """The rows' lines and planes with these choices; with ``rounded`` they are proved for them."""
    own: dict[int, Own] = {}
    for turn, value in zip(free, chosen, strict=True):
        own[turn.index] = turn.own(own.get(turn.index, Own()), value, rounded)
    return own


def _column(per_row: Tensor, like: Tensor) -> Tensor:
    return per_row.view(-1, *[1] * (like.dim() - 1))
