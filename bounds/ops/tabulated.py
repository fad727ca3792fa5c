"""Piecewise functions whose derivative has no closed inverse: it is looked up and refined."""

from __future__ import annotations

import functools
import itertools
import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.piecewise import Piecewise

_CELLS = 4096
_STEPS = 3


@dataclass(frozen=True)
class Tabulated(Piecewise):
    """Tangent points by a table of the derivative and a few secant steps: to some 1e-13 in the slope."""

    @property
    @abstractmethod
    def reach(self) -> float:
        """How far from zero the derivative still changes by more than rounding."""

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        points, derivatives = _table(self, piece, slope.dtype, slope.device)
        cell = torch.searchsorted(derivatives, slope.contiguous()).clamp(1, _CELLS)
        (a, b), (at_a, at_b) = ((t[cell - 1], t[cell]) for t in (points, derivatives))
        pace = (b - a) / torch.where(at_b > at_a, at_b - at_a, math.inf)
        least, most = torch.minimum(a, b), torch.maximum(a, b)
        point, found = a, at_a
        for _ in range(_STEPS + 1):
            point = torch.minimum(torch.maximum(point + (slope - found) * pace, least), most)
            found = self.derivative(point)
        return point


@functools.lru_cache(maxsize=64)
def _table(op: Tabulated, piece: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Points of a curved piece and their derivatives, ascending in the derivative.

    The points crowd towards both ends of the piece, where a derivative that is extreme there is flat.
    """
    ends = list(itertools.pairwise((-math.inf, *op.breaks, math.inf)))[piece]
    low, high = (min(max(end, -op.reach), op.reach) for end in ends)
    share = (1 - torch.cos(torch.linspace(0, math.pi, _CELLS + 1, dtype=torch.float64))) / 2
    points = low + (high - low) * share
    derivatives = op.derivative(points)
    if op.curvature[piece] < 0:
        points, derivatives = points.flip(0), derivatives.flip(0)
    derivatives = derivatives.cummax(0).values
    return points.to(device, dtype), derivatives.to(device, dtype)
