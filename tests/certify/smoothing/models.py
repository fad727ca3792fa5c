"""Classifiers whose smoothed versions are known, for the tests of smoothing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from certify.model import Model


def halfspace(x: Tensor) -> Tensor:
    """Two classes split by the first coordinate: class 1 where it is > 0. Its smoothed radius is |x_0|."""
    score = x.flatten(1)[:, 0]
    return torch.stack([-score, score], dim=1)


def thirds(x: Tensor) -> Tensor:
    """Three classes by a nonlinear score: each row's logits are computed from that row alone, exactly."""
    score = torch.sin(3 * x.flatten(1)).sum(1)
    return torch.stack([score, -score, 0.3 - score.abs()], dim=1)


def model_of(
    forward: Callable[[Tensor], Tensor],
    shape: tuple[int, ...] = (2,),
    classes: int = 2,
    valid: tuple[float, float] | None = None,
    digest: str = "0" * 64,
) -> Model:
    """A certify model around a plain function."""
    return Model(
        forward=forward,
        graph=None,
        input_shape=shape,
        num_classes=classes,
        input_range=valid,
        name="toy",
        digest=digest,
    )
