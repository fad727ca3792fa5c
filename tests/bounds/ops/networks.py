"""One operator behind a random layer, and the points of a region that come closest to its bounds."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

import bounds
from bounds.graph import Builder, Ref
from bounds.kinds import Operator, Tensors
from bounds.linear import Shape
from bounds.ops.linear import Linear
from bounds.ops.shape import Reshape
from bounds.ops.slicing import Slice

WIDTH = 6


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def behind_a_layer(op: Operator, ins: Sequence[Shape], params: Tensors, seed: int) -> bounds.Graph:
    """The operator on linear functions of six numbers, so that its inputs hang together."""
    total = sum(prod(shape) for shape in ins)
    builder = Builder((WIDTH,))
    weight = draw(total, WIDTH, seed=seed) / WIDTH**0.5
    here = builder.apply(Linear(), (builder.input,), (weight, 0.5 * draw(total, seed=seed + 1)))
    refs: list[Ref] = []
    start = 0
    for shape in ins:
        part = builder.apply(Slice(0, range(start, start + prod(shape))), (here,))
        refs.append(builder.apply(Reshape(shape), (part,)))
        start += prod(shape)
    return builder.build(builder.apply(op, refs, params))


def extremes(graph: bounds.Graph, ball: bounds.Ball, seed: int) -> tuple[Tensor, Tensor]:
    """The least and the greatest outputs found in the ball: samples, corners, signed gradient steps."""
    g = torch.Generator().manual_seed(seed)
    box = ball.box()
    low, high = box.lower[:, None], box.upper[:, None]
    t = torch.rand(len(ball), 200, *ball.shape, generator=g, dtype=low.dtype)
    t[:, ::2] = t[:, ::2].round()
    points = low + (high - low) * t
    outputs = graph(points.flatten(0, 1)).reshape(len(ball), 200, -1)
    least, greatest = outputs.amin(1), outputs.amax(1)
    for side in (-1, 1):
        for j in range(outputs.shape[2]):
            best = outputs[:, :, j].mul(side).argmax(1)
            x = points[torch.arange(len(ball)), best]
            for _ in range(10):
                x = x.detach().requires_grad_()
                (gradient,) = torch.autograd.grad(graph(x).flatten(1)[:, j].sum() + 0 * x.sum(), x)
                step = side * gradient.sign() * (high - low)[:, 0] / 10
                x = torch.minimum(torch.maximum(x.detach() + step, low[:, 0]), high[:, 0])
                found = graph(x).detach().flatten(1)
                least, greatest = torch.minimum(least, found), torch.maximum(greatest, found)
    return least.view(-1, *graph.output_shape), greatest.view(-1, *graph.output_shape)
