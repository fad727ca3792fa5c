"""Intervals: a lower and an upper tensor of the same shape, and the few things done to them everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from bounds.rounding import U64, down, gamma, up


@dataclass(frozen=True, eq=False)
class Interval:
    """All tensors between ``lower`` and ``upper``, element by element; batch on axis 0."""

    lower: Tensor
    upper: Tensor

    @property
    def magnitude(self) -> Tensor:
        """The largest absolute value, element by element."""
        return torch.maximum(self.lower.abs(), self.upper.abs())

    @property
    def centre(self) -> Tensor:
        """The midpoint as it comes out in floats; pair it with ``radius``."""
        return torch.lerp(self.lower, self.upper, 0.5)

    def radius(self, centre: Tensor, outward: bool) -> Tensor:
        """A radius around ``centre`` that covers the interval; rounded up if ``outward``."""
        if not outward:
            return self.upper - centre
        return up(torch.maximum(self.upper - centre, centre - self.lower))

    def support(self, a: Tensor, samples: Tensor, rounded: bool) -> Tensor:
        """``max a . z`` over the interval: a . lower + max(a, 0) . (upper - lower).

        a: (samples, rows, *shape) for the intervals of ``samples`` (samples,); returns (samples, rows).
        With ``rounded`` (float64 only) the result includes its own rounding error.
        """
        lower, width = (v.flatten(1)[samples][:, :, None] for v in (self.lower, self.upper - self.lower))
        rows = a.flatten(2)
        value = (rows @ lower + rows.clamp(min=0) @ width).squeeze(2)
        if not rounded:
            return value
        n = rows.shape[2]
        scale = (rows.abs() @ (lower.abs() + width)).squeeze(2)
        return up(value + up(gamma(n + 8, U64) * scale) + n * 2.0**-900)

    def __getitem__(self, samples: Tensor) -> Interval:
        """The intervals of some samples, which may repeat."""
        return Interval(self.lower[samples], self.upper[samples])

    def joined(self, other: Interval) -> Interval:
        """The intervals of both batches, one behind the other."""
        return Interval(torch.cat([self.lower, other.lower]), torch.cat([self.upper, other.upper]))

    def detached(self) -> Interval:
        """The same interval, through which no gradient flows."""
        return Interval(self.lower.detach(), self.upper.detach())

    def met(self, other: Interval) -> Interval:
        """The intersection; where rounding noise leaves none, the interval between the two."""
        lower, upper = torch.maximum(self.lower, other.lower), torch.minimum(self.upper, other.upper)
        return Interval(torch.minimum(lower, upper), torch.maximum(lower, upper))

    def closed(self) -> Interval:
        """The interval without an end where that is no number or infinite on the wrong side: fails closed."""
        return Interval(
            torch.nan_to_num(self.lower, -inf, -inf, -inf),
            torch.nan_to_num(self.upper, inf, inf, inf),
        )

    def widened(self, cushion: Tensor) -> Interval:
        """The interval with ``cushion >= 0`` added on both sides, rounded outward; fails closed."""
        return Interval(down(self.lower - cushion), up(self.upper + cushion)).closed()

    def outward(self, dtype: torch.dtype) -> Interval:
        """The interval in ``dtype``, each end rounded away from the middle where it does not fit."""
        lower, upper = self.lower.to(dtype), self.upper.to(dtype)
        most = torch.full_like(upper, torch.inf)
        return Interval(
            torch.where(lower.to(self.lower.dtype) > self.lower, lower.nextafter(-most), lower),
            torch.where(upper.to(self.upper.dtype) < self.upper, upper.nextafter(most), upper),
        )


class Around(NamedTuple):
    """All tensors within half a ``width`` of ``centre``, element by element; batch on axis 0.

    spare: how many units of roundoff of ``|centre| + width`` half the width is wider than it need be, which
    what is made of it may lose again; infinite where rounding does not count. positive: no centre is below
    zero.
    """

    centre: Tensor
    width: Tensor
    spare: float
    positive: bool = False

    @property
    def distance(self) -> Tensor:
        """``|centre|``."""
        return self.centre if self.positive else self.centre.abs()
