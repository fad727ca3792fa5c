"""Gradients of bounds with respect to a module's parameters, against finite differences."""

import math

import pytest
import torch
from torch import Tensor, nn

import bounds

LABELS = torch.tensor([0, 2, 1])


def module(seed: int) -> nn.Sequential:
    """A double-precision network with convolution, running statistics and two kinds of activation."""
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(27, 6),
        nn.Tanh(),
        nn.Linear(6, 3),
    )
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g) * p[0].numel() ** -0.5)
    return net.double().eval()


def worst_margins(graph: bounds.Graph, ball: bounds.Ball, method: str) -> Tensor:
    lower = bounds.bound(graph, ball, bounds.margins(LABELS, 3), method, level="float").lower
    return (lower * torch.linspace(1, 2, 6, dtype=torch.float64).view(3, 2)).sum()


@pytest.mark.parametrize("norm", [2, math.inf])
@pytest.mark.parametrize("method", ["ibp", "forward", "crown-ibp"])
def test_gradients_are_finite_differences(method: str, norm: float) -> None:
    """Along a random direction of every parameter of its own; bounds are smooth almost everywhere."""
    g = torch.Generator().manual_seed(1)
    net = module(0)
    graph = bounds.trace(net, torch.zeros(1, 1, 5, 5, dtype=torch.float64))
    ball = bounds.Ball(torch.rand(3, 1, 5, 5, generator=g, dtype=torch.float64), 0.1, norm, clip=(0, 1))
    parameters = list(net.parameters())
    gradients = torch.autograd.grad(worst_margins(graph, ball, method), parameters)
    step = 1e-5
    for parameter, gradient in zip(parameters, gradients, strict=True):
        direction = torch.randn(parameter.shape, generator=g, dtype=torch.float64)
        values = []
        with torch.no_grad():
            for sign in (1, -2, 1):
                parameter.add_(direction, alpha=sign * step)
                values.append(float(worst_margins(graph, ball, method)))
        slope = (values[0] - values[1]) / (2 * step)
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-3, abs=1e-4)
        assert gradient.abs().max() > 0


@pytest.mark.parametrize("method", ["ibp", "crown-ibp"])
def test_training_by_bounds_proves_what_was_not_proved(method: str) -> None:
    """Three images with one bright row each."""
    net = module(3)
    graph = bounds.trace(net, torch.zeros(1, 1, 5, 5, dtype=torch.float64))
    images = torch.zeros(3, 1, 5, 5, dtype=torch.float64)
    images[torch.arange(3), 0, torch.arange(3) * 2] = 1.0
    ball = bounds.Ball(images, 0.1, clip=(0, 1))
    spec = bounds.margins(LABELS, 3)
    before = bounds.bound(graph, ball, spec, "crown", level="real").lower
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(100):
        optimiser.zero_grad()
        lower = bounds.bound(graph, ball, spec, method, level="float").lower
        (-lower).clamp(min=-0.3).sum().backward()
        optimiser.step()
    after = bounds.bound(graph, ball, spec, "crown", level="real").lower
    assert (before <= 0).any() and (after > 0).all()


def test_proofs_carry_no_gradient() -> None:
    net = module(0)
    graph = bounds.trace(net, torch.zeros(1, 1, 5, 5, dtype=torch.float64))
    ball = bounds.Ball(torch.rand(3, 1, 5, 5, dtype=torch.float64), 0.1)
    assert not bounds.bound(graph, ball, method="ibp", level="real").lower.requires_grad


def test_a_graph_follows_its_module_to_another_dtype() -> None:
    """``module.float()`` replaces the data of its parameters in place, after the graph has been used."""
    net = module(0)
    graph = bounds.trace(net, torch.zeros(1, 1, 5, 5, dtype=torch.float64))
    ball = bounds.Ball(torch.rand(2, 1, 5, 5, dtype=torch.float64), 0.1)
    wide = bounds.bound(graph, ball, method="ibp", level="float").lower
    net.float()
    torch.testing.assert_close(bounds.bound(graph, ball, method="ibp", level="float").lower, wide)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.data = parameter.data * 0
    assert not bounds.bound(graph, ball, method="ibp", level="float").lower.any()
