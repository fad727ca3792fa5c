"""What Square Attack may try next: windows of an image, and how they change in a box or in a ball."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cache
from typing import Self

import torch
from torch import Tensor

import bounds

_TURN, _SIGNS = 4, 5  # of a draw's numbers the first four place two windows
_GONE = 1e-3  # the length of a sum of two unit vectors that is rounding, if anything
_TILES = 5  # a side, in the first point of a ball


@dataclass(frozen=True)
class Planes:
    """How inputs are seen: as channels of an image, or of a line where the height is 1."""

    channels: int
    height: int
    width: int

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Planes:
        """Of one sample's shape."""
        height = shape[-2] if len(shape) > 1 else 1
        return cls(math.prod(shape[:-2]), height, shape[-1])

    @property
    def numbers(self) -> int:
        """How many uniform numbers a move needs: places, one for the turn and one per channel's sign."""
        return _SIGNS + self.channels

    @property
    def first_numbers(self) -> tuple[int, int]:
        """And how many the first point needs: per channel one for each column or each tile."""
        return self.channels, max(self.width, _TILES**2)

    def sides(self, share: float, least: int) -> tuple[int, int]:
        """Height and width of a window that covers about this share; a square where there is room for it."""
        side = max(least, round(math.sqrt(share * self.height * self.width)))
        if side <= min(self.height, self.width):
            return side, side
        height = min(side, self.height)
        width = max(least, round(share * self.height * self.width / height))
        return height, min(width, self.width)

    def split(self, z: Tensor) -> Tensor:
        """(batch, *shape) as (batch, channels, height, width)."""
        return z.reshape(len(z), self.channels, self.height, self.width)


@dataclass(frozen=True, eq=False)
class Window:
    """A rectangle per sample, as the indices that address it in (batch, channels, height, width)."""

    index: tuple[Tensor, Tensor, Tensor, Tensor]

    @classmethod
    def at(cls, planes: Planes, sides: tuple[int, int], place: Tensor) -> Window:
        """place: (batch, 2) in [0, 1), among all places from the upper left on."""
        room = torch.tensor([planes.height - sides[0] + 1, planes.width - sides[1] + 1], device=place.device)
        top, left = (place * room).long().minimum(room - 1).unbind(1)
        down, across = (torch.arange(side, device=place.device) for side in sides)
        batch = torch.arange(len(place), device=place.device)
        channel = torch.arange(planes.channels, device=place.device)
        return cls(
            (
                batch[:, None, None, None],
                channel[:, None, None],
                (top[:, None] + down)[:, None, :, None],
                (left[:, None] + across)[:, None, None, :],
            )
        )


class Moves(ABC):
    """Candidates in a region. Draws are uniform numbers in [0, 1), from each sample's own generator."""

    @abstractmethod
    def first(self, draws: Tensor) -> Tensor:
        """The first point of the search, (batch, *shape); draws: (batch, *planes.first_numbers)."""

    @abstractmethod
    def next(self, points: Tensor, share: float, draws: Tensor) -> Tensor:
        """A candidate that differs from the points in windows which cover a share of the image.

        draws: (batch, planes.numbers).
        """

    @abstractmethod
    def __getitem__(self, keep: Tensor) -> Self:
        """The moves of some samples."""


@dataclass(frozen=True, eq=False)
class BoxMoves(Moves):
    """Andriushchenko et al. 2020, algorithm 2: each channel of a window goes to its lowest or highest value.

    A candidate that would change nothing takes the other values instead. lower, upper: as planes.
    """

    planes: Planes
    shape: tuple[int, ...]
    lower: Tensor
    upper: Tensor

    @classmethod
    def of(cls, region: bounds.InputSet) -> BoxMoves:
        """The moves in a box."""
        planes, box = Planes.of(region.shape), region.box()
        return cls(planes, region.shape, planes.split(box.lower), planes.split(box.upper))

    def first(self, draws: Tensor) -> Tensor:
        """Vertical stripes."""
        up = draws[:, :, None, : self.planes.width] < 0.5
        return torch.where(up, self.upper, self.lower).view(-1, *self.shape)

    def next(self, points: Tensor, share: float, draws: Tensor) -> Tensor:
        here = Window.at(self.planes, self.planes.sides(share, 1), draws[:, :2]).index
        planes = self.planes.split(points).clone()
        up = (draws[:, _SIGNS:] < 0.5)[:, :, None, None]
        low, high, old = self.lower[here], self.upper[here], planes[here]
        new = torch.where(up, high, low)
        same = (new == old).flatten(1).all(1)[:, None, None, None]
        planes[here] = torch.where(same, torch.where(up, low, high), new)
        return planes.view(-1, *self.shape)

    def __getitem__(self, keep: Tensor) -> Self:
        return replace(self, lower=self.lower[keep], upper=self.upper[keep])


