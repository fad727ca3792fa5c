"""What is known of one sample's radius, and which eps to ask about next."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

from certify.contradiction import Side

_LEAST = 2.0**-40  # of the largest eps: nobody looks nearer


@dataclass(eq=False)
class Bracket:
    """Two ends that close in place: ``lower`` is proved, at ``upper`` the decision fails.

    most: the largest eps that is asked about. tolerance: as a share of the larger end. point: the failure.
    proof: of the lower end. in_vain: the eps at which neither was found in time.
    """

    most: float
    tolerance: float
    point: Tensor
    lower: float = 0.0
    upper: float = math.inf
    proof: Side | None = None
    in_vain: list[float] = field(default_factory=list)

    @property
    def edge(self) -> float:
        """The least eps that is known to fail, or else the largest."""
        return min(self.upper, self.most)

    @property
    def is_open(self) -> bool:
        """Whether there is anything left to ask."""
        low, high = self._gap
        wide = self._apart(self.lower, low) or self._apart(high, self.edge)
        return (self._untried or wide) and low > _LEAST * self.most

    @property
    def rounds(self) -> int:
        """How many halvings are needed, about."""
        share = (self.edge - self.lower) / self.edge
        return 1 + max(1, math.ceil(math.log2(max(share, self.tolerance) / self.tolerance)))

    def next(self) -> float:
        """The largest eps once, then the middle of what is open below, then above what was asked in vain."""
        low, high = self._gap
        if self._untried:
            return self.most
        if self._apart(self.lower, low):
            return (self.lower + low) / 2
        return (high + self.edge) / 2

    @property
    def _gap(self) -> tuple[float, float]:
        """The least and the largest eps between the ends asked in vain; the edge without any."""
        between = [eps for eps in self.in_vain if self.lower < eps <= self.edge] or [self.edge]
        return min(between), max(between)

    @property
    def _untried(self) -> bool:
        return self.lower < self.edge < self.upper and self.most not in self.in_vain

    def _apart(self, low: float, high: float) -> bool:
        return low < (1 - self.tolerance) * high
