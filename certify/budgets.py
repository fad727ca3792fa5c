"""Budgets of a threat that a configuration gives by their ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from certify.errors import UsageError

Budget = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Scale = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_MOST_POINTS = 10_000


@dataclass(frozen=True)
class Spaced:
    """``eps = {first, last, points}``: evenly spaced budgets, both ends included."""

    first: Budget
    last: Budget
    points: Annotated[int, Field(ge=2, le=_MOST_POINTS)]

    def listed(self) -> list[float]:
        """The budgets; rounded to twelve digits, so that 0.1 is 0.1."""
        step = (self.last - self.first) / (self.points - 1)
        return [float(f"{self.first + step * k:.12g}") for k in range(self.points)]


@dataclass(frozen=True)
class Resolved:
    """``eps = {first, last, resolution}``: a curve of this resolution, found by bisection for each sample."""

    first: Budget
    last: Budget
    resolution: Scale

    def listed(self) -> list[float]:
        """The budgets from first on in steps of the resolution, and the last one.

        Raises ``UsageError`` for a range that is none, and for more than 10,000 budgets.
        """
        steps = (self.last - self.first) / self.resolution
        if not 0 < steps < _MOST_POINTS:
            raise UsageError(
                f"threat.eps: {self.first:g} to {self.last:g} by {self.resolution:g} are none, or more than "
                f"{_MOST_POINTS}; let last be larger than first, and the resolution coarser"
            )
        inner = (self.first + self.resolution * k for k in range(math.ceil(steps - 1e-9)))
        return [float(f"{eps:.12g}") for eps in (*inner, self.last)]