@dataclass(frozen=True, eq=False)
class BallMoves(Moves):
    """Andriushchenko et al. 2020, algorithm 3: a window takes over the change of another, as two bumps.

    For the norm 1 the same in that norm (Croce & Hein 2021, appendix).
    """

    planes: Planes
    ball: bounds.Ball

    @classmethod
    def of(cls, ball: bounds.Ball) -> BallMoves:
        """The moves in a ball."""
        return cls(Planes.of(ball.shape), ball)

    def first(self, draws: Tensor) -> Tensor:
        """Tiles of two bumps each, with random signs."""
        height, width = self.planes.height, self.planes.width
        sides = max(1, height // _TILES), max(1, width // _TILES)
        down, across = min(_TILES, height // sides[0]), min(_TILES, width // sides[1])
        tile = bumps(*sides).to(draws)
        sign = torch.where(draws[:, :, : down * across] < 0.5, 1.0, -1.0)
        signs = sign.view(len(draws), -1, down, 1, across, 1)
        tiles = (signs * tile[:, None, :]).reshape(len(draws), -1, down * sides[0], across * sides[1])
        top, left = (height - tiles.shape[2]) // 2, (width - tiles.shape[3]) // 2
        bottom, right = height - tiles.shape[2] - top, width - tiles.shape[3] - left
        change = torch.nn.functional.pad(tiles, (left, right, top, bottom)).to(self.ball.center)
        length = self._length(change, (1, 2, 3))
        return self._inside(change / length * self.ball.eps)

    def next(self, points: Tensor, share: float, draws: Tensor) -> Tensor:
        sides = self.planes.sides(share, 3)
        one, two = (Window.at(self.planes, sides, draws[:, k : k + 2]).index for k in (0, 2))
        change = self.planes.split(points - self.ball.center)
        norm, spare = self.ball.norm, self._spare(change)
        moved = change[one]
        own = self._length(moved, (2, 3))
        change[one] = 0
        budget = own**norm + self._length(change[two], (2, 3)) ** norm + spare / self.planes.channels
        change[two] = 0
        bump = bumps(*sides).to(change)
        turned = (draws[:, _TURN] < 0.5)[:, None, None] & (sides[0] == sides[1])
        bump = torch.where(turned, bump.mT if sides[0] == sides[1] else bump, bump)[:, None]
        sign = torch.where(draws[:, _SIGNS:] < 0.5, 1.0, -1.0).to(change)[:, :, None, None]
        push = sign * bump / self._length(bump, (2, 3))
        wanted = push + moved / own.clamp(min=torch.finfo(change.dtype).tiny)
        size = self._length(wanted, (2, 3))
        gone = size < _GONE
        wanted, size = torch.where(gone, push, wanted), torch.where(gone, 1, size)
        change[one] = wanted / size * budget.pow(1 / norm)
        return self._inside(change)

    def _spare(self, change: Tensor) -> Tensor:
        """What of the ball's radius is not used, in powers of the norm; (batch, 1, 1, 1)."""
        whole = math.pow(self.ball.eps, self.ball.norm)
        return (whole - self._length(change, (1, 2, 3)).pow(self.ball.norm)).clamp(min=0)

    def _length(self, change: Tensor, axes: tuple[int, ...]) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(change, ord=self.ball.norm, dim=axes, keepdim=True)
        return length

    def _inside(self, change: Tensor) -> Tensor:
        """The points of a change that is no longer than eps, but for rounding, and may leave the range."""
        ball, box = self.ball, self.ball.box()
        short = 1 - 8 * torch.finfo(change.dtype).eps
        points = ball.center + (change * short).view_as(ball.center)
        points = points.maximum(box.lower).minimum(box.upper)
        outside = (~ball.contains(points)).nonzero()[:, 0]
        if len(outside) == 0:
            return points
        return points.index_copy(0, outside, ball[outside].project(points[outside]))

    def __getitem__(self, keep: Tensor) -> Self:
        return replace(self, ball=self.ball[keep])


@cache
def bumps(height: int, width: int) -> Tensor:
    """Two bumps of opposite sign beside each other (Andriushchenko et al. 2020, equation 2); float32."""
    if height > width:
        return bumps(width, height).mT.contiguous()
    half = width // 2
    return torch.cat([_bump(height, half), -_bump(height, width - half)], dim=1)


def _bump(height: int, width: int) -> Tensor:
    """Largest in the middle and falling by steps of one over squares."""
    most = max(height, width) // 2
    down, across = torch.arange(1, height + 1), torch.arange(1, width + 1)
    off = torch.maximum((down - height // 2 - 1).abs()[:, None], (across - width // 2 - 1).abs()[None])
    sums = torch.tensor([0.0, *(1 / (most + 1 - k) ** 2 for k in range(most + 1))]).cumsum(0)
    return sums[(most - off + 1).clamp(min=0)]
