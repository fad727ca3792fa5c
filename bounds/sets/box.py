"""Boxes: a lower and an upper end per element."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bounds.errors import InvalidInput
from bounds.interval import Interval
from bounds.sets.base import InputSet, check_finite


@dataclass(frozen=True, eq=False)
class Box(InputSet):
    """All points with ``lower <= z <= upper``, element by element.

    lower, upper: (batch, *shape), finite, of one dtype.
    Raises ``InvalidInput`` for shapes that differ, NaN or Inf, or lower > upper.
    """

    lower: Tensor
    upper: Tensor

    def __post_init__(self) -> None:
        check_finite("the lower corner of a box", self.lower)
        check_finite("the upper corner of a box", self.upper)
        if self.lower.shape != self.upper.shape or self.lower.dtype != self.upper.dtype:
            raise InvalidInput(
                f"the corners of a box differ: lower is {self.lower.dtype} {tuple(self.lower.shape)}, "
                f"upper is {self.upper.dtype} {tuple(self.upper.shape)}"
            )
        empty = (self.lower > self.upper).flatten(1).any(1)
        if empty.any():
            raise InvalidInput(
                f"the box of sample {int(empty.nonzero()[0])} is empty: a lower end lies above its upper end"
            )

    @cached_property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.lower.shape[1:])

    def __len__(self) -> int:
        return len(self.lower)

    @property
    def is_box(self) -> bool:
        return True

    def box(self) -> Interval:
        return Interval(self.lower, self.upper)

    def support(self, a: Tensor, samples: Tensor, rounded: bool = False) -> Tensor:
        return self.box().support(a, samples, rounded)

    def argmax(self, a: Tensor) -> Tensor:
        return torch.where(a > 0, self.upper, torch.where(a < 0, self.lower, self.box().centre))

    def project(self, z: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(z, self.lower), self.upper)

    def contains(self, z: Tensor) -> Tensor:
        z = z.double()
        return ((z >= self.lower.double()) & (z <= self.upper.double())).flatten(1).all(1)

    def to(self, dtype: torch.dtype) -> Box:
        box = self.box().outward(dtype)
        return Box(box.lower, box.upper)

    def __getitem__(self, samples: slice | Tensor) -> Box:
        return Box(self.lower[samples], self.upper[samples])
