"""Where linear bounds are taken."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import bounds
from bounds.errors import InvalidInput


def test_points_of_an_affine_network_attain_its_exact_bounds() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(5, 3)
    graph = bounds.trace(layer, torch.zeros(1, 5))
    for norm in (1, 2, float("inf")):
        region = bounds.Ball(torch.rand(4, 5, generator=generator), 0.3, norm=norm)
        spec = bounds.margins(torch.tensor([0, 1, 2, 0]), 3)
        points = bounds.minimisers(graph, region, spec)
        assert points.shape == (4, 2, 5)
        exact = bounds.bound(graph, region, spec, "ibp").lower
        for row, each in enumerate(points.unbind(1)):
            assert torch.allclose(spec.evaluate(graph(each))[:, row], exact[:, row], atol=1e-5)
            assert bool(region.contains(region.project(each)).all())
            assert torch.allclose(region.project(each), each, atol=1e-6)


def test_a_specification_of_another_width_is_refused() -> None:
    graph = bounds.trace(nn.Linear(5, 3), torch.zeros(1, 5))
    region = bounds.Ball(torch.rand(2, 5), 0.1, norm=float("inf"))
    with pytest.raises(InvalidInput):
        bounds.minimisers(graph, region, bounds.margins(torch.tensor([0, 1]), 4))
