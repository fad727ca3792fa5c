"""Nodes whose samples are single numbers, of no axes at all: every method takes them."""

import pytest
import torch
from torch import Tensor, nn

import bounds


class Scalar(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        total = (x.sum(1) * 2 - 1).relu()
        return torch.stack([total, -total + x[:, 0]], 1)


@pytest.mark.parametrize("method", sorted(set(bounds.METHODS) - {"cascade"}))
@pytest.mark.parametrize("level", ["float", "real", "deployed"])
def test_a_scalar_node_is_bounded(method: str, level: str) -> None:
    graph = bounds.trace(Scalar(), torch.zeros(1, 3)).to(torch.float64)
    centre = torch.tensor([[0.1, 0.4, 0.2], [-1.0, 0.0, -1.0]], dtype=torch.float64)
    got = bounds.bound(graph, bounds.Box(centre - 0.3, centre + 0.3), method=method, level=level)
    corners = torch.cartesian_prod(*[torch.tensor([-0.3, 0.3], dtype=torch.float64)] * 3)
    ys = graph((centre[:, None] + corners).flatten(0, 1)).view(2, 8, 2)
    slack = 1e-12 if level == "float" else 0.0
    assert (got.lower <= ys.amin(1) + slack).all() and (got.upper >= ys.amax(1) - slack).all()
    assert (got.upper - got.lower)[:, 0].max() < 2 * 1.8 + 1e-3, "the sum is never wider than before the ReLU"


@pytest.mark.parametrize("method", sorted(set(bounds.METHODS) - {"cascade"}))
def test_a_graph_without_any_bounded_function(method: str) -> None:
    graph = bounds.trace(nn.Flatten(), torch.zeros(1, 2, 3)).to(torch.float64)
    centre = torch.arange(12, dtype=torch.float64).view(2, 2, 3)
    got = bounds.bound(graph, bounds.Box(centre - 1, centre + 1), method=method, level="float")
    torch.testing.assert_close(got.lower, centre.flatten(1) - 1, rtol=0, atol=1e-12)
    torch.testing.assert_close(got.upper, centre.flatten(1) + 1, rtol=0, atol=1e-12)
