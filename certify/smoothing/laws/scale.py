"""The check of a law's scale."""

from __future__ import annotations

import math

from certify.errors import UsageError


def check_sigma(sigma: float) -> float:
    """The scale as a float, so that 1 and 1.0 have one repr; ``UsageError`` unless it is finite and > 0."""
    if not (math.isfinite(sigma) and sigma > 0):
        raise UsageError(f"sigma is {sigma}; give a finite number > 0 in input units")
    return float(sigma)
