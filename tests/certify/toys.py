"""Small models whose robustness is known or can be found by brute force, for the tests of deciders."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

import bounds
from bounds.ops.linear import Linear
from bounds.ops.relu import LeakyReLU
from certify.model import Model


def model_of(
    forward: Callable[[Tensor], Tensor],
    shape: tuple[int, ...] = (2,),
    classes: int = 2,
    valid: tuple[float, float] | None = None,
    graph: bounds.Graph | None = None,
) -> Model:
    """A certify model around a function or a graph."""
    return Model(forward, graph, shape, classes, valid, name="toy", digest="0" * 64)


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Fixed Gaussian numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def uniform(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Fixed numbers in [0, 1)."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def mlp(sizes: tuple[int, ...], seed: int = 0, valid: tuple[float, float] | None = None) -> Model:
    """A ReLU network with fixed random weights, in the dtype of its input."""
    builder = bounds.Builder(sizes[:1])
    here = builder.input
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        weight = normal(fan_out, fan_in, seed=seed + 2 * layer) * math.sqrt(2 / fan_in)
        bias = normal(fan_out, seed=seed + 2 * layer + 1) / 4
        if layer:
            here = builder.apply(LeakyReLU(), [here])
        here = builder.apply(Linear(), [here], (weight, bias))
    graph = builder.build(here)
    return model_of(graph, sizes[:1], sizes[-1], valid, graph)


def right_answers(model: Model, x: Tensor) -> Tensor:
    """Labels for which the model is right everywhere."""
    with torch.no_grad():
        return model(x).argmax(1)


def grid_margins(model: Model, region: bounds.InputSet, labels: Tensor, steps: int = 201) -> Tensor:
    """The smallest margin on a fine grid of each two-dimensional region: at least the true minimum."""
    box = region.box()
    t = torch.linspace(0, 1, steps, dtype=box.lower.dtype)
    unit = torch.cartesian_prod(t, t)
    worst = []
    for i in range(len(region)):
        points = box.lower[i] + unit * (box.upper[i] - box.lower[i])
        sample = torch.full((len(points),), i)
        points = region[sample].project(points)
        spec = bounds.margins(labels[i].expand(len(points)), model.num_classes).to(points.dtype)
        worst.append(spec.worst(spec.evaluate(model(points))).min())
    return torch.stack(worst)
