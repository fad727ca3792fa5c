"""Classifiers whose smoothed versions are known and can be differentiated."""

from __future__ import annotations

import torch
from torch import Tensor

from certify.smoothing import Gaussian, Smoothed
from tests.certify.smoothing.models import model_of

SIGMA = 0.5


def slope(x: Tensor) -> Tensor:
    """Two classes by the sign of the first coordinate: smoothed, the class is lost at exactly |x_0|."""
    score = 4 * x.flatten(1)[:, 0]
    return torch.stack([-score, score], dim=1)


def ripples(x: Tensor) -> Tensor:
    """``slope`` under fast, high waves along the other coordinate, which the noise averages away."""
    z = x.flatten(1)
    score = 2 * z[:, 0] + torch.cos(40 * z[:, 1])
    return torch.stack([-score, score], dim=1)


def smoothed(forward=slope, n0: int = 100, n: int = 2000, valid=None) -> Smoothed:
    return Smoothed(model_of(forward, valid=valid), Gaussian(SIGMA), n0, n)
