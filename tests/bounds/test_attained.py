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
        found = bounds.minimisers(graph, region, spec)
        points = found.points
        assert points.shape == (4, 2, 5)
        exact = bounds.bound(graph, region, spec, "ibp").lower
        assert torch.allclose(found.lower, exact, atol=1e-5)
        for row, each in enumerate(points.unbind(1)):
            assert torch.allclose(spec.evaluate(graph(each))[:, row], exact[:, row], atol=1e-5)
            assert bool(region.contains(region.project(each)).all())
            assert torch.allclose(region.project(each), each, atol=1e-6)


def test_bounds_are_those_of_crown_and_true() -> None:
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3))
    for parameter in module.parameters():
        parameter.data = torch.rand(parameter.shape, generator=generator) - 0.5
    graph = bounds.trace(module, torch.zeros(1, 5))
    region = bounds.Ball(torch.rand(20, 5, generator=generator), 0.3, norm=float("inf"))
    spec = bounds.margins(torch.arange(20) % 3, 3)
    found = bounds.minimisers(graph, region, spec)
    with torch.no_grad():
        crown = bounds.bound(graph, region, spec, "crown").lower
        outputs = [graph(region.project(each)) for each in found.points.unbind(1)]
    assert torch.allclose(found.lower[crown <= 0], crown[crown <= 0], atol=1e-6)
    assert bool((found.lower >= crown - 1e-6).all())  # steps are spared where a row is proved already
    assert all(bool((found.lower <= spec.evaluate(each) + 1e-6).all()) for each in outputs)
    assert bool((crown <= 0).any() & (crown > 0).any())


def test_a_specification_of_another_width_is_refused() -> None:
    graph = bounds.trace(nn.Linear(5, 3), torch.zeros(1, 5))
    region = bounds.Ball(torch.rand(2, 5), 0.1, norm=float("inf"))
    with pytest.raises(InvalidInput):
        bounds.minimisers(graph, region, bounds.margins(torch.tensor([0, 1]), 4))
