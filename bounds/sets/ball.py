"""Lp balls, as they are or cut by the range of valid inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bounds.errors import InvalidInput
from bounds.interval import Interval
from bounds.rounding import down, up
from bounds.sets.base import InputSet, check_finite, check_range, clamp_inside, cushioned, rooms
from bounds.sets.box import Box
from bounds.sets.clipped import best_step, gain, nearest_step


@dataclass(frozen=True, eq=False)
class Ball(InputSet):
    """All points with ``||z - center||_norm <= eps`` and, with ``clip=(low, high)``, inside that range.

    Everything is exact for the intersection of ball and range, not only for each of them.
    center: (batch, *shape), inside ``clip``; eps >= 0 in the units of the input; norm: inf, 2 or 1.
    Raises ``InvalidInput`` for eps < 0 or not finite, another norm, NaN or Inf, a center outside ``clip``.
    """

    center: Tensor
    eps: float
    norm: float = math.inf
    clip: tuple[float, float] | None = None
    _box: Interval = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_finite("the center of a ball", self.center)
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise InvalidInput(f"eps is {self.eps}; a radius is a finite number >= 0")
        if self.norm not in (1, 2, math.inf):
            raise InvalidInput(f"norm {self.norm} is not known; use 1, 2 or inf")
        if self.clip is not None:
            check_range(self.center, self.clip)
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
        """Exact: the dual norm where no range cuts the ball, else the best multiplier of its constraint."""
        if self.is_box:
            return self._box.support(a, samples, rounded)
        rows, centre = a.flatten(2), self.center.flatten(1)[samples]
        above, below = self._rooms(centre)
        if bool((torch.minimum(above, below) >= self.eps).all()):
            more = scale = self.eps * (rows.abs().amax(2) if self.norm == 1 else rows.norm(dim=2))
        else:
            more, scale = gain(rows, above, below, self.eps, self.norm)
        value = (rows @ centre[:, :, None]).squeeze(2) + more
        if rounded:
            scale = scale + (rows.abs() @ centre.abs()[:, :, None]).squeeze(2)
        return cushioned(value, scale, rows.shape[2] + 10, rounded, floor=self.eps)

    def _rooms(self, centre: Tensor) -> tuple[Tensor, Tensor]:
        """How far each coordinate may go up and down, at most ``eps``; rounded up."""
        if self.clip is None:
            return torch.full_like(centre, self.eps), torch.full_like(centre, self.eps)
        above, below = rooms(centre, self.clip)
        return above.clamp(max=self.eps), below.clamp(max=self.eps)

    def argmax(self, a: Tensor) -> Tensor:
        if self.is_box:
            return self.project(Box(self._box.lower, self._box.upper).argmax(a))
        rows, centre = a.flatten(1).double(), self.center.flatten(1).double()
        above, below = self._rooms(centre)
        size = rows.abs()
        size = size / size.amax(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
        step = best_step(size, torch.where(rows > 0, above, below), self.eps, self.norm)
        return self._pull_in((step * rows.sign()).to(self.center.dtype))

    def project(self, z: Tensor) -> Tensor:
        if self.is_box:
            delta = (self._valid(z) - self.center).flatten(1).clamp(-self.eps, self.eps)
            return self._pull_in(delta)
        centre = self.center.flatten(1).double()
        delta = z.flatten(1).double() - centre
        above, below = self._rooms(centre)
        step = nearest_step(delta.abs(), torch.where(delta > 0, above, below), self.eps, self.norm)
        return self._pull_in((step * delta.sign()).to(z.dtype))

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
        return self._valid(flat.view_as(self.center))

    def _valid(self, z: Tensor) -> Tensor:
        return z if self.clip is None else clamp_inside(z, self.clip)

    def contains(self, z: Tensor) -> Tensor:
        z64, centre = z.double().flatten(1), self.center.double().flatten(1)
        inside = torch.ones(len(z64), dtype=torch.bool, device=z.device)
        if self.clip is not None:
            inside &= ((z64 >= self.clip[0]) & (z64 <= self.clip[1])).all(1)
        if self.norm == math.inf:
            return inside & _within(z64, centre, self.eps).all(1)
        distance: Tensor = torch.linalg.vector_norm(z64 - centre, ord=self.norm, dim=1)
        return inside & (distance * (1.0 + (z64.shape[1] + 4) * 2.0**-53) <= self.eps)

    def to(self, dtype: torch.dtype) -> Ball:
        return Ball(self.center.to(dtype), self.eps, self.norm, self.clip)

    def __getitem__(self, samples: slice | Tensor) -> Ball:
        return Ball(self.center[samples], self.eps, self.norm, self.clip)


def _within(z: Tensor, centre: Tensor, eps: float) -> Tensor:
    """Whether ``|z - centre| <= eps`` holds exactly, though the difference rounds (Knuth's two-sum)."""
    difference = z - centre
    back = difference - z
    error = (z - (difference - back)) - (centre + back)
    return (difference.abs() < eps) | ((difference.abs() == eps) & (error * difference.sign() <= 0))
