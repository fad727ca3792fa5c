"""Input regions. A region is known by its support function; certifiers and attacks share these values.

``support(a) = max a.z`` is all that a linear bound needs; ``argmax``, ``project`` and ``contains`` are all
that an attack needs; ``box`` is all that interval analysis needs. Regions are batched on axis 0.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from bounds.errors import InvalidInput
from bounds.interval import Interval
from bounds.rounding import U64, down, gamma, up


class InputSet(ABC):
    """A bounded set of inputs per sample."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one point, without the batch axis."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @property
    @abstractmethod
    def is_box(self) -> bool:
        """Whether the set equals its box, so that interval analysis loses nothing at the input."""

    @abstractmethod
    def box(self) -> Interval:
        """The smallest box around the set; rounded outward, so that it never misses a point."""

    @abstractmethod
    def support(self, a: Tensor, samples: Tensor, rounded: bool = False) -> Tensor:
        """An upper bound of ``max a . z`` over the sets of some samples.

        a: (samples, rows, *shape) for the sets of ``samples`` (samples,); returns (samples, rows). With
        ``rounded`` (float64 only) the result includes the rounding error of its own computation.
        """

    @abstractmethod
    def argmax(self, a: Tensor) -> Tensor:
        """A point of each sample's set that maximises ``a . z``; a and result: (batch, *shape)."""

    @abstractmethod
    def project(self, z: Tensor) -> Tensor:
        """A nearest point of each sample's set; (batch, *shape)."""

    @abstractmethod
    def contains(self, z: Tensor) -> Tensor:
        """Whether each point lies in its sample's set, without tolerance, in float64; (batch,)."""

    @abstractmethod
    def to(self, dtype: torch.dtype) -> Self:
        """The same set in another dtype; rounded outward where that is narrower."""

    @abstractmethod
    def __getitem__(self, samples: slice | Tensor) -> Self:
        """The sets of some samples."""


def _check_finite(name: str, x: Tensor) -> None:
    if not x.dtype.is_floating_point:
        raise InvalidInput(f"{name} has dtype {x.dtype}; give a floating-point tensor")
    if not x.isfinite().all():
        raise InvalidInput(f"{name} holds NaN or Inf; remove those samples or give finite values")
    if x.dim() < 2:
        raise InvalidInput(f"{name} has shape {tuple(x.shape)}; give a batch of points, batch on axis 0")


@dataclass(frozen=True, eq=False)
class Box(InputSet):
    """All points with ``lower <= z <= upper``, element by element.

    lower, upper: (batch, *shape), finite, of one dtype.
    Raises ``InvalidInput`` for shapes that differ, NaN or Inf, or lower > upper.
    """

    lower: Tensor
    upper: Tensor

    def __post_init__(self) -> None:
        _check_finite("the lower corner of a box", self.lower)
        _check_finite("the upper corner of a box", self.upper)
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

    @property
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


