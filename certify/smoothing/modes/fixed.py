"""A number of draws that is fixed in advance, looked at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from certify.errors import UsageError
from certify.smoothing.intervals import lower_bounds
from certify.smoothing.laws.base import NoiseLaw
from certify.smoothing.modes.base import ESTIMATION, Ask, Estimate, Estimation


@dataclass(frozen=True)
class Fixed:
    """``n`` draws and one Clopper-Pearson bound: Cohen, Rosenfeld & Kolter (2019), algorithm CERTIFY.

    Raises ``UsageError`` unless n is an integer >= 1.
    """

    n: int = 100_000

    name: ClassVar[str] = "fixed"
    continuable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_draws("n", self.n)

    def estimate(self, law: NoiseLaw, alpha: float, selected: int) -> Estimation:
        votes = yield Ask(ESTIMATION, self.n)
        hits = int(votes[selected])
        return concluded(law, float(lower_bounds(np.array([hits]), self.n, alpha)[0]), hits, self.n)


def concluded(law: NoiseLaw, p_lower: float, hits: int, n: int, p_other: float | None = None) -> Estimate:
    """The estimate that follows from a lower bound, by default with ``1 - p_lower`` for all other classes."""
    rest = float(np.nextafter(1.0 - p_lower, 1.0))
    p_other = rest if p_other is None else min(rest, p_other)
    radius = float(law.radius(np.array([p_lower]), np.array([p_other]))[0])
    return Estimate(radius, p_lower, p_other, hits, n)


def check_draws(name: str, value: object) -> None:
    """Refuse a number of draws that is no integer >= 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name} is {value!r}; give an integer >= 1")
