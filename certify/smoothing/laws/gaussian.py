"""Normal noise, certified in L2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from certify.noise import Draws
from certify.smoothing.intervals import FloatArray, normal_quantile_above, normal_quantile_below
from certify.smoothing.laws.base import REAL_INPUTS
from certify.smoothing.laws.scale import check_resolution, check_sigma


@dataclass(frozen=True)
class Gaussian:
    """Independent normal noise with standard deviation ``sigma``, in input units; certifies L2 balls.

    Cohen, Rosenfeld & Kolter (2019), *Certified adversarial robustness via randomized smoothing*, theorem 1
    radius = sigma / 2 * (Phi^-1(p_lower) - Phi^-1(p_other)). The draws are floating-point numbers in x's
    dtype, taken to be ideal.
    Raises ``UsageError`` unless sigma is finite and > 0.
    """

    sigma: float

    norm: ClassVar[float] = 2
    reference: ClassVar[str] = "Cohen, Rosenfeld & Kolter (2019), theorem 1"
    domain: ClassVar[str] = REAL_INPUTS

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma", check_sigma(self.sigma))

    def check(self, x: Tensor) -> None:
        check_resolution(x, self.sigma)

    def perturb(self, x: Tensor, draws: Draws) -> Tensor:
        return torch.add(x, draws.normal(tuple(x.shape)), alpha=self.sigma)

    def radius(self, p_lower: FloatArray, p_other: FloatArray) -> FloatArray:
        upper, lower = normal_quantile_below(p_lower), normal_quantile_above(p_other)
        difference = np.nextafter(upper - lower, -np.inf)
        found = np.nextafter(self.sigma / 2 * difference, -np.inf, dtype=np.float64)
        return np.maximum(found, 0.0)
