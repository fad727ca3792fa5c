"""Bands and blocks of an image that stay visible while all else is hidden, certified against patches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from certify.errors import UsageError
from certify.noise import Draws
from certify.smoothing.derandomized.base import Shape, numbers
from certify.threat import L0, Patch, Pixels, Threat


@dataclass(frozen=True)
class Bands:
    """One copy for each column: ``width`` columns from there on stay, going round, and all else is hidden.

    Levine & Feizi (2020), *(De)randomized smoothing for certifiable defense against patch attacks*, section
    3: a patch of m columns is seen by m + width - 1 copies, a single pixel by ``width``. null: the value of
    hidden elements; one that no input takes lets the network tell them apart, but any finite one is sound.
    Inputs are images: columns are the last axis of two or more.
    Raises ``UsageError`` unless width is an integer >= 1 and null finite, and for images narrower than width.
    """

    width: int
    null: float

    reference: ClassVar[str] = "Levine & Feizi (2020), (de)randomized smoothing, column smoothing"
    domain: ClassVar[str] = "images of any numbers"

    def __post_init__(self) -> None:
        _check("width", self.width, self.null)
        object.__setattr__(self, "null", float(self.null))

    def copies(self, shape: Shape) -> int:
        return _room(self, "width", self.width, shape[-1:], shape)

    def perturb(self, x: Tensor, draws: Draws) -> Tensor:
        columns = self.copies(tuple(x.shape))
        seen = _window(numbers(draws, columns), self.width, columns)
        return torch.where(seen.view(-1, *[1] * (x.dim() - 1), columns), x, self.null)

    def changed(self, threat: Threat, shape: Shape) -> int | None:
        columns = self.copies(shape)
        if isinstance(threat, Patch):
            return _seen(int(threat.eps), self.width, columns)
        if isinstance(threat, L0 | Pixels):
            return min(int(threat.eps) * self.width, columns)
        return None

    def reach(self, changes: int, shape: Shape) -> float:
        return _largest_patch(self, changes, shape)


@dataclass(frozen=True)
class Blocks:
    """One copy for each pixel: the ``size`` x ``size`` pixels from there on stay, going round both ways.

    Levine & Feizi (2020), as ``Bands``, block smoothing: a patch of m x m pixels is seen by (m + size - 1)^2
    copies, a single place by size^2. Copies are as many as pixels. null: as in ``Bands``.
    Raises ``UsageError`` unless size is an integer >= 1 and null finite, and for images smaller than a block.
    """

    size: int
    null: float

    reference: ClassVar[str] = "Levine & Feizi (2020), (de)randomized smoothing, block smoothing"
    domain: ClassVar[str] = "images of any numbers"

    def __post_init__(self) -> None:
        _check("size", self.size, self.null)
        object.__setattr__(self, "null", float(self.null))

    def copies(self, shape: Shape) -> int:
        return _room(self, "size", self.size, shape[-2:], shape)

    def perturb(self, x: Tensor, draws: Draws) -> Tensor:
        place = numbers(draws, self.copies(tuple(x.shape)))
        rows, columns = x.shape[-2:]
        down = _window(place // columns, self.size, rows)
        along = _window(place % columns, self.size, columns)
        seen = down[:, :, None] & along[:, None, :]
        return torch.where(seen.view(-1, *[1] * (x.dim() - 2), rows, columns), x, self.null)

    def changed(self, threat: Threat, shape: Shape) -> int | None:
        copies = self.copies(shape)
        if isinstance(threat, Patch):
            return math.prod(_seen(int(threat.eps), self.size, side) for side in shape[-2:])
        if isinstance(threat, L0 | Pixels):
            # a pixel of an image without a channel axis has all rows of its column for channels
            whole = isinstance(threat, Pixels) and len(shape) == 2
            down = shape[-2] if whole else self.size
            return min(int(threat.eps) * self.size * down, copies)
        return None

    def reach(self, changes: int, shape: Shape) -> float:
        return _largest_patch(self, changes, shape)


def _window(first: Tensor, width: int, total: int) -> Tensor:
    """Which of ``total`` places, in a circle, are one of ``width`` from each first one on: (count, total)."""
    places = torch.arange(total, device=first.device)
    return (places - first[:, None]) % total < width


def _seen(side: int, width: int, total: int) -> int:
    """In how many of ``total`` windows some of ``side`` neighbouring places are."""
    return min(side + width - 1, total) if side else 0


def _largest_patch(law: Bands | Blocks, changes: int, shape: Shape) -> float:
    side = 0
    while side < max(shape[-2:]) and (law.changed(Patch(side + 1), shape) or 0) <= changes:
        side += 1
    return float(side)


def _check(name: str, value: object, null: float) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name} is {value!r}; give a number of pixels, an integer >= 1")
    if not math.isfinite(null):
        raise UsageError(f"null is {null}; give a finite value, such as one outside the input range")


def _room(law: Bands | Blocks, name: str, value: int, sides: Shape, shape: Shape) -> int:
    """The number of places for a window, where it fits."""
    if len(shape) < 2:
        raise UsageError(f"{law!r} is about images, not inputs of shape {shape}; try Ablation")
    if value > min(sides):
        raise UsageError(f"{name} is {value}, but inputs have shape {shape}; give at most {min(sides)}")
    return math.prod(sides)
