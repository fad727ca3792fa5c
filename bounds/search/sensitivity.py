"""Which inputs the lines of a relaxation owe their losses to."""

from __future__ import annotations

import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.kinds import Affine, Bilinear, Pointwise, Tensors
from bounds.propagate.dual import Pass
from bounds.propagate.facts import Planes
from bounds.relaxation import Lines


def losses(op: Pointwise, x: Interval, around: Lines, a: Tensor) -> Tensor:
    """What the line that a row takes at each neuron may lose, where the function turns; like ``x``.

    a: the row's coefficients of the function's values.
    """
    at = op.split(x)
    f = op.function(at)
    above = around.upper_slope * at + around.upper_intercept - f
    below = f - around.lower_slope * at - around.lower_intercept
    return a.clamp(min=0) * below.abs() + (-a).clamp(min=0) * above.abs()


def owed(last: Pass, row: Tensor, inputs: Tensor) -> Tensor:
    """How much of what the lines lose is owed to the width of each input; (domains, inputs).

    What a line loses grows with the width of what enters its neuron. That width has shares: of each input,
    how far the neuron moves, through the middles of all lines before it, while the input runs over its own
    width. row: (domains,) the one that counts; inputs: (domains, inputs) elements of the flattened input.
    """
    graph, facts, shape = last.graph, last.facts, inputs.shape
    box = last.region.box()
    width = (box.upper - box.lower).flatten(1).gather(1, inputs)
    moves = [_units(inputs, width, box.lower)]
    found = torch.zeros_like(width)
    for index, node in enumerate(graph.nodes[1:], start=1):
        op, xs, here = node.op, tuple(moves[i] for i in node.inputs), facts[index]
        if isinstance(op, Affine):
            origin = op.value(tuple(torch.zeros_like(x[:1]) for x in xs), node.params)
            moves.append(op.value(xs, node.params) - origin)
        elif isinstance(op, Pointwise) and here.lines is not None:
            moved, x, around = xs[0].view(*shape, *node.shape), facts[node.inputs[0]].interval, here.lines
            if index in last.rows:
                lost = losses(op.bind(node.params), x, around, last.rows[index][row])
                found += _shared(moved, lost / (x.upper - x.lower).clamp_min(torch.finfo(lost.dtype).tiny))
            slope = (around.lower_slope + around.upper_slope) / 2
            moves.append((moved * slope[:, None]).flatten(0, 1))
        elif isinstance(op, Bilinear) and here.planes is not None:
            planes = here.planes.of(torch.arange(shape[0], device=row.device).repeat_interleave(shape[1]))
            if index in last.rows:
                found += _shared(
                    _spread(op, planes, xs).view(*shape, *node.shape), last.rows[index][row].abs()
                )
            moves.append(op.product(xs[0], planes.right) + op.product(planes.left, xs[1]))
        else:
            moves.append(xs[0])
    return found.nan_to_num(0, 0, 0)


def _units(inputs: Tensor, width: Tensor, like: Tensor) -> Tensor:
    """A row for each domain and input, which is the input's width there and zero elsewhere."""
    rows = width.new_zeros(*inputs.shape, like[0].numel())
    return rows.scatter_(2, inputs[:, :, None], width[:, :, None]).view(-1, *like.shape[1:])


def _shared(moved: Tensor, weight: Tensor) -> Tensor:
    """``|moved| . weight`` for each input: (domains, inputs, *shape) and (domains, *shape)."""
    return (moved.flatten(2).abs() @ weight.flatten(1)[:, :, None])[:, :, 0]


def _spread(op: Bilinear, planes: Planes, moved: Tensors) -> Tensor:
    """The part of a product's spread that is owed to moves of its factors."""
    left, right = moved[0].abs(), moved[1].abs()
    return (op.product(left, planes.right_radius) + op.product(planes.left_radius, right)) / 2