@dataclass(frozen=True, eq=False)
class Ball(InputSet):
    """All points with ``||z - center||_norm <= eps`` and, with ``clip=(low, high)``, inside that range.

    center: (batch, *shape), inside ``clip``; eps >= 0 in the units of the input; norm: inf, 2 or 1.
    Raises ``InvalidInput`` for eps < 0 or not finite, another norm, NaN or Inf, a center outside ``clip``.
    """

    center: Tensor
    eps: float
    norm: float = math.inf
    clip: tuple[float, float] | None = None
    _box: Interval = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_finite("the center of a ball", self.center)
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise InvalidInput(f"eps is {self.eps}; a radius is a finite number >= 0")
        if self.norm not in (1, 2, math.inf):
            raise InvalidInput(f"norm {self.norm} is not known; use 1, 2 or inf")
        if self.clip is not None:
            low, high = self.clip
            outside = ((self.center < low) | (self.center > high)).flatten(1).any(1)
            if outside.any():
                raise InvalidInput(
                    f"sample {int(outside.nonzero()[0])} lies outside the input range [{low:g}, {high:g}]"
                )
        object.__setattr__(self, "_box", self._make_box())

    def _make_box(self) -> Interval:
        """The box, rounded outward wherever ``center - eps`` or ``center + eps`` is not exact."""
        centre = self.center.double()
        lower, upper = centre, centre
        if self.eps:
            lower, upper = down(centre - self.eps), up(centre + self.eps)
        if self.clip is not None:
            lower, upper = lower.clamp(min=self.clip[0]), upper.clamp(max=self.clip[1])
        return Interval(lower, upper).outward(self.center.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.center.shape[1:])

    def __len__(self) -> int:
        return len(self.center)

    @property
    def is_box(self) -> bool:
        return self.norm == math.inf or self.eps == 0

    def box(self) -> Interval:
        return self._box

    def support(self, a: Tensor, samples: Tensor, rounded: bool = False) -> Tensor:
        """The smaller of two upper bounds: over the ball (dual norm) and over the clipped box."""
        over_box = self._box.support(a, samples, rounded)
        if self.is_box:
            return over_box
        rows, centre = a.flatten(2), self.center.flatten(1)[samples][:, :, None]
        dual = rows.abs().amax(2) if self.norm == 1 else rows.norm(dim=2)
        over_ball = (rows @ centre).squeeze(2) + self.eps * dual
        if rounded:
            n = rows.shape[2]
            scale = (rows.abs() @ centre.abs()).squeeze(2) + self.eps * dual
            over_ball = up(over_ball + up(gamma(n + 6, U64) * scale) + n * 2.0**-500)
        return torch.minimum(over_box, over_ball)

    def argmax(self, a: Tensor) -> Tensor:
        """Exact without ``clip``; with it, a point of the set that is exact for inf and close for 2 and 1."""
        if self.is_box:
            return self.project(Box(self._box.lower, self._box.upper).argmax(a))
        rows = a.flatten(1)
        if self.norm == 2:
            scale = rows.norm(dim=1, keepdim=True).clamp_min(torch.finfo(a.dtype).tiny)
            step = self.eps * rows / scale
        else:
            room = torch.where(a > 0, self._box.upper - self.center, self.center - self._box.lower).flatten(1)
            step = _spend(rows, room, self.eps)
        return self.project(self.center + step.view_as(a))

    def project(self, z: Tensor) -> Tensor:
        """Clip, then ball; for 2 and 1 the result is in the set, and nearest without ``clip``."""
        clipped = z if self.clip is None else z.clamp(*self.clip)
        delta = (clipped - self.center).flatten(1)
        if self.is_box:
            delta = delta.clamp(-self.eps, self.eps)
        elif self.norm == 2:
            length = delta.double().norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
            delta = (delta * (self.eps / length).clamp(max=1.0)).to(delta.dtype)
        else:
            delta = _project_l1(delta, self.eps)
        return self._pull_in(delta)

    def _pull_in(self, delta: Tensor) -> Tensor:
        """Shrink a step by a few rounding units until the float point lies in the set without tolerance.

        ``centre + delta`` rounds, and may round out of the set. A point that shrinking does not bring in
        (a set smaller than the float grid around its centre) becomes the centre.
        """
        centre = self.center.flatten(1)
        shrink = torch.finfo(delta.dtype).eps
        z = self._move(centre + delta)
        for _ in range(20):
            outside = ~self.contains(z)
            if not outside.any():
                return z
            delta = torch.where(outside[:, None], delta * (1 - shrink), delta)
            z = self._move(centre + delta)
            shrink *= 2
        inside = self.contains(z).view(-1, *[1] * len(self.shape))
        return torch.where(inside, z, self.center)

    def _move(self, flat: Tensor) -> Tensor:
        z = flat.view_as(self.center)
        return z if self.clip is None else z.clamp(*self.clip)

    def contains(self, z: Tensor) -> Tensor:
        z64, centre = z.double().flatten(1), self.center.double().flatten(1)
        inside = torch.ones(len(z64), dtype=torch.bool, device=z.device)
        if self.clip is not None:
            inside &= ((z64 >= self.clip[0]) & (z64 <= self.clip[1])).all(1)
        distance = torch.linalg.vector_norm(z64 - centre, ord=self.norm, dim=1)
        slack = 1.0 if self.norm == math.inf else 1.0 + (z64.shape[1] + 4) * 2.0**-53
        inside &= distance * slack <= self.eps
        return inside

    def to(self, dtype: torch.dtype) -> Ball:
        return Ball(self.center.to(dtype), self.eps, self.norm, self.clip)

    def __getitem__(self, samples: slice | Tensor) -> Ball:
        return Ball(self.center[samples], self.eps, self.norm, self.clip)


def _spend(a: Tensor, room: Tensor, eps: float) -> Tensor:
    """Spend an L1 budget on the coordinates with the largest |a|, each up to its room; exact."""
    order = a.abs().argsort(dim=1, descending=True)
    sorted_room = room.gather(1, order)
    before = sorted_room.cumsum(1) - sorted_room
    spent = (eps - before).clamp(min=0).minimum(sorted_room)
    return torch.zeros_like(a).scatter(1, order, spent) * a.sign()


def _project_l1(delta: Tensor, eps: float) -> Tensor:
    """The nearest point of the L1 ball (Duchi et al. 2008, figure 1)."""
    size = delta.abs()
    ordered = size.sort(dim=1, descending=True).values
    count = torch.arange(1, delta.shape[1] + 1, device=delta.device, dtype=delta.dtype)
    excess = (ordered.cumsum(1) - eps) / count
    last = (ordered > excess).sum(1, keepdim=True).clamp(min=1) - 1
    threshold = excess.gather(1, last).clamp(min=0)
    return torch.where(
        size.sum(1, keepdim=True) <= eps, delta, delta.sign() * (size - threshold).clamp(min=0)
    )
