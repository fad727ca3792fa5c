"""Interval analysis by itself uses memory again; that must not show."""

import pytest
import torch
from torch import Tensor, nn

import bounds
from bounds.propagate.crown import forward_facts
from bounds.propagate.problem import Problem
from bounds.rounding import Level


class Branches(nn.Module):
    """Views of one value, taken before others use it; a sum of a value with itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 4), nn.Linear(4, 4)
        self.last = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x.flatten(1))
        view = y.view(-1, 2, 2)
        rest = torch.relu(y)
        twice = self.second(rest + rest)
        parts = [view.flatten(1), rest, torch.relu(twice), (-view).flatten(1)]
        return self.last(torch.relu(torch.cat(parts, 1)))


class Reversed(Branches):
    """Views that are used last; a value minus itself."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.flatten(1)
        rest = torch.relu(self.first(y))
        other = self.first(y)
        twice = self.second(torch.relu(rest.view(-1, 4)) + rest) + (other - other)
        return self.last(torch.cat([twice, rest, torch.relu(twice), self.second(rest).relu().view(-1, 4)], 1))


@pytest.mark.parametrize("module", [Branches, Reversed])
@pytest.mark.parametrize("level", [Level.FLOAT, Level.REAL, Level.DEPLOYED])
def test_no_value_is_overwritten_that_is_needed(module: type[nn.Module], level: Level) -> None:
    """Beside the analysis that keeps every value, and the region as it was."""
    torch.manual_seed(3)
    net = module().double().requires_grad_(False)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    region = bounds.Box(x - 0.3, x + 0.2)
    graph = bounds.trace(net, x[:1])
    before = [p.clone() for node in graph.nodes for p in node.params]
    with torch.no_grad():
        found = bounds.bound(graph, region, method="ibp", level=level)
        facts = forward_facts(Problem(graph.expanded(), region, level, 2**28), tighten=False, relaxed=False)
    kept = facts[-1].interval
    torch.testing.assert_close(found.lower, kept.lower, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.upper, kept.upper, rtol=1e-12, atol=1e-12)
    assert torch.equal(region.lower, x - 0.3) and torch.equal(region.upper, x + 0.2)
    params = [p for node in graph.nodes for p in node.params]
    assert all(torch.equal(a, b) for a, b in zip(before, params, strict=True))
