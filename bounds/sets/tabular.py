"""Rows of a table: numbers with ends of their own, integers, and groups of which exactly one element is 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from bounds.errors import InvalidInput
from bounds.interval import Interval
from bounds.rounding import up
from bounds.sets.base import InputSet, cushioned
from bounds.sets.box import Box


@dataclass(frozen=True, eq=False)
class Tabular(InputSet):
    """All points between ``lower`` and ``upper`` with integers where asked for and groups of which one is 1.

    A product of independent parts, so that its support function and its nearest points are exact. An element
    of a group may be the 1 where its upper end is 1 and no other lower end of the group is.

    lower, upper: (batch, *shape), finite, of one dtype; integer elements take the integers between them.
    integers: indices into the flattened shape. groups: each the indices of two elements or more; an element
    is in one group at most and then no integer element.
    Raises ``InvalidInput`` for ends that leave nothing, indices out of range or used twice.
    """

    lower: Tensor
    upper: Tensor
    integers: Sequence[int] = ()
    groups: Sequence[Sequence[int]] = ()
    _box: Interval = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ends = Box(self.lower, self.upper)
        self._check_indices()
        lower, upper = ends.lower.flatten(1).clone(), ends.upper.flatten(1).clone()
        index = list(self.integers)
        lower[:, index], upper[:, index] = lower[:, index].ceil(), upper[:, index].floor()
        for group in self.groups:
            members = list(group)
            allowed = _allowed(lower[:, members], upper[:, members])
            sole = allowed & (allowed.sum(1, keepdim=True) == 1)
            lower[:, members], upper[:, members] = sole.to(lower), allowed.to(upper)
            self._check_some(allowed.any(1), f"group {tuple(members)}")
        self._check_some((lower <= upper).all(1), "an integer element")
        object.__setattr__(self, "_box", Interval(lower.view_as(self.lower), upper.view_as(self.upper)))

    def _check_indices(self) -> None:
        used = [*self.integers, *(i for group in self.groups for i in group)]
        size = self.lower[0].numel() if len(self.lower) else max(used, default=0) + 1
        if len(set(used)) < len(used):
            raise InvalidInput("an element of a table is named twice, as an integer or in a group")
        if any(not 0 <= i < size for i in used):
            raise InvalidInput(f"a table of {size} elements has no element {max(used, key=abs)}")
        if any(len(group) < 2 for group in self.groups):
            raise InvalidInput("a one-hot group has fewer than two elements; leave it out")

    def _check_some(self, left: Tensor, name: str) -> None:
        if not left.all():
            sample = int((~left).nonzero()[0])
            raise InvalidInput(f"{name} of sample {sample} has no value between its ends")

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.lower.shape[1:])

    def __len__(self) -> int:
        return len(self.lower)

    @property
    def is_box(self) -> bool:
        moving = (self._box.lower < self._box.upper).flatten(1).any(0)
        return not moving[[*self.integers, *(i for group in self.groups for i in group)]].any()

    @property
    def is_convex(self) -> bool:
        return self.is_box

    def box(self) -> Interval:
        return self._box

    def _numbers(self) -> Interval:
        """The box, with 0 in place of the elements of groups; (batch, d)."""
        lower, upper = self._box.lower.flatten(1).clone(), self._box.upper.flatten(1).clone()
        index = [i for group in self.groups for i in group]
        lower[:, index], upper[:, index] = 0, 0
        return Interval(lower, upper)

    def support(self, a: Tensor, samples: Tensor, rounded: bool = False) -> Tensor:
        """Exact: the better end of each number, the largest coefficient of each group."""
        rows, allowed = a.flatten(2), self._box.upper.flatten(1) > 0
        value = self._numbers().support(rows, samples, rounded)
        if not self.groups:
            return value
        best = torch.stack(
            [
                rows[:, :, g].masked_fill(~allowed[samples][:, None, g], -torch.inf).amax(2)
                for g in self._lists()
            ]
        )
        ones = cushioned(best.sum(0), best.abs().sum(0), len(best) + 1, rounded)
        return up(value + ones) if rounded else value + ones

    def _lists(self) -> list[list[int]]:
        return [list(group) for group in self.groups]

    def argmax(self, a: Tensor) -> Tensor:
        return self._with_ones(Box(self._box.lower, self._box.upper).argmax(a), a)

    def project(self, z: Tensor) -> Tensor:
        return self._with_ones(Box(self._box.lower, self._box.upper).project(z), z)

    def _with_ones(self, z: Tensor, wanted: Tensor) -> Tensor:
        """Points of the box with integers rounded and, in each group, a 1 where ``wanted`` is largest."""
        flat, scores, index = z.flatten(1).clone(), wanted.flatten(1), list(self.integers)
        flat[:, index] = flat[:, index].round()
        allowed = self._box.upper.flatten(1) > 0
        for group in self._lists():
            best = scores[:, group].masked_fill(~allowed[:, group], -torch.inf).argmax(1, keepdim=True)
            flat[:, group] = torch.zeros_like(flat[:, group]).scatter(1, best, 1.0)
        return flat.view_as(z)

    def contains(self, z: Tensor) -> Tensor:
        wide = z.double().flatten(1)
        inside = Box(self._box.lower, self._box.upper).contains(z)
        whole = wide[:, list(self.integers)]
        inside = inside & (whole == whole.round()).all(1)
        for group in self._lists():
            members = wide[:, group]
            inside = inside & ((members == 0) | (members == 1)).all(1) & (members.sum(1) == 1)
        return inside

    def to(self, dtype: torch.dtype) -> Tabular:
        box = Interval(self.lower, self.upper).outward(dtype)
        return replace(self, lower=box.lower, upper=box.upper)

    def __getitem__(self, samples: slice | Tensor) -> Tabular:
        return replace(self, lower=self.lower[samples], upper=self.upper[samples])


def _allowed(lower: Tensor, upper: Tensor) -> Tensor:
    """Which elements of a group may be its 1; (batch, members)."""
    forced = lower > 0
    others = forced.sum(1, keepdim=True) - forced.long()
    return (lower <= 1) & (upper >= 1) & (others == 0)
