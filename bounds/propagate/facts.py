"""What is known of a node after the forward pass, and the step that finds it out by interval analysis."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.errors import Unsupported
from bounds.graph import Graph, Node
from bounds.interval import Interval
from bounds.kinds import Affine, Pointwise
from bounds.relaxation import Lines, image, lines
from bounds.rounding import FLOAT, U32, U64, Level, gamma

_TINY = 2.0**-1000  # covers every underflow of one step


@dataclass(frozen=True, eq=False)
class Facts:
    """One node's bounds per sample.

    interval: of the node's values. lines: around a pointwise function. cushion: per output element, how much
    rounding can change a linear form with coefficient one here - of our own backward step, plus at level
    ``deployed`` that of the execution which is spoken of; None where nothing is lost or nothing is claimed.
    tight: whether the interval of each element is exact. box: whether the values fill that box.
    """

    interval: Interval
    lines: Lines | None = None
    cushion: Tensor | None = None
    tight: bool = False
    box: bool = False

    def of(self, samples: Tensor) -> Facts:
        """The facts of some samples, which may repeat."""
        return Facts(
            self.interval[samples],
            None if self.lines is None else self.lines.of(samples),
            None if self.cushion is None else self.cushion[samples],
            self.tight,
            self.box,
        )


def node_facts(graph: Graph, node: Node, ins: tuple[Facts, ...], level: Level) -> Facts:
    """Interval analysis of one node from its inputs' facts."""
    if isinstance(node.op, Pointwise):
        return _pointwise(node.op, ins[0], level)
    if isinstance(node.op, Affine):
        shapes = tuple(graph.nodes[i].shape for i in node.inputs)
        return _affine(node, node.op, shapes, ins, level)
    raise Unsupported(f"operator {node.op.name} of node {node.name!r} has no interval analysis")


def _pointwise(op: Pointwise, x: Facts, level: Level) -> Facts:
    rounded = level is not Level.FLOAT
    interval = image(op, x.interval, rounded)
    around = lines(op, x.interval, rounded)
    if not rounded:
        return Facts(interval, around)
    magnitude = around.slope_magnitude * x.interval.magnitude + around.intercept_magnitude
    cushion = gamma(magnitude[0].numel() + 8, U64) * magnitude + _TINY
    if level is Level.DEPLOYED and op.ulps:
        error = 2 * op.ulps * U32 * interval.magnitude + 2.0**-149
        interval, cushion = interval.widened(error), cushion + error
    return Facts(interval, around, cushion)


def _affine(
    node: Node, op: Affine, shapes: tuple[tuple[int, ...], ...], ins: tuple[Facts, ...], level: Level
) -> Facts:
    tight = len(ins) == 1 and ins[0].box
    box = tight and (op.elementwise or op.exact)
    if op.exact:
        low = op.value(tuple(f.interval.lower for f in ins), node.params)
        high = op.value(tuple(f.interval.upper for f in ins), node.params)
        interval = Interval(torch.minimum(low, high), torch.maximum(low, high))
        return Facts(interval, tight=tight or (len(ins) == 1 and ins[0].tight), box=box)
    rounded = level.arithmetic is not FLOAT
    centres = tuple(f.interval.centre for f in ins)
    radii = tuple(f.interval.radius(c, rounded) for f, c in zip(ins, centres, strict=True))
    weights = op.weights(node.params)
    centre, radius = op.value(centres, node.params), op.absolute(radii, weights)
    interval = Interval(centre - radius, centre + radius)
    if not rounded:
        return Facts(interval, tight=tight, box=box)
    magnitude = op.absolute(tuple(c.abs() + r for c, r in zip(centres, radii, strict=True)), weights)
    offset = op.offset_magnitude(node.params)
    magnitude = magnitude if offset is None else magnitude + offset
    cushion = gamma(op.terms(shapes, node.shape, node.params) + 4, U64) * magnitude + _TINY
    if level is Level.DEPLOYED:
        n = op.fan_in(shapes, node.shape, node.params) + 2
        cushion = cushion + (gamma(n, U32) * magnitude + n * 2.0**-149)
    return Facts(interval.widened(cushion), cushion=cushion, tight=tight, box=box)
