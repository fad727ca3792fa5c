"""Many lines around a scalar function on an interval: its convex hull, or close to it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bounds.interval import Interval
from bounds.kinds import Piece, Pointwise
from bounds.programs.maps import Floats

_FEW = 4  # pieces up to which every edge of the hull is found
# Where between the least and the greatest slope the lines around a curved function lie.
_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_SAME = 1e-9


@dataclass(frozen=True, eq=False)
class Hull:
    """Lines ``side (y - slope z) >= side intercept`` around elements of a pointwise function, (lines,) each.

    element: flat index; side: +1 for a line below, -1 for one above. low, high: per element, between which
    slopes its lines lie; (elements,).
    """

    element: NDArray[np.int64]
    side: Floats
    slope: Floats
    intercept: Floats
    low: Floats
    high: Floats


def hull(op: Pointwise, x: Interval) -> Hull:
    """The lines of one sample's function on x, (1, *shape); advice, as rounding is not accounted for."""
    pieces = op.pieces(x)
    corners = _corners(pieces, x) if 0 < len(pieces) <= _FEW else None
    slopes = _spread(op, x) if corners is None else _chords(corners)
    ends = Interval(x.lower.expand_as(slopes), x.upper.expand_as(slopes))
    found = list[tuple[Tensor, Tensor, Tensor, Tensor]]()
    for side in (+1, -1):
        intercept = op.intercept(ends, slopes, side, rounded=False)
        keep = slopes.isfinite() & intercept.isfinite()
        if corners is not None:
            keep &= _edges(corners, slopes, intercept, side)
        element = keep.reshape(len(keep), -1).nonzero()[:, 1]
        found.append((element, torch.full(element.shape, side), slopes[keep], intercept[keep]))
    at_element, sides, slope, height = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
    low, high = (np.full(x.lower.numel(), end) for end in (math.inf, -math.inf))
    np.minimum.at(low, at_element, slope)
    np.maximum.at(high, at_element, slope)
    nothing = low > high
    low[nothing] = high[nothing] = 0.0
    return Hull(at_element, sides.astype(np.float64), slope, height, low, high)


@dataclass(frozen=True, eq=False)
class _Corners:
    """The ends of all pieces on an interval, and the values there; NaN where a piece is not on it."""

    point: Tensor
    value: Tensor


def _corners(pieces: Sequence[Piece], x: Interval) -> _Corners:
    points, values = [], []
    for piece in pieces:
        start, end = torch.maximum(piece.start, x.lower), torch.minimum(piece.end, x.upper)
        for end_point in (start, end):
            z = torch.where(start <= end, end_point, math.nan)
            points.append(z)
            values.append(piece.slope * z + piece.shift)
    return _Corners(torch.cat(points), torch.cat(values))


def _chords(corners: _Corners) -> Tensor:
    """Slopes between any two corners, ascending, and zero; NaN for those that are there already."""
    pairs = list(itertools.combinations(range(len(corners.point)), 2))
    first, second = (torch.tensor(index) for index in zip(*pairs, strict=True))
    run = corners.point[second] - corners.point[first]
    slopes = (corners.value[second] - corners.value[first]) / torch.where(run > 0, run, math.nan)
    return _apart(torch.cat([slopes, torch.zeros_like(slopes[:1])]))


def _spread(op: Pointwise, x: Interval) -> Tensor:
    """Slopes from the least to the greatest useful one, those of the usual lines, and zero."""
    low, high = op.slope_range(x)
    between = [low + (high - low) * share for share in _SHARES]
    return _apart(torch.cat([*between, *op.slopes(x), torch.zeros_like(low)]))


def _apart(slopes: Tensor) -> Tensor:
    slopes = slopes.sort(0).values  # NaN comes last
    repeated = slopes.diff(dim=0) <= 1e-12 * (1 + slopes[1:].abs())
    return torch.cat([slopes[:1], torch.where(repeated, math.nan, slopes[1:])])


def _edges(corners: _Corners, slopes: Tensor, intercept: Tensor, side: int) -> Tensor:
    """Which lines touch the function at two points, as edges of its hull do; all where it has but one."""
    line = slopes[:, None] * corners.point + intercept[:, None]
    gap = side * (corners.value - line)
    touching = gap <= _SAME * (1 + corners.value.abs() + line.abs())  # false where NaN
    far = torch.where(touching, corners.point, -math.inf).amax(1)
    near = torch.where(touching, corners.point, math.inf).amin(1)
    whole = corners.point.nan_to_num(-math.inf).amax(0) > corners.point.nan_to_num(math.inf).amin(0)
    return (far > near) | (~whole & (slopes == 0))
