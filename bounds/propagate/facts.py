"""What is known of a node after the forward pass, and the step that finds it out by interval analysis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from bounds.errors import Unsupported
from bounds.graph import Graph, Node
from bounds.interval import Interval
from bounds.kinds import Affine, Bilinear, Known, Pointwise, Tensors
from bounds.linear import Shape
from bounds.relaxation import Lines, lines
from bounds.rounding import U32, U64, Level, down, gamma, up

TINY = 2.0**-1000  # covers every underflow of one step
_LARGE = 2.0**64  # times TINY, and times any number of steps, it is less than the least slack of rows
_LIFTED = 2.0**-40  # below which a line's intercept is but zero, where nothing is claimed
_LEAST32 = 2.0**-149  # the smallest float32 above zero
_NORMAL32 = 2.0**-126  # the smallest of full precision, below which a function may go astray on its way
# From here on a float32 execution may overflow on its way, and nothing is said about it: it may sum many
# numbers before it takes their mean.
_MOST32 = 2.0**96


@dataclass(frozen=True, eq=False)
class Planes:
    """Two parallel planes around a sum of products per sample, and how far they may be turned.

    ``x y`` lies within ``spread`` of ``right x + left y - shift``, where left and right are the middles of x
    and y: the rest is a product of two deviations from them, dx and dy, which are at most the radii
    ``left_radius`` r and ``right_radius`` s. For every turn t from -1 to 1, ``dx dy`` is at least
    ``t (s dx + r dy) - r s`` and at most ``t (r dy - s dx) + r s``: the combinations of McCormick's (1976)
    planes. They all leave the same area; the parallel ones have t = 0.
    """

    left: Tensor
    right: Tensor
    left_radius: Tensor
    right_radius: Tensor
    shift: Tensor
    spread: Tensor

    def each(self, change: Callable[[Tensor], Tensor]) -> Planes:
        """With every tensor changed."""
        return Planes(*(change(getattr(self, f.name)) for f in fields(Planes)))

    def of(self, samples: Tensor) -> Planes:
        """The planes of some samples, which may repeat."""
        return self.each(lambda x: x[samples])

    def turned(self, op: Bilinear, xs: Tensors, sign: Tensor) -> Tensor:
        """What a full turn adds at the points xs to the lower plane, sign = 1, or to the upper one, -1."""
        over_left = op.product(xs[0] - self.left, self.right_radius)
        return sign * over_left + op.product(self.left_radius, xs[1] - self.right)


@dataclass(frozen=True, eq=False)
class Facts:
    """One node's bounds per sample.

    interval: of the node's values. lines: around a pointwise function; planes: around a sum of products; both
    None where only intervals are propagated. cushion: per output element, how much rounding can change a
    linear form with coefficient one here - of our own backward step, plus at level ``deployed`` that of the
    execution which is spoken of; None where nothing is lost or nothing is claimed. entering: of a function,
    the cushion of the affine node that it alone takes, None for others.
    tight: whether the interval of each element is exact. box: whether the values fill that box. centred:
    whether everything counts from a centre, of which offsets are a part (see ``Narrow``).
    """

    interval: Interval
    lines: Lines | None = None
    planes: Planes | None = None
    cushion: Tensor | None = None
    entering: Tensor | None = None
    tight: bool = False
    box: bool = False
    centred: bool = False

    @cached_property
    def live(self) -> Tensor | None:
        """Which elements of a pointwise function are more than the constant zero: (batch, elements).

        None for other nodes.
        """
        if self.lines is None:
            return None
        line = (self.lines.lower_slope != 0) | (self.lines.upper_slope != 0)
        live = line | (self.interval.lower != 0) | (self.interval.upper != 0)
        return live.reshape(len(live), -1)

    @cached_property
    def guarded(self) -> Lines | None:
        """The lines, moved apart by all that rounding may change on the way of a row to what enters the
        affine node in front, or to the function's input where nothing is ``entering``.

        So no row needs an account of its own there: ``|a| . cushion`` is in its constant, and what enters
        counts with the slope that the row takes. The last share is for the slope's rounding, and for this.
        """
        around, cushion = self.lines, self.cushion
        if around is None or cushion is None:
            return around
        below = above = cushion
        if self.entering is not None:
            steep = around.slope_magnitude * 2.0**-20
            below = cushion + (around.lower_slope.abs() + steep) * self.entering
            above = cushion + (around.upper_slope.abs() + steep) * self.entering
        share = 1 + 2.0**-20
        return replace(
            around,
            lower_intercept=down(around.lower_intercept - below * share),
            upper_intercept=up(around.upper_intercept + above * share),
        )

    @cached_property
    def underflow(self) -> Tensor | None:
        """What underflow in the coefficients of one row over this node may cost: (batch,).

        None where that is nothing beside the slack that rows begin with.
        """
        magnitude = self.interval.magnitude
        if self.cushion is not None:
            magnitude = magnitude + self.cushion
        if float(magnitude.max()) < _LARGE:
            return None
        return TINY * (1 + magnitude.reshape(len(magnitude), -1).amax(1))

    @cached_property
    def quick(self) -> Facts:
        """The same in float32, to choose lines and planes by: what they prove is computed with the others."""
        interval = Interval(self.interval.lower.float(), self.interval.upper.float())
        lines = None if self.lines is None else self.lines.each(_plain)
        planes = None if self.planes is None else self.planes.each(Tensor.float)
        return Facts(interval, lines, planes, tight=self.tight, box=self.box)

    def detached(self) -> Facts:
        """The same facts, through which no gradient flows into parameters."""
        lines = self.lines
        if lines is not None and lines.lower_slope.requires_grad:
            lines = lines.each(Tensor.detach)
        return replace(self, interval=self.interval.detached(), lines=lines)

    def of(self, samples: Tensor) -> Facts:
        """The facts of some samples, which may repeat."""
        return Facts(
            self.interval[samples],
            None if self.lines is None else self.lines.of(samples),
            None if self.planes is None else self.planes.of(samples),
            None if self.cushion is None else self.cushion[samples],
            None if self.entering is None else self.entering[samples],
            self.tight,
            self.box,
        )

    def repeated(self, count: int) -> Facts:
        """The facts of a single sample, as those of so many; they share their memory."""

        def each(x: Tensor) -> Tensor:
            return x.expand(count, *x.shape[1:])

        return replace(
            self,
            interval=Interval(each(self.interval.lower), each(self.interval.upper)),
            lines=None if self.lines is None else self.lines.each(each),
            planes=None if self.planes is None else self.planes.each(each),
            cushion=None if self.cushion is None else each(self.cushion),
            entering=None if self.entering is None else each(self.entering),
        )


def _plain(x: Tensor) -> Tensor:
    """In float32, without what only rounding has lifted above zero."""
    return F.hardshrink(x.float(), _LIFTED)


def node_facts(
    graph: Graph,
    node: Node,
    ins: tuple[Facts, ...],
    level: Level,
    relaxed: bool,
) -> Facts:
    """Interval analysis of one node from its inputs' facts; with ``relaxed`` also lines and planes.

    An interval is infinite where it is not a number, unless nothing is built on it but other intervals.
    """
    if isinstance(node.op, Pointwise):
        source = node.inputs[0]
        alone = isinstance(graph.nodes[source].op, Affine) and len(graph.users[source]) == 1
        entering = ins[0].cushion if alone else None
        return _pointwise(node.op.bind(node.params), ins[0].interval, entering, level, relaxed)
    if isinstance(node.op, Affine):
        return _affine(graph, node, node.op, ins, level, relaxed)
    if isinstance(node.op, Bilinear):
        shapes = tuple(graph.nodes[i].shape for i in node.inputs)
        return _bilinear(node.op, shapes, node.shape, ins[0].interval, ins[1].interval, level, relaxed)
    if isinstance(node.op, Known):
        known = node.op.composite.known(tuple(f.interval for f in ins[1:]))
        return Facts(ins[0].interval if known is None else ins[0].interval.closed().met(known.closed()))
    raise Unsupported(f"operator {node.op.name} of node {node.name!r} has no interval analysis")


def _pointwise(op: Pointwise, x: Interval, entering: Tensor | None, level: Level, relaxed: bool) -> Facts:
    rounded = level is not Level.FLOAT
    interval = op.image(x, rounded)
    interval = interval.closed() if relaxed or rounded else interval
    error = None
    if level is Level.DEPLOYED and (op.ulps or op.floor):
        error = executed(op, x, interval)
        interval = interval.widened(error)
    if not relaxed:
        return Facts(interval)
    around = lines(op, x, rounded)
    if not rounded:
        return Facts(interval, around)
    cushion = line_cushion(around.slope_magnitude, around.intercept_magnitude, x)
    cushion = cushion if error is None else cushion + error
    return Facts(interval, around, cushion=cushion, entering=entering)


def executed(op: Pointwise, x: Interval, y: Interval) -> Tensor:
    """How far a float32 execution of f from x to y may be off."""
    error = op.error(y.magnitude, U32) + _NORMAL32
    return torch.where(torch.maximum(x.magnitude, y.magnitude) < _MOST32, error, torch.inf)


def _summed(magnitude: Tensor, terms: int) -> Tensor:
    """How far a float32 sum of so many terms may be off."""
    error = gamma(terms, U32) * magnitude + terms * _LEAST32
    return torch.where(magnitude < _MOST32, error, torch.inf)


def line_cushion(slope: Tensor, intercept: Tensor, x: Interval) -> Tensor:
    """How much rounding can change the step through lines of these magnitudes, for a coefficient of one.

    Constants come of the lower line and the difference of both: of up to three intercepts.
    """
    most = torch.addcmul(3 * intercept, slope, x.magnitude)
    return most.mul_(gamma(x.lower[0].numel() + 8, U64)).add_(TINY)


def _affine(
    graph: Graph,
    node: Node,
    op: Affine,
    ins: tuple[Facts, ...],
    level: Level,
    relaxed: bool,
) -> Facts:
    tight = len(ins) == 1 and ins[0].box
    box = tight and (op.elementwise or op.exact)
    if op.exact or level is Level.FLOAT:
        interval = _affine_interval(op, [f.interval for f in ins], node.params)
        tight = tight or (op.exact and len(ins) == 1 and ins[0].tight)
        return Facts(interval.closed() if relaxed and not op.exact else interval, tight=tight, box=box)
    centres = tuple(f.interval.centre for f in ins)
    centre = op.value(centres, node.params)
    radii = tuple(
        torch.maximum(f.interval.upper - c, c - f.interval.lower) for f, c in zip(ins, centres, strict=True)
    )
    sizes = [torch.cat([r, c.abs() + r]) for c, r in zip(centres, radii, strict=True)]
    radius, magnitude = op.absolute(tuple(sizes), op.magnitudes(node.params)).chunk(2)
    cushion = affine_cushion(graph, node, op, magnitude, level)
    radius = radius + cushion
    interval = Interval(centre - radius, centre + radius).closed()
    return Facts(interval, cushion=cushion, tight=tight, box=box)


def affine_cushion(graph: Graph, node: Node, op: Affine, magnitude: Tensor, level: Level) -> Tensor:
    """The cushion of an affine node; magnitude: |W| x of inputs within x in absolute value.

    Every rounding between inputs and outputs, rows over them, and the ends of an interval from centre and
    radius is at most a unit of |W| x + |b|: some more than its terms.
    """
    shapes = tuple(graph.nodes[i].shape for i in node.inputs)
    error = gamma(op.terms(shapes, node.shape, node.params) + 12, U64)
    offset = op.offset_magnitude(node.params)
    cushion = (magnitude * error).add_(TINY)
    cushion = cushion if offset is None else torch.add(cushion, offset, alpha=error)
    if level is Level.DEPLOYED:
        magnitude = magnitude if offset is None else magnitude + offset
        cushion = cushion + _summed(magnitude, op.fan_in(shapes, node.shape, node.params) + 2)
    return cushion


def _affine_interval(op: Affine, xs: Sequence[Interval], params: Tensors) -> Interval:
    """What an affine operator makes of intervals, without an account of rounding."""
    if op.exact or op.rising:
        low, high = (op.value(tuple([getattr(x, end) for x in xs]), params) for end in ("lower", "upper"))
        return (
            Interval(low, high) if op.rising else Interval(torch.minimum(low, high), torch.maximum(low, high))
        )
    centres = tuple([x.centre for x in xs])
    radii = tuple([x.upper - c for x, c in zip(xs, centres, strict=True)])
    centre, radius = op.value(centres, params), op.absolute(radii, op.magnitudes(params))
    return Interval(centre - radius, centre + radius)


def _bilinear(
    op: Bilinear, shapes: tuple[Shape, ...], out: Shape, a: Interval, b: Interval, level: Level, relaxed: bool
) -> Facts:
    rounded = level is not Level.FLOAT
    left, right = a.centre, b.centre
    x, y = a.radius(left, rounded), b.radius(right, rounded)
    shift, spread = op.product(left, right), op.product(x, y)
    interval = op.interval(a, b)
    if interval is None:
        radius = op.product(left.abs(), y) + op.product(x, right.abs()) + spread
        interval = Interval(shift - radius, shift + radius)
    planes = Planes(left, right, x, y, shift, spread) if relaxed else None
    if not rounded:
        return Facts(interval.closed() if relaxed else interval, planes=planes)
    magnitude = op.product(left.abs() + x, right.abs() + y)
    terms = op.terms(shapes, out)
    # Every sum here and in the backward step, with any turn, is at most four times the product of magnitudes.
    most = max(prod(shape) for shape in (*shapes, out))
    cushion = 4 * gamma(terms + most + 12, U64) * magnitude + TINY
    if level is Level.DEPLOYED:
        cushion = cushion + _summed(magnitude, terms + 2)
    return Facts(interval.widened(cushion), planes=planes, cushion=cushion)
