"""Sets in which a part of each sample may be anything valid: a few elements or pixels, or a patch."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from bounds.errors import InvalidInput
from bounds.interval import Interval
from bounds.sets.base import (
    InputSet,
    check_finite,
    check_range,
    clamp_inside,
    cushioned,
    farthest,
    rooms,
)
from bounds.sets.box import Box


@dataclass(frozen=True, eq=False)
class Parts(InputSet):
    """Base of sets where the elements of one of several parts may change freely within ``clip``.

    center: (batch, *shape), inside ``clip``, which is finite. Subclasses say which parts there are; each
    element's gain is >= 0 and independent of the others, so all comes down to the part with most gain.
    """

    center: Tensor
    clip: tuple[float, float]

    @abstractmethod
    def _most(self, gains: Tensor) -> Tensor:
        """The largest sum of gains over a part; (rows, *shape), all >= 0 -> (rows,)."""

    @abstractmethod
    def _best(self, gains: Tensor) -> Tensor:
        """A mask of the elements of a part with the largest sum of gains; (rows, *shape)."""

    @abstractmethod
    def _covers(self, changed: Tensor) -> Tensor:
        """Whether one part holds all elements of a mask; (batch, *shape) -> (batch,)."""

    @abstractmethod
    def _reached(self) -> Tensor:
        """A mask of the elements that belong to any part; broadcasts with (batch, *shape)."""

    def _check(self, name: str) -> None:
        check_finite(f"the center of {name}", self.center)
        low, high = self.clip
        if not (math.isfinite(low) and math.isfinite(high)):
            raise InvalidInput(f"{name} needs a finite input range, not [{low:g}, {high:g}]")
        check_range(self.center, self.clip)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.center.shape[1:])

    def __len__(self) -> int:
        return len(self.center)

    @property
    def is_convex(self) -> bool:
        return self.is_box

    def box(self) -> Interval:
        centre, reached = self.center.double(), self._reached()
        lower, upper = (torch.where(reached, end, centre) for end in self.clip)
        return Interval(lower, upper).outward(self.center.dtype)

    def support(self, a: Tensor, samples: Tensor, rounded: bool = False) -> Tensor:
        """Exact: the value at the center and the largest gain of a part."""
        if self.is_box:
            return self.box().support(a, samples, rounded)
        centre = self.center[samples][:, None]
        above, below = rooms(centre, self.clip)
        gains = a * farthest(a.detach(), above, below)
        most = self._most(gains.flatten(0, 1)).view(a.shape[:2])
        rows, flat = a.flatten(2), centre.flatten(2).mT
        value = (rows @ flat).squeeze(2) + most
        if rounded:
            most = most + (rows.abs() @ flat.abs()).squeeze(2)
        return cushioned(value, most, rows.shape[2] + 8, rounded)

    def argmax(self, a: Tensor) -> Tensor:
        above, below = rooms(self.center, self.clip)
        best = self._best(a * farthest(a, above, below)) & (a != 0)
        far = clamp_inside(a.sign() * torch.inf, self.clip)
        return torch.where(best, far, self.center)

    def project(self, z: Tensor) -> Tensor:
        wide, centre = z.double(), self.center.double()
        valid = clamp_inside(z, self.clip)
        gains = (wide - centre).square() - (wide - valid.double()).square()
        return torch.where(self._best(gains.clamp(min=0)), valid, self.center)

    def contains(self, z: Tensor) -> Tensor:
        wide = z.double()
        valid = ((wide >= self.clip[0]) & (wide <= self.clip[1])).flatten(1).all(1)
        return valid & self._covers(wide != self.center.double())

    def to(self, dtype: torch.dtype) -> Self:
        return replace(self, center=self.center.to(dtype))

    def __getitem__(self, samples: slice | Tensor) -> Self:
        return replace(self, center=self.center[samples])


@dataclass(frozen=True, eq=False)
class L0Ball(Parts):
    """All points that differ from ``center`` in at most ``eps`` elements and lie in the range ``clip``.

    center: (batch, *shape), inside ``clip``, finite. eps: how many, an integer >= 0. With ``pixels`` all
    channels at one position count once; the channel axis is the first of ``shape``.
    Raises ``InvalidInput`` for another eps, NaN or Inf, a center outside ``clip``, pixels without channels.
    """

    eps: int
    pixels: bool = False

    def __post_init__(self) -> None:
        self._check("an L0 ball")
        if self.eps != int(self.eps) or self.eps < 0:
            raise InvalidInput(f"eps is {self.eps}; an L0 ball takes a number of elements, an integer >= 0")
        if self.pixels and len(self.shape) < 2:
            raise InvalidInput(f"points of shape {self.shape} have no channels; leave pixels out")

    @property
    def _count(self) -> int:
        """How many elements or pixels there are."""
        return math.prod(self.shape[1:] if self.pixels else self.shape)

    @property
    def is_box(self) -> bool:
        return self.eps == 0 or self.eps >= self._count

    def _units(self, gains: Tensor) -> Tensor:
        return (gains.sum(1) if self.pixels else gains).flatten(1)

    def _most(self, gains: Tensor) -> Tensor:
        return self._units(gains).topk(min(int(self.eps), self._count), dim=1).values.sum(1)

    def _best(self, gains: Tensor) -> Tensor:
        units = self._units(gains)
        chosen = units.topk(min(int(self.eps), self._count), dim=1).indices
        mask = torch.zeros_like(units, dtype=torch.bool).scatter(1, chosen, value=True)
        shape = (1, *gains.shape[2:]) if self.pixels else gains.shape[1:]
        return mask.view(-1, *shape).expand_as(gains)

    def _covers(self, changed: Tensor) -> Tensor:
        units = changed.any(1) if self.pixels else changed
        return units.flatten(1).sum(1) <= self.eps

    def _reached(self) -> Tensor:
        return torch.tensor(self.eps > 0, device=self.center.device)


@dataclass(frozen=True, eq=False)
class Patch(Parts):
    """All points that differ from ``center`` only inside one rectangle, at any of several places.

    center: (batch, *channels, height, width), inside ``clip``, finite. size: height and width of the
    rectangle. locations: rows and columns of its upper left corner, the same for all samples; by default
    every place in the image. ``Patch.at`` gives the box for a patch at one known place per sample.
    Raises ``InvalidInput`` for a patch that does not fit, NaN or Inf, a center outside ``clip``.
    """

    size: tuple[int, int]
    locations: Sequence[tuple[int, int]] | None = None

    def __post_init__(self) -> None:
        self._check("a patch set")
        _check_patch(self.shape, self.size)
        if self.locations is not None:
            if len(self.locations) == 0:
                raise InvalidInput("a patch set without locations is empty; give at least one")
            _check_corners(torch.tensor(self.locations), self.shape, self.size)

    @staticmethod
    def at(center: Tensor, size: tuple[int, int], clip: tuple[float, float], corners: Tensor) -> Box:
        """The box of a patch whose upper left corner is known; corners: (batch, 2), integers."""
        check_finite("the center of a patch", center)
        check_range(center, clip)
        _check_patch(tuple(center.shape[1:]), size)
        if corners.shape != (len(center), 2):
            raise InvalidInput(
                f"corners have shape {tuple(corners.shape)}; give a row and a column for each sample"
            )
        _check_corners(corners, tuple(center.shape[1:]), size)
        inside = _window(center, size, corners[:, 0], corners[:, 1])
        lower, upper = (torch.where(inside, end, center.double()) for end in clip)
        box = Interval(lower, upper).outward(center.dtype)
        return Box(box.lower, box.upper)

    def corners(self) -> Tensor:
        """Row and column of the upper left corner at each place; (places, 2)."""
        return torch.stack(self._corners(self.center.device), dim=1)

    def gains(self, a: Tensor) -> Tensor:
        """How much ``a . z`` can grow from the center by a patch at each place; (batch, places)."""
        above, below = rooms(self.center, self.clip)
        return self._at_places(a * farthest(a, above, below))

    @property
    def is_box(self) -> bool:
        places = math.prod(n - k + 1 for n, k in zip(self.shape[-2:], self.size, strict=True))
        return (places if self.locations is None else len(set(self.locations))) == 1

    def _sums(self, gains: Tensor) -> Tensor:
        """The sum over each window; (rows, *shape) -> (rows, places down, places across)."""
        plane = gains.reshape(len(gains), -1, *self.shape[-2:]).sum(1)
        return plane.unfold(1, self.size[0], 1).sum(-1).unfold(2, self.size[1], 1).sum(-1)

    def _corners(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Rows and columns of all places."""
        if self.locations is None:
            down, across = (n - k + 1 for n, k in zip(self.shape[-2:], self.size, strict=True))
            places = torch.arange(down * across, device=device)
            return places // across, places % across
        top, left = torch.tensor(self.locations, device=device).unbind(1)
        return top, left

    def _at_places(self, gains: Tensor) -> Tensor:
        """The sum over the window at each place; (rows, places)."""
        top, left = self._corners(gains.device)
        return self._sums(gains)[:, top, left]

    def _most(self, gains: Tensor) -> Tensor:
        return self._at_places(gains).amax(1)

    def _best(self, gains: Tensor) -> Tensor:
        best = self._at_places(gains).argmax(1)
        top, left = self._corners(gains.device)
        return _window(gains, self.size, top[best], left[best])

    def _covers(self, changed: Tensor) -> Tensor:
        plane = changed.reshape(len(changed), -1, *self.shape[-2:]).any(1).long()
        return self._at_places(plane).amax(1) == plane.flatten(1).sum(1)

    def _reached(self) -> Tensor:
        top, left = self._corners(self.center.device)
        one = self.center[:1].expand(len(top), *self.shape)
        return _window(one, self.size, top, left).any(0)


