"""Patches: a part of an image that may become anything valid, anywhere or at a known place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

import bounds
from certify.errors import UsageError
from certify.threat.base import Counted, Threat, check_image, finite_range


@dataclass(frozen=True)
class Patch(Counted):
    """A square of ``eps`` x ``eps`` pixels, anywhere in the image, may become anything valid.

    Where the image is smaller, the square is cut to it.
    """

    unit: ClassVar[str] = "pixels a side"

    def around(self, x: Tensor, valid: tuple[float, float] | None = None) -> bounds.InputSet:
        check_image(self, x)
        clip, side = finite_range(self, valid), int(self.eps)
        if side == 0:
            return bounds.L0Ball(x, clip, 0)
        return bounds.Patch(x, clip, (min(side, x.shape[-2]), min(side, x.shape[-1])))


@dataclass(frozen=True)
class PatchAt(Threat):
    """The pixels of one rectangle, the same in every image, may become anything valid.

    row, column: of its upper left corner, from 0. height, width: in pixels.
    Raises ``UsageError`` for numbers that are no rectangle; ``around`` does where it leaves the image or the
    model has no input range.
    """

    row: int
    column: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if min(self.row, self.column) < 0 or min(self.height, self.width) < 1:
            raise UsageError(f"{self!r} is no rectangle; row and column are >= 0, height and width >= 1")

    def around(self, x: Tensor, valid: tuple[float, float] | None = None) -> bounds.Patch:
        check_image(self, x)
        if self.row + self.height > x.shape[-2] or self.column + self.width > x.shape[-1]:
            raise UsageError(f"{self!r} leaves images of {x.shape[-2]} x {x.shape[-1]} pixels")
        place = [(self.row, self.column)]
        return bounds.Patch(x, finite_range(self, valid), (self.height, self.width), place)
