"""Rows of a table: each feature with its own budget and range."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

import bounds
from bounds.rounding import down, up
from certify.errors import UsageError
from certify.threat.base import Threat

Values = float | tuple[float, ...]


@dataclass(frozen=True)
class Tabular(Threat):
    """Each feature may change by at most its own ``eps``, within its own range and kind.

    Features are numbered along the flattened input, in input units. eps: one budget for all, or one for
    each. low, high: ranges, besides the model's. integers: features that are whole numbers. immutable:
    features that never change. groups: one-hot groups, of which exactly one feature is 1; a category changes
    where the features that change have an eps of at least 1. Ends are rounded inward: the set holds exactly
    the inputs of its dtype that are allowed.

    Raises ``UsageError`` for budgets that are no numbers >= 0; ``around`` does for samples that break the
    constraints themselves and for a number of features that does not fit.
    """

    eps: Values
    low: Values = -math.inf
    high: Values = math.inf
    integers: tuple[int, ...] = ()
    immutable: tuple[int, ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        for each in _listed(self.eps):
            if not (math.isfinite(each) and each >= 0):
                raise UsageError(f"eps is {each}; give finite numbers >= 0 in input units")
        if any(math.isnan(each) for each in (*_listed(self.low), *_listed(self.high))):
            raise UsageError("low or high is NaN; give numbers, or leave the range out")

    def at(self, eps: float) -> Self:
        """The same constraints with one budget for every feature."""
        return replace(self, eps=eps)

    def around(self, x: Tensor, valid: tuple[float, float] | None = None) -> bounds.Tabular:
        wide = x.double().flatten(1)
        low, high = self._range(wide, valid)
        self._check(wide, low, high)
        eps = self._values("eps", self.eps, wide)
        eps[list(self.immutable)] = 0
        lower = torch.where(eps > 0, torch.maximum(wide - eps, low), wide)
        upper = torch.where(eps > 0, torch.minimum(wide + eps, high), wide)
        lower, upper = lower.to(x.dtype), upper.to(x.dtype)
        flat = x.flatten(1)
        outside = (lower.double() < low) | (wide - lower.double() > eps)
        lower = torch.minimum(torch.where(outside, up(lower), lower), flat)
        outside = (upper.double() > high) | (upper.double() - wide > eps)
        upper = torch.maximum(torch.where(outside, down(upper), upper), flat)
        return bounds.Tabular(lower.view_as(x), upper.view_as(x), self.integers, self.groups)

    def _range(self, wide: Tensor, valid: tuple[float, float] | None) -> tuple[Tensor, Tensor]:
        low, high = self._values("low", self.low, wide), self._values("high", self.high, wide)
        return (low, high) if valid is None else (low.clamp(min=valid[0]), high.clamp(max=valid[1]))

    def _values(self, name: str, values: Values, wide: Tensor) -> Tensor:
        """One number per feature, float64."""
        found = torch.tensor(_listed(values), dtype=torch.float64, device=wide.device)
        size = wide.shape[1]
        if len(found) not in (1, size):
            raise UsageError(
                f"{name} of Tabular has {len(found)} values for {size} features; give one or all"
            )
        used = (*self.integers, *self.immutable, *(i for group in self.groups for i in group))
        if any(not 0 <= i < size for i in used):
            raise UsageError(
                f"a sample has the features 0..{size - 1}, and Tabular names {max(used, key=abs)}"
            )
        return found.expand(size).clone()

    def _check(self, wide: Tensor, low: Tensor, high: Tensor) -> None:
        """Refuse samples that break the constraints."""
        bad = (wide < low) | (wide > high)
        if bad.any():
            sample, feature = bad.nonzero()[0].tolist()
            raise UsageError(
                f"feature {feature} of sample {sample} lies outside its range; repair the sample"
            )
        whole = wide[:, list(self.integers)]
        if (whole != whole.round()).any():
            sample, place = (whole != whole.round()).nonzero()[0].tolist()
            raise UsageError(f"feature {self.integers[place]} of sample {sample} is no integer")
        for group in self.groups:
            members = wide[:, list(group)]
            one_hot = ((members == 0) | (members == 1)).all(1) & (members.sum(1) == 1)
            if not one_hot.all():
                sample = int((~one_hot).nonzero()[0])
                raise UsageError(f"group {group} of sample {sample} is not one-hot; repair the sample")


def _listed(values: Values) -> tuple[float, ...]:
    return values if isinstance(values, tuple) else (values,)
