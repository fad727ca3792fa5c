"""Normal noise of one fixed covariance, certified in the ellipsoids that have its shape."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from certify.errors import UsageError
from certify.noise import Draws
from certify.smoothing.intervals import FloatArray
from certify.smoothing.laws.base import REAL_INPUTS
from certify.smoothing.laws.gaussian import Gaussian
from certify.smoothing.laws.scale import check_resolution

_STANDARD = Gaussian(1.0)


@dataclass(frozen=True)
class Ellipsoid:
    """Normal noise with covariance L L^T, the same for every input; certifies ellipsoids and L2 balls.

    factor: L, lower triangular with a positive diagonal, (d, d), or (d,) for a diagonal one, whose entries
    are then the standard deviations of the elements in input units. d is the number of elements of one input.

    With z = L^-1 delta the law is Gaussian(1) in other coordinates, so that Cohen, Rosenfeld & Kolter (2019),
    theorem 1, certifies ||L^-1 delta||_2 < (Phi^-1(p_lower) - Phi^-1(p_other)) / 2; see Fischer, Baader &
    Vechev (2020) and Eiras et al. (2022), *ANCER: anisotropic certification via sample-wise volume
    maximization*. A covariance that depends on the input would void it. ``radius`` is that of the largest L2
    ball inside, in input units; ``mahalanobis`` gives the ellipsoid's own.
    The draws are floating-point numbers in x's dtype, taken to be ideal.
    Raises ``UsageError`` for another shape, entries that are not finite, a diagonal that is not > 0, entries
    above it, a factor too close to a singular one, and for inputs of another size.
    """

    factor: Tensor = field(repr=False, compare=False)
    digest: str = field(init=False)
    shortest: float = field(init=False, compare=False)
    """The length in input units of the shortest axis of ||L^-1 delta||_2 <= 1, rounded down."""

    norm: ClassVar[float] = 2
    reference: ClassVar[str] = "Cohen, Rosenfeld & Kolter (2019), theorem 1, in the coordinates L^-1 delta"
    domain: ClassVar[str] = REAL_INPUTS

    def __post_init__(self) -> None:
        _check_factor(self.factor)
        factor = self.factor.detach().to("cpu", torch.float64, copy=True)
        content = f"{tuple(factor.shape)}".encode() + factor.numpy().tobytes()
        object.__setattr__(self, "factor", factor)
        object.__setattr__(self, "digest", hashlib.sha256(content).hexdigest()[:16])
        object.__setattr__(self, "shortest", _shortest_axis(factor))

    def check(self, x: Tensor) -> None:
        check_resolution(x, self.shortest)

    def perturb(self, x: Tensor, draws: Draws) -> Tensor:
        if x.numel() != len(self.factor):
            raise UsageError(
                f"{self!r} is about inputs of {len(self.factor)} elements, not {x.numel()}; "
                "give a factor of the input's size"
            )
        factor = self.factor.to(x)
        noise = draws.normal((x.numel(),))
        noise = noise * factor if factor.dim() == 1 else noise @ factor.T
        return noise.view(-1, *x.shape).add_(x)

    def radius(self, p_lower: FloatArray, p_other: FloatArray) -> FloatArray:
        found = self.shortest * _STANDARD.radius(p_lower, p_other)
        return np.maximum(np.nextafter(found, -np.inf), 0.0)

    def mahalanobis(self, radius: float) -> float:
        """The bound of ||L^-1 delta||_2 that belongs to a ``radius`` in input units, rounded down."""
        return max(float(np.nextafter(radius / self.shortest, -np.inf)), 0.0)


def _check_factor(factor: Tensor) -> None:
    shape = tuple(factor.shape)
    square = len(shape) == 2 and shape[0] == shape[1]
    if not (len(shape) == 1 or square) or factor.numel() == 0 or not factor.is_floating_point():
        raise UsageError(
            f"factor is {factor.dtype} of shape {shape}; give floating-point numbers, (d,) standard "
            "deviations or a lower triangular (d, d)"
        )
    diagonal = factor.diagonal() if square else factor
    if not factor.isfinite().all() or not (diagonal > 0).all():
        raise UsageError("factor must be finite, with a diagonal > 0; torch.linalg.cholesky gives one")
    if square and factor.triu(1).any():
        raise UsageError("factor has entries above its diagonal; torch.linalg.cholesky gives a lower one")


def _shortest_axis(factor: Tensor) -> float:
    """The smallest singular value, lowered by what its computation may be off."""
    if factor.dim() == 1:
        return float(factor.min())
    values = torch.linalg.svdvals(factor)
    # the error of LAPACK's values is a modest multiple of the unit roundoff times the largest of them
    shortest = float(values[-1]) - 8 * len(factor) * 2.0**-53 * float(values[0])
    if not shortest > 0:
        raise UsageError("factor is singular to working precision; raise its smallest standard deviations")
    return shortest
