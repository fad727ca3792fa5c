"""Filters over small windows of an image."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from certify.defences.base import Transform, image
from certify.errors import UsageError


@dataclass(frozen=True)
class _Filter(Transform):
    """Every pixel becomes a function of the window of ``size`` x ``size`` pixels around it.

    An even window reaches one pixel further up and left. At the border the image is mirrored, its outermost
    pixels included.
    """

    size: int

    def __post_init__(self) -> None:
        if self.size < 2:
            raise UsageError(f"size of {type(self).__name__} is {self.size}; give an integer >= 2")

    def check(self, shape: tuple[int, ...]) -> None:
        image(shape, (), repr(self))
        if min(shape[1:]) < self.size:
            raise UsageError(f"{self!r} is larger than an image of shape {shape}; give a smaller size")

    def __call__(self, x: Tensor, valid: tuple[float, float]) -> Tensor:
        rows, columns = (_mirrored(n, self.size, x.device) for n in x.shape[2:])
        padded = x[:, :, rows][:, :, :, columns]
        windows = padded.unfold(2, self.size, 1).unfold(3, self.size, 1)
        return self.of_window(windows.flatten(4))

    @abstractmethod
    def of_window(self, values: Tensor) -> Tensor:
        """(batch, channels, height, width, size * size) -> (batch, channels, height, width)."""


@dataclass(frozen=True)
class Median(_Filter):
    """Median smoothing of every channel (Xu, Evans & Qi 2018, section 3.2); of an even number the upper one.

    Its gradient, that of the pixel in the middle, is of use to attacks as it is.
    Raises ``UsageError`` unless size >= 2.
    """

    def of_window(self, values: Tensor) -> Tensor:
        return values.kthvalue(values.shape[-1] // 2 + 1, dim=-1).values


@dataclass(frozen=True)
class Mean(_Filter):
    """The mean over a window of every channel (Li & Li 2017, "convolutional filter"), which is linear.

    Raises ``UsageError`` unless size >= 2.
    """

    def of_window(self, values: Tensor) -> Tensor:
        return values.mean(-1)


def _mirrored(n: int, size: int, device: torch.device) -> Tensor:
    """Indices of an axis of n pixels with the margin that windows of ``size`` need on both sides."""
    before = size // 2
    index = torch.arange(-before, n + size - 1 - before, device=device)
    index = torch.where(index < 0, -1 - index, index)
    return torch.where(index >= n, 2 * n - 1 - index, index)
