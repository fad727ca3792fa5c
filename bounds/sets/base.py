"""What every input region can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor

from bounds.errors import InvalidInput
from bounds.interval import Interval
from bounds.rounding import U64, down, gamma, up

# Stands for infinity in products that must not become NaN.
ENDLESS = {torch.float16: 2.0**14, torch.bfloat16: 2.0**100, torch.float32: 2.0**100, torch.float64: 2.0**900}


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

    @property
    def is_convex(self) -> bool:
        """Whether the way between two points of the set lies in it."""
        return True

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


def check_finite(name: str, x: Tensor) -> None:
    """Raises ``InvalidInput`` unless ``x`` is a batch of finite floating-point numbers."""
    if not x.dtype.is_floating_point:
        raise InvalidInput(f"{name} has dtype {x.dtype}; give a floating-point tensor")
    if not x.isfinite().all():
        raise InvalidInput(f"{name} holds NaN or Inf; remove those samples or give finite values")
    if x.dim() < 2:
        raise InvalidInput(f"{name} has shape {tuple(x.shape)}; give a batch of points, batch on axis 0")


def check_range(center: Tensor, clip: tuple[float, float]) -> None:
    """Raises ``InvalidInput`` unless each center lies in the range ``clip``."""
    low, high = clip
    outside = ((center < low) | (center > high)).flatten(1).any(1)
    if outside.any():
        raise InvalidInput(
            f"sample {int(outside.nonzero()[0])} lies outside the input range [{low:g}, {high:g}]"
        )


def clamp_inside(z: Tensor, clip: tuple[float, float]) -> Tensor:
    """The nearest points in the range that the dtype of ``z`` can express."""
    ends = torch.tensor(clip, dtype=torch.float64)
    low, high = ends.to(z.dtype)
    low = up(low) if low.double() < ends[0] else low
    high = down(high) if high.double() > ends[1] else high
    return z.clamp(float(low), float(high))


def rooms(center: Tensor, clip: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """How far each coordinate may go up and down within the range; rounded up, but 0 stays 0."""
    above, below = clip[1] - center, center - clip[0]
    return torch.where(above > 0, up(above), 0), torch.where(below > 0, up(below), 0)


def farthest(a: Tensor, above: Tensor, below: Tensor) -> Tensor:
    """Per element the step within its room that gains most, upwards where ``a`` > 0."""
    if float(torch.maximum(above.max(), below.max())) > ENDLESS[a.dtype] ** 0.2:
        return torch.where(a > 0, above, -below)
    return torch.clamp(a * ENDLESS[a.dtype], -below, above)  # the same, but for gains that do not count; fast


def cushioned(value: Tensor, scale: Tensor, terms: int, rounded: bool, floor: float = 1.0) -> Tensor:
    """``value`` with what rounding may have cost it, if ``rounded``.

    scale: the sum of the magnitudes of what was summed; terms: how many roundings a summand goes through;
    floor: the largest factor that an underflow may have been multiplied by.
    """
    if not rounded:
        return value
    return up(value + up(gamma(terms, U64) * scale) + terms * (1 + floor) * 2.0**-500)
