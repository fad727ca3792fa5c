"""Networks with a planted counterexample that attacks miss, trained for it.

After SoundnessBench (Zhou et al. 2024): a point is trained to break the property, while everything that
gradient attacks find around it is trained to keep it. Where attacks find nothing, a verifier that says
"verified" would not be caught by them; here it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import bounds
from bounds.ops.linear import Linear
from bounds.ops.relu import LeakyReLU

_STEPS, _RATE = 400, 1e-3
_REACH = 0.5  # of the planted spike, in the 1-norm, before training
_WALKS, _WALK_STEPS = 32, 15  # of the attack that the training defends against
_KEPT = 8  # attacks whose points are trained on
_BELOW, _ABOVE = 0.1, 0.2  # how far the planted point misses, and everything else overfulfils, the property


@dataclass(frozen=True, eq=False)
class Planted:
    """A network over the box [-1, 1]^n with the property output > 0, and a point where it is broken."""

    graph: bounds.Graph
    region: bounds.Box
    spec: bounds.Spec
    point: Tensor


def planted(seed: int, inputs: int = 8, width: int = 32) -> Planted:
    """A network of two hidden layers, trained from random weights and a narrow spike; some seconds."""
    g = torch.Generator().manual_seed(seed)
    # numbers with few digits: the point stays the same in every dtype
    point = (torch.randint(-14, 15, (inputs,), generator=g) / 16)[None]
    leaves = [w.requires_grad_() for w in _begun(g, point, width)]
    optimiser = torch.optim.Adam(leaves, lr=_RATE)
    found = point[:0]
    for _ in range(_STEPS):
        starts = 2 * torch.rand(_WALKS, inputs, generator=g) - 1
        found = torch.cat([walked(leaves, starts, _WALK_STEPS), starts, found])[: 2 * _KEPT * _WALKS]
        optimiser.zero_grad()
        kept, broken = _values(leaves, found), _values(leaves, point)
        missing = (_ABOVE - kept).clamp(min=0)
        loss = missing.sum() / (missing > 0).sum().clamp(min=1) + (_BELOW + broken).clamp(min=0).mean()
        torch.autograd.backward(loss)
        optimiser.step()
    return _of([w.detach() for w in leaves], point)


def _begun(g: torch.Generator, point: Tensor, width: int) -> list[Tensor]:
    """Random weights beside a spike at the point: |x_i - p_i| in the first layer, their sum in the second."""
    n = point.shape[1]
    sizes = itertools.pairwise([n, 2 * n + width, 1 + width, 1])
    first, b1, second, b2, last, b3 = (
        w
        for fan_in, fan_out in sizes
        for w in (torch.randn(fan_out, fan_in, generator=g) * (2 / fan_in) ** 0.5, torch.zeros(fan_out))
    )
    eye = torch.eye(n)
    first[: 2 * n], b1[: 2 * n] = torch.cat([eye, -eye]), torch.cat([-point[0], point[0]])
    second[0, : 2 * n], second[0, 2 * n :], b2[0] = -1 / _REACH, 0.0, 1.0
    last[0, 0], last[0, 1:], b3[0] = -3.0, 0.3 * last[0, 1:], 1.0
    return [first, b1, second, b2, last, b3]


def missed(net: Planted, walks: int, seed: int) -> float:
    """The least output that gradient steps from random points find; > 0 where they find no counterexample."""
    g = torch.Generator().manual_seed(seed)
    starts = 2 * torch.rand(walks, len(net.point), generator=g) - 1
    weights = [p for node in net.graph.nodes for p in node.params]
    return float(net.graph(walked(weights, starts, 40)).min())


def walked(weights: Sequence[Tensor], x: Tensor, steps: int) -> Tensor:
    """Where signed gradient steps against the property lead."""
    for step in range(steps):
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(_values(weights, x).sum(), x)
        x = (x - 0.3 * (1 - step / steps) * slope.sign()).clamp(-1, 1)
    return x.detach()


def _values(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    for weight, bias in _pairs(weights[:-2]):
        x = torch.relu(x @ weight.T + bias)
    return x @ weights[-2].T + weights[-1]


def _of(weights: Sequence[Tensor], point: Tensor) -> Planted:
    builder = bounds.Builder((point.shape[1],))
    here = builder.input
    for weight, bias in _pairs(weights):
        here = builder.apply(Linear(), [here], (weight, bias))
        here = builder.apply(LeakyReLU(), [here]) if len(weight) > 1 else here
    box = bounds.Box(-torch.ones_like(point).double(), torch.ones_like(point).double())
    spec = bounds.Spec(torch.ones(1, 1, 1).double(), torch.zeros(1, 1).double())
    return Planted(builder.build(here), box, spec, point[0])


def _pairs(weights: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(weights[::2], weights[1::2], strict=True)
