"""Uniform noise in a cube, certified in L1 and in Linf.

A shift by delta moves the cube of half-width ``lam`` off a share 1 - prod_i (1 - |delta_i| / (2 lam))+ of
itself. At worst all that is lost voted for the class and all that is gained votes for one other class, so the
label stays while that share is below (p_lower - p_other) / 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from certify.errors import UsageError
from certify.noise import Draws
from certify.smoothing.intervals import FloatArray
from certify.smoothing.laws.base import REAL_INPUTS
from certify.smoothing.laws.scale import check_resolution, check_sigma

# log1p and expm1 are good to a few units in the last place; this allows 2^7 of them.
_CUSHION = 2.0**-45


@dataclass(frozen=True)
class Uniform:
    """Independent uniform noise with standard deviation ``sigma``, in input units; certifies L1 balls.

    Yang, Duan, Hu, Salman, Razenshteyn & Li (2020), *Randomized smoothing of all shapes and sizes*, table 1:
    radius = lam * (p_lower - p_other), which is tight. The noise lies in [-lam, lam], lam = sqrt(3) sigma.
    The draws are floating-point numbers in x's dtype, taken to be ideal.
    Raises ``UsageError`` unless sigma is finite and > 0.
    """

    sigma: float

    norm: ClassVar[float] = 1
    reference: ClassVar[str] = "Yang et al. (2020), table 1, uniform noise against L1"
    domain: ClassVar[str] = REAL_INPUTS

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma", check_sigma(self.sigma))

    @property
    def lam(self) -> float:
        """The half-width of the cube, in input units; the law is uniform on this one exactly."""
        return math.sqrt(3.0) * self.sigma

    def check(self, x: Tensor) -> None:
        check_resolution(x, self.sigma)

    def perturb(self, x: Tensor, draws: Draws) -> Tensor:
        return draws.uniform(tuple(x.shape)).sub_(0.5).mul_(2 * self.lam).add_(x)

    def radius(self, p_lower: FloatArray, p_other: FloatArray) -> FloatArray:
        found = np.nextafter(self.lam * _lead(p_lower, p_other), -np.inf, dtype=np.float64)
        return np.maximum(found, 0.0)


@dataclass(frozen=True)
class UniformLinf:
    """Uniform noise like ``Uniform``'s, on inputs of ``dimension`` elements; certifies Linf balls.

    Yang et al. (2020), table 1: radius = 2 lam * (1 - (1 - (p_lower - p_other) / 2)^(1/d)), which is tight.
    It shrinks as 1/d, while normal noise gives sigma / sqrt(d): choose ``Gaussian`` for images.
    Raises ``UsageError`` unless sigma is finite and > 0 and dimension an integer >= 1, and for inputs of
    another size.
    """

    sigma: float
    dimension: int

    norm: ClassVar[float] = math.inf
    reference: ClassVar[str] = "Yang et al. (2020), table 1, uniform noise against Linf"
    domain: ClassVar[str] = REAL_INPUTS

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma", check_sigma(self.sigma))
        if not isinstance(self.dimension, int) or isinstance(self.dimension, bool) or self.dimension < 1:
            raise UsageError(
                f"dimension is {self.dimension!r}; give the number of elements of one input, >= 1"
            )

    @property
    def lam(self) -> float:
        """The half-width of the cube, in input units; the law is uniform on this one exactly."""
        return math.sqrt(3.0) * self.sigma

    def check(self, x: Tensor) -> None:
        check_resolution(x, self.sigma)

    def perturb(self, x: Tensor, draws: Draws) -> Tensor:
        if x.numel() != self.dimension:
            raise UsageError(
                f"{self!r} is about inputs of {self.dimension} elements, not {x.numel()}; "
                f"give dimension={x.numel()}"
            )
        return draws.uniform(tuple(x.shape)).sub_(0.5).mul_(2 * self.lam).add_(x)

    def radius(self, p_lower: FloatArray, p_other: FloatArray) -> FloatArray:
        kept = np.log1p(-_lead(p_lower, p_other) / 2) / self.dimension
        found: FloatArray = -2 * self.lam * np.expm1(kept) * (1 - _CUSHION)
        return np.maximum(found, 0.0)


def _lead(p_lower: FloatArray, p_other: FloatArray) -> FloatArray:
    """How far the class leads, rounded down, within [0, 1]."""
    return np.clip(np.nextafter(p_lower - p_other, -np.inf), 0.0, 1.0)
