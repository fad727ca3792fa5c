"""Linear forms on their way back: which sample they belong to, their constants, and where they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.linear import Coefficients, Patch, Unit
from bounds.memory import cached
from bounds.rounding import U64, down, gamma, inflation, least, unit


@dataclass(frozen=True, eq=False)
class Layout:
    """Which sample each row belongs to: ``per_sample`` consecutive rows for each of ``samples``."""

    samples: Tensor
    per_sample: int

    @cached_property
    def rows(self) -> Tensor:
        """The sample of each row."""
        return self.samples.repeat_interleave(self.per_sample)

    @cached_property
    def _first(self) -> Tensor:
        """For each row the first sample."""
        return torch.zeros_like(self.rows)

    @cached_property
    def _every(self) -> bool:
        """Whether the samples are all there are, in order, if there are as many."""
        return bool((self.samples == torch.arange(len(self.samples), device=self.samples.device)).all())

    def grouped(self, rows: Tensor) -> Tensor:
        """(rows, *shape) as (samples, per_sample, elements)."""
        return rows.reshape(self.samples.shape[0], self.per_sample, -1)

    def of(self, x: Tensor) -> Tensor:
        """A per-sample tensor (batch, *shape), or one for all (1, *shape), as (samples, 1, elements)."""
        x = x if x.shape[0] == 1 or (self._every and x.shape[0] == len(self.samples)) else x[self.samples]
        return x.reshape(x.shape[0], 1, -1)

    def spread(self, x: Tensor) -> Tensor:
        """A per-sample tensor (batch, *shape) once for each row, (rows, *shape); not to be written to."""
        return x.expand(len(self.rows), *x.shape[1:]) if len(x) == 1 else x[self.rows]

    def index(self, x: Tensor) -> Tensor:
        """For each row, where in the batch axis of ``x`` its sample stands."""
        return self._first if x.shape[0] == 1 else self.rows

    def dot(self, a: Coefficients, x: Tensor, absolute: bool = False) -> Tensor:
        """``a_r . x_sample`` or ``|a_r| . x_sample`` for every row; x: (batch, *shape); returns (rows,)."""
        if isinstance(a, Unit):
            sign = a.sign.abs() if absolute else a.sign
            return x.reshape(len(x), -1)[self.index(x), a.index] * sign
        if isinstance(a, Patch):
            data = a.data.abs() if absolute else a.data
            return (data * a.gather(x, self.index(x))).flatten(1).sum(1)
        rows, x = self.grouped(a), self.of(x).mT
        return (_absolute_products(rows, x) if absolute else products(rows, x)).flatten()

    def cost(self, a: Coefficients, x: Tensor) -> Tensor:
        """At least ``|a_r| . x_sample`` for x >= 0: windows meet the most that each channel has anywhere.

        For what rounding costs: little is lost where that is taken some times too high, and to look up where
        windows are takes longer than the rest of a step.
        """
        if not isinstance(a, Patch):
            return self.dot(a, x, absolute=True)
        most = x.amax((2, 3), keepdim=True).expand(*x.shape[:2], *a.data.shape[2:])
        return _absolute_products(self.grouped(a.data), self.of(most).mT).flatten()


@dataclass(frozen=True, eq=False)
class Forms:
    """Rows on their way to the input: a constant each, and a slack that rounding may have cost so far."""

    layout: Layout
    constant: Tensor
    slack: Tensor | None

    def plus(self, term: Tensor) -> Forms:
        """With a term added to the constants; the rounding of the sum goes to the slack."""
        constant, slack = self.constant + term, self.slack
        slack = None if slack is None else torch.add(slack, constant.abs(), alpha=2 * unit(constant.dtype))
        return Forms(self.layout, constant, slack)

    def lower(self, ends: Sequence[Tensor]) -> Tensor:
        """Lower bounds of the rows, given those of what each of their parts has come to; (rows,) each.

        Minus infinity where anything is not a number, or infinite: a sum may have been finite that came out
        so.
        """
        lower = self.constant
        for end in ends:
            lower = lower + end if self.slack is None else down(lower + end)
        if self.slack is not None:
            lower = down(lower - self.slack * inflation(lower.dtype))
        return torch.nan_to_num(lower, nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf)

    def minus(self, cost: Tensor) -> Forms:
        """With the rounding cost of one step added to the slack; that of these sums comes at the end."""
        return self if self.slack is None else Forms(self.layout, self.constant, self.slack + cost)


@dataclass(frozen=True, eq=False)
class Push:
    """Multipliers of the constraints ``multiplier * (z - at) >= 0`` on a node's elements z; (rows, *shape).

    Where they hold, ``a . z >= (a - multiplier) . z + multiplier . at`` (Wang et al. 2021, beta-CROWN): zero,
    or of the constraint's sign, any number is sound.
    """

    multiplier: Tensor
    at: Tensor


@dataclass(frozen=True, eq=False)
class Own:
    """Lines or planes that rows have for themselves: (rows, *shape); None where those of their sample hold.

    turn: of planes, for each output of the product's operator ``apart``; (rows, *shape, *axes).
    cushion: what rounding may change beyond that of the facts. push: what is known of the input of
    a pointwise function, or of a ``Known`` value, beside its interval, with multipliers.
    """

    lower_slope: Tensor | None = None
    lower_intercept: Tensor | None = None
    upper_slope: Tensor | None = None
    upper_intercept: Tensor | None = None
    turn: Tensor | None = None
    cushion: Tensor | None = None
    push: Push | None = None


def by_sign(a: Tensor, above: Tensor, below: Tensor) -> Tensor:
    """``below`` where a < 0, ``above`` elsewhere; both finite, and broadcast against a.

    As a sum of products, for on a processor a choice by a mask without pattern takes ten times as long.
    """
    negative = torch.lt(a, 0, out=torch.empty_like(a))
    return (above * (1 - negative)).addcmul_(below, negative)


def _absolute_products(rows: Tensor, x: Tensor) -> Tensor:
    """``|a| . x`` for every row, (samples, per_sample, 1); x: (samples or 1, elements, 1)."""
    parts = cached(rows, rows[0].numel())
    if len(parts) == 1:
        return products(rows.abs(), x)
    return torch.cat([rows[part].abs() @ (x if len(x) == 1 else x[part]) for part in parts])


def products(rows: Tensor, x: Tensor) -> Tensor:
    """``a . x`` for every row, (samples, per_sample, 1); x: (samples or 1, elements, 1)."""
    return torch.bmm(rows, x) if len(x) == len(rows) else torch.matmul(rows, x)


def value_range(layout: Layout, rows: Coefficients, x: Interval, rounded: bool) -> Interval:
    """The values of ``a . z`` over an interval per sample; with ``rounded`` including its error; (rows,).

    NaN where the interval is infinite.
    """
    centre = x.centre
    radius = x.upper - centre
    if rounded:
        # The account goes with the radius: each rounding from here to the ends is a unit of |a| (|c| + r).
        # They are n in each product, four that the lower end may be farther from the centre than the upper
        # one (three for the centre's two roundings, one for the radius), three of the account and the ends.
        n = prod(centre.shape[1:])
        radius = torch.add(radius, (centre.abs() + radius).add_(2.0**-850), alpha=2 * gamma(n + 8, U64))
    value, spread = layout.dot(rows, centre), layout.dot(rows, radius, absolute=True)
    if rounded:
        spread = spread + n * 2.0**-900
    return Interval(value - spread, value + spread)


def over_interval(layout: Layout, rows: Coefficients, x: Interval, rounded: bool) -> Tensor:
    """``min a . z`` over an interval per sample: a . lower + min(a, 0) . (upper - lower); (rows,).

    With ``rounded`` the result includes its own rounding error: the interval is wider by the share of |lower|
    and the width that products and sums with these, wider, may lose.
    """
    lower, width = x.lower, x.upper - x.lower
    n = prod(lower.shape[1:])
    if rounded:
        share = gamma(n + 12, unit(lower.dtype)) * inflation(lower.dtype)
        lost = (lower.abs() + width).add_(least(lower.dtype) * 2.0**50).mul_(share)
        lower, width = lower - lost, width.add_(lost, alpha=2)
    if isinstance(rows, Patch):
        ends = torch.cat([lower, width], 1)
        lower, over = rows.gather(ends, layout.index(ends)).chunk(2, dim=1)
        value = (rows.data * lower).addcmul_(rows.data.clamp(max=0), over).flatten(1).sum(1)
    else:
        value = layout.dot(rows, lower) + _negative_dot(layout, rows, width)
    return down(value - n * least(value.dtype)) if rounded else value


def _negative_dot(layout: Layout, rows: Unit | Tensor, x: Tensor) -> Tensor:
    """``min(a, 0) . x`` for every row; (rows,)."""
    if isinstance(rows, Unit):
        return layout.dot(Unit(rows.index, rows.sign.clamp(max=0), rows.shape), x)
    grouped, x = layout.grouped(rows), layout.of(x).mT.expand(len(layout.samples), -1, 1)
    return torch.cat(
        [grouped[part].clamp(max=0) @ x[part] for part in cached(grouped, grouped[0].numel())]
    ).flatten()
