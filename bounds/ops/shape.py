"""Operators that only move values: placeholder until the family lands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from bounds.kinds import Affine, Tensors
from bounds.linear import Shape


@dataclass(frozen=True)
class Reshape(Affine):
    """Another shape for the same elements in the same order."""

    exact: ClassVar[bool] = True
    shape: tuple[int, ...]

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return xs[0].reshape(-1, *self.shape)

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        return (rows.reshape(-1, *ins[0]),)


@dataclass(frozen=True)
class Pad(Affine):
    """Zeros around the spatial axes."""

    exact: ClassVar[bool] = True
    before: tuple[int, ...]
    after: tuple[int, ...]

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        pads = [p for pair in zip(reversed(self.before), reversed(self.after), strict=True) for p in pair]
        return F.pad(xs[0], pads)