def _window(like: Tensor, size: tuple[int, int], top: Tensor, left: Tensor) -> Tensor:
    """A mask of one rectangle per row; like: (rows, ..., height, width), top and left: (rows,)."""
    height, width = like.shape[-2:]
    ends = [
        (torch.arange(n, device=like.device) >= first[:, None])
        & (torch.arange(n, device=like.device) < first[:, None] + k)
        for n, k, first in ((height, size[0], top), (width, size[1], left))
    ]
    mask = ends[0][:, :, None] & ends[1][:, None, :]
    return mask.view(-1, *[1] * (like.dim() - 3), height, width).expand_as(like)


def _check_patch(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    if len(shape) < 2:
        raise InvalidInput(f"points of shape {shape} are no images; a patch needs a height and a width")
    if not (1 <= size[0] <= shape[-2] and 1 <= size[1] <= shape[-1]):
        raise InvalidInput(
            f"a patch of {size[0]} x {size[1]} does not fit into an image of {shape[-2]} x {shape[-1]}"
        )


def _check_corners(corners: Tensor, shape: tuple[int, ...], size: tuple[int, int]) -> None:
    """Raises ``InvalidInput`` for a corner where the patch leaves the image; corners: (places, 2)."""
    if corners.dtype.is_floating_point or corners.dim() != 2 or corners.shape[1] != 2:
        raise InvalidInput("the location of a patch is the row and the column of its upper left corner")
    last = torch.tensor([n - k for n, k in zip(shape[-2:], size, strict=True)], device=corners.device)
    outside = ((corners < 0) | (corners > last)).any(1)
    if outside.any():
        place = tuple(corners[outside][0].tolist())
        raise InvalidInput(f"a patch of {size[0]} x {size[1]} at {place} leaves the image {shape[-2:]}")
