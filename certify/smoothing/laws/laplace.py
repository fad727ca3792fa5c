"""Laplace noise, certified in L1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from certify.noise import Draws
from certify.smoothing.intervals import FloatArray
from certify.smoothing.laws.base import REAL_INPUTS
from certify.smoothing.laws.scale import check_resolution, check_sigma

# The logarithm is good to a few units in the last place; this allows 2^7 of them.
_CUSHION = 2.0**-45


@dataclass(frozen=True)
class Laplace:
    """Independent Laplace noise with standard deviation ``sigma``, in input units; certifies L1 balls.

    radius = b / 2 * (F^-1(p_lower) - F^-1(p_other)), F the distribution function of Laplace's law with scale
    1, b = sigma / sqrt(2). For p_other = 1 - p_lower that is b * log(1 / (2 (1 - p_lower))) (Teng, Lee & Yuan
    2020, *l1 adversarial robustness certificates: a randomized smoothing approach*; Yang et al. 2020, table
    1), for p_lower <= 1/2 it is b / 2 * log(p_lower / p_other) (Lecuyer et al. 2019); in between it is larger
    than the better of both, for along one coordinate half-lines are the worst sets at any p (Neyman &
    Pearson), and coordinates may be shifted one after the other. It is tight for a shift of one coordinate.
    The draws are floating-point numbers in x's dtype, taken to be ideal.
    Raises ``UsageError`` unless sigma is finite and > 0.
    """

    sigma: float

    norm: ClassVar[float] = 1
    reference: ClassVar[str] = "Teng, Lee & Yuan (2020), theorem 1; Yang et al. (2020), table 1"
    domain: ClassVar[str] = REAL_INPUTS

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma", check_sigma(self.sigma))

    @property
    def scale(self) -> float:
        """The mean size of a coordinate's noise, in input units; the law has this scale exactly."""
        return self.sigma / math.sqrt(2.0)

    def check(self, x: Tensor) -> None:
        check_resolution(x, self.sigma)

    def perturb(self, x: Tensor, draws: Draws) -> Tensor:
        centred = draws.uniform(tuple(x.shape)).sub_(0.5)
        size = torch.log(1 - 2 * centred.abs()).mul_(-self.scale)
        return size.copysign_(centred).add_(x)

    def radius(self, p_lower: FloatArray, p_other: FloatArray) -> FloatArray:
        difference = np.nextafter(_quantile(p_lower, -1.0) - _quantile(p_other, 1.0), -np.inf)
        found = np.nextafter(self.scale / 2 * difference, -np.inf, dtype=np.float64)
        return np.maximum(found, 0.0)


def _quantile(p: FloatArray, side: float) -> FloatArray:
    """Laplace's quantile of p at scale 1, a bound from below (side -1) or above (1); infinite at 0 and 1."""
    with np.errstate(divide="ignore"):
        # 1 - p is exact for p >= 1/2
        estimate = np.where(p < 0.5, np.log(2 * p), -np.log(2 * (1 - np.maximum(p, 0.5))))
    cushion = np.where(np.isfinite(estimate), np.abs(estimate) * _CUSHION, 0.0)
    found: FloatArray = estimate + side * cushion
    return found
