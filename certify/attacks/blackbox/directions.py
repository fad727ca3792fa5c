"""Random directions to ask at, white or smooth as images are, and what decisions there tell of a boundary."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from certify.attacks.base import PerSample
from certify.attacks.blackbox.search import across
from certify.attacks.blackbox.view import Decisions, View

_ROWS = 32  # directions of one pass


@dataclass(frozen=True, eq=False)
class Noise:
    """Directions of each sample's own generator, normal in the space of the lowest frequencies.

    subspace: the share of each side's frequencies of a cosine transform (type II), for inputs with at least
    three axes, whose last two are an image's sides; other inputs, and a share of 1, get white noise.
    """

    view: View
    subspace: float

    def gaussian(self, k: int) -> Tensor:
        """Normal noise; (batch, k, *shape)."""
        white: Tensor = self.view.normal(k)
        if self.subspace >= 1 or white.dim() < 5:
            return white
        rows, columns = (_cosines(n, self.subspace, white) for n in white.shape[-2:])
        coefficients = white[..., : len(rows), : len(columns)]
        smooth: Tensor = rows.T @ coefficients @ columns
        return smooth

    def unit(self, k: int) -> Tensor:
        """Directions of length 1, uniform on the sphere of the subspace; (batch, k, *shape)."""
        noise = self.gaussian(k)
        length: Tensor = noise.flatten(2).norm(dim=2)
        unit: Tensor = noise / length.view(*length.shape, *[1] * (noise.dim() - 2))
        return unit


def _cosines(size: int, share: float, like: Tensor) -> Tensor:
    """The lowest orthonormal cosines of a side, (frequencies, size)."""
    count = max(1, math.ceil(share * size))
    place = torch.arange(size, dtype=torch.float64) + 0.5
    waves = torch.cos(torch.arange(count, dtype=torch.float64)[:, None] * place * (math.pi / size))
    length: Tensor = waves.norm(dim=1, keepdim=True)
    return (waves / length).to(like)


@dataclass(frozen=True, eq=False)
class Probes(PerSample):
    """Decisions at random directions from a point, as sums: they add up.

    broken, every: sums of those directions that were broken, and of all, (batch, *shape). hits, total: their
    numbers, (batch,).
    """

    broken: Tensor
    every: Tensor
    hits: Tensor
    total: Tensor

    @classmethod
    def none(cls, points: Tensor) -> Probes:
        """Before the first."""
        zero = points.new_zeros(len(points))
        return cls(torch.zeros_like(points), torch.zeros_like(points), zero, zero)

    def __add__(self, other: Probes) -> Probes:
        return Probes(
            self.broken + other.broken,
            self.every + other.every,
            self.hits + other.hits,
            self.total + other.total,
        )

    @property
    def normal(self) -> Tensor:
        """The boundary's unit normal into what is broken, (batch, *shape); 0 where nothing was seen.

        The mean direction weighted by decisions less the mean decision, which lowers its variance (Chen,
        Jordan & Wainwright 2020, equation 16); where all decisions are one, these are the weights.
        """
        mean = self.hits / self.total.clamp(min=1)
        weighted = self.broken - across(mean, self.every) * self.every
        sure = across((mean == 1).to(mean) - (mean == 0).to(mean), self.every)
        normal = torch.where(sure == 0, weighted, sure * self.every)
        length = normal.flatten(1).norm(dim=1).clamp(min=torch.finfo(normal.dtype).tiny)
        return normal / across(length, normal)


def probe(view: Decisions, points: Tensor, radius: Tensor, count: int, subspace: float) -> Probes:
    """Ask at ``count`` random points on small spheres around the points of all samples.

    points: (batch, *shape) in a wide dtype. radius: (batch,), of the spheres. What the valid range leaves of
    a direction is what counts.
    """
    noise, seen = Noise(view, subspace), Probes.none(points)
    length = radius.to(points.dtype).view(-1, *[1] * points.dim())
    for first in range(0, count, _ROWS):
        there = points[:, None] + length * noise.unit(min(_ROWS, count - first))
        there = view.valid(there)
        broken = view.broken(there).to(points.dtype)
        u = (there.to(points.dtype) - points[:, None]) / length
        asked = torch.full_like(broken[:, 0], broken.shape[1])
        seen = seen + Probes(torch.einsum("nk,nk...->n...", broken, u), u.sum(1), broken.sum(1), asked)
    return seen


def probe_radius(view: Decisions, away: Tensor) -> Tensor:
    """How far to ask around points at the boundary that are ``away``, both (batch,), from their starts.

    ``away / d`` in d dimensions: both radii of Chen, Jordan & Wainwright (2020, section 3.4), sqrt(d) d^-1.5
    and d d^-2. At least so far that the network's dtype does not round the directions away.
    """
    count = view.start[0].numel()
    largest = view.start.abs().flatten(1).amax(1).double() + away
    return torch.maximum(away / count, 2 * torch.finfo(view.start.dtype).eps * math.sqrt(count) * largest)
