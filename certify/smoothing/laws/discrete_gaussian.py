"""Normal noise on 8-bit images, sampled from a law that is known exactly; certified in L2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from certify.errors import UsageError
from certify.noise import Draws
from certify.smoothing.exact.images import TOP, levels, pixels
from certify.smoothing.exact.table import Table, table
from certify.smoothing.intervals import FloatArray, normal_quantile_above, normal_quantile_below

_ROOT_TWO_PI = 2.6  # it is 2.507; the rest makes up for rounding where it is used
# The floats nearest to two 255ths are apart by at least this share of their distance.
_CLOSER = 1 - 2.0**-22
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class DiscreteGaussian:
    """Normal noise with standard deviation ``sigma``, rounded to 255ths and clipped to [0, 1]; 8-bit images.

    The theorem is Cohen, Rosenfeld & Kolter (2019), theorem 1, for ideal normal noise; its base classifier is
    the network behind two fixed steps: v -> clip(round(v), 0, 255) for real v, in units of 1/255, and then
    v -> the float nearest to v / 255. Both are functions of the noisy input alone, and the theorem asks for
    no more, whether the input is an image or lies between images. At an image v,
    round(v + 255 sigma g) = v + round(255 sigma g): whole numbers are drawn and added, and no float is
    rounded anywhere. Noise in floating point can betray its input by its last bits (Jin, Ohrimenko &
    Rubinstein 2022, *Getting a-round guarantees*).

    What is drawn has probabilities k / 2^60 (``exact.Table``). Over an input of up to ``elements`` numbers
    its law is within ``total_variation`` of the ideal one, so much p_lower loses and p_other gains. The way
    back, at the perturbed image, costs radius as much again: it holds for the classifier that votes under the
    sampled law and for the one under the ideal law. Remaining premise: the words are fair independent bits.
    Raises ``UsageError`` unless sigma is finite and > 0 and elements an integer >= 1.
    """

    sigma: float
    elements: int = 1 << 20

    norm: ClassVar[float] = 2
    reference: ClassVar[str] = "Cohen, Rosenfeld & Kolter (2019), theorem 1, after rounding to 8 bits"
    domain: ClassVar[str] = "8-bit images"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise UsageError(f"sigma is {self.sigma}; give a finite number > 0 in input units")
        if not isinstance(self.elements, int) or isinstance(self.elements, bool) or self.elements < 1:
            raise UsageError(f"elements is {self.elements!r}; give an integer >= 1")
        object.__setattr__(self, "sigma", float(self.sigma))  # 1 and 1.0 have one repr

    def table(self, device: torch.device = _CPU) -> Table:
        """The law of one number's noise in units of 1/255, before it is added and clipped."""
        return table(Fraction(self.sigma) * TOP, device)

    @property
    def total_variation(self) -> float:
        """At least the distance max_A |P_sampled[A] - P_ideal[A]| of the two laws of a whole input."""
        return math.nextafter(float(self.table().total_variation * self.elements), math.inf)

    def check(self, x: Tensor) -> None:
        """Images are checked, exactly, where they are perturbed."""

    def perturb(self, x: Tensor, draws: Draws) -> Tensor:
        """8-bit images again. Raises ``UsageError`` where x is none or has more than ``elements`` numbers."""
        size = x.numel()
        if size > self.elements:
            raise UsageError(f"the input has {size} elements; give DiscreteGaussian elements={size} or more")
        whole = pixels(x).flatten().short()
        noise = self.table(x.device).numbers(draws.words(size)[:, :size])
        found = noise.add_(whole).clamp_(0, TOP).int().flatten()
        return levels(x.dtype, x.device).index_select(0, found).view(draws.count, *x.shape)

    def radius(self, p_lower: FloatArray, p_other: FloatArray) -> FloatArray:
        """As the protocol says, under the sampled law and under the ideal one.

        At distance s * sigma the theorem leaves the ideal probabilities Phi(a - s) and Phi(b + s). Under the
        sampled law either errs by the total variation t, so that the label stays while their difference
        exceeds 2t. With m = (a + b) / 2 and w = (a - b) / 2 - s it is the normal mass within w of m, for
        w <= 1 at least 2 w phi(|m| + 1): w = t / phi(|m| + 1) is enough. Distances are those of the floats.
        """
        t = self.total_variation
        a = normal_quantile_below(np.nextafter(p_lower - t, -np.inf))
        b = normal_quantile_above(np.nextafter(p_other + t, np.inf))
        certain = np.isfinite(a) & np.isfinite(b) & (a > b)
        a, b = np.where(certain, a, 0.0), np.where(certain, b, 0.0)
        reach = np.abs(a + b) / 2 + 1
        with np.errstate(over="ignore"):  # infinitely much is no radius
            width = t * _ROOT_TWO_PI * np.exp(reach * reach / 2)
        half = np.nextafter(np.nextafter(a - b, -np.inf) / 2 - width, -np.inf)
        found = np.nextafter(self.sigma * half * _CLOSER, -np.inf, dtype=np.float64)
        return np.where(certain & (width <= 1), np.maximum(found, 0.0), 0.0)
