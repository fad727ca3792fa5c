"""Laws of noise: how an input is perturbed, and what the votes over perturbed copies certify."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from certify.errors import UsageError
from certify.smoothing.intervals import FloatArray, normal_quantile_below


class NoiseLaw(Protocol):
    """A law of perturbed inputs with its theorem: a frozen dataclass, whose ``repr`` keys the noise."""

    @property
    def norm(self) -> float:
        """The norm of the certified ball: 2, 1, inf or 0."""

    @property
    def reference(self) -> str:
        """Authors, year and theorem that the radius follows."""

    def perturb(self, x: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Independent perturbed copies of one input of any shape: (count, *x.shape), in x's dtype.

        Uses no randomness but the generator's, which is on x's device. Not clipped to any range: the
        theorem is about the law as it is.
        """

    def radius(self, p_lower: FloatArray) -> FloatArray:
        """Radii from lower bounds of the top class's probability, in input units, rounded down.

        The smoothed classifier keeps its label at every distance strictly below the formula's value. 0
        where p_lower <= 1/2.
        """


@dataclass(frozen=True)
class Gaussian:
    """Independent normal noise with standard deviation ``sigma``, in input units; certifies L2 balls.

    Cohen, Rosenfeld & Kolter (2019), *Certified adversarial robustness via randomized smoothing*, theorem 1
    with the runner-up bounded by 1 - p_lower: radius = sigma * Phi^-1(p_lower). The draws are those of the
    device's generator in x's dtype, taken to be ideal.
    Raises ``UsageError`` unless sigma is finite and > 0.
    """

    sigma: float

    norm: ClassVar[float] = 2
    reference: ClassVar[str] = "Cohen, Rosenfeld & Kolter (2019), theorem 1"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise UsageError(f"sigma is {self.sigma}; give a finite number > 0 in input units")
        object.__setattr__(self, "sigma", float(self.sigma))  # 1 and 1.0 have one repr

    def perturb(self, x: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """``x`` plus noise, (count, *x.shape)."""
        noise = torch.randn((count, *x.shape), generator=generator, device=x.device, dtype=x.dtype)
        return noise.mul_(self.sigma).add_(x)

    def radius(self, p_lower: FloatArray) -> FloatArray:
        """L2 radii, rounded down; 0 where p_lower <= 1/2."""
        product = self.sigma * normal_quantile_below(p_lower)
        return np.nextafter(product, 0.0, dtype=np.float64)


LAWS: dict[str, Callable[[float], NoiseLaw]] = {"gaussian": Gaussian}
