"""The checks of a law's scale."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from certify.errors import UsageError


def check_sigma(sigma: float) -> float:
    """The scale as a float, so that 1 and 1.0 have one repr; ``UsageError`` unless it is finite and > 0."""
    if not (math.isfinite(sigma) and sigma > 0):
        raise UsageError(f"sigma is {sigma}; give a finite number > 0 in input units")
    return float(sigma)


def check_resolution(x: Tensor, sigma: float) -> None:
    """Refuse inputs beside which noise of this scale is too coarse in floats to be taken for ideal.

    x: (batch, *shape). Each float next to x must have a chance of at most about 2^-10.
    """
    least = 2.0**10 * torch.finfo(x.dtype).eps * float(x.abs().max())
    if sigma < least:
        raise UsageError(
            f"noise of scale {sigma:g} is lost in the rounding of inputs of size {float(x.abs().max()):g} in "
            f"{x.dtype}; use a scale of at least {least:.1g}, or float64"
        )
