"""The kinds of operator. Analyses are written once per kind; an operator only states facts.

An operator is a frozen value holding its static attributes (stride, perm, slope ...). Its tensors
(weights) live in the graph's node as ``params``, so that they stay live for training.
Values carry the batch on axis 0; "shape" always means the shape of one sample, without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from bounds.interval import Around, Interval
from bounds.linear import Patch, Shape, Unit
from bounds.rounding import U64, down

if TYPE_CHECKING:
    from bounds.graph import Builder, Ref

Tensors = tuple[Tensor, ...]

# Rounds of the search for a slope: the first settles tangents, the others converge quadratically to chords.
_ROUNDS = 12
# What underflow on the way to a value may cost, as where z^-2 is computed as 1 / z^2.
_UNDERFLOW = 2.0**-1000
_APART = 1e-4  # as a share of the interval, how far apart two points are that count as one
_CLOSE = 1e-9  # what a line may still be raised by, relative to its height and rise


@dataclass(frozen=True)
class Operator(ABC):
    """Base of all operators: a name for messages and a value."""

    # Whether values come in memory of their own, that whoever asked for them may overwrite.
    fresh: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The name shown in errors and tables."""
        return type(self).__name__

    @abstractmethod
    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        """The operator on batched inputs."""

    def around(self, x: Around, rounded: bool, spent: bool) -> Around | None:
        """A function of ``x``, whose memory may be used again if ``spent``; None where ends are as good."""
        return None


@dataclass(frozen=True)
class Input(Operator):
    """The graph's input."""

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        return xs[0]


@dataclass(frozen=True)
class Affine(Operator):
    """``y = W x + b`` over one or more inputs x.

    An operator gives ``linear`` (W x) and, where it has one, ``offset`` (b). Its adjoint is the vjp of
    ``linear`` unless it gives a faster one, which the tests compare with the vjp. Its magnitude
    ``|W| |x| + |b|`` follows from ``linear`` with absolute weights unless W carries signs of its own.
    """

    # Whether each output element depends on one input element, so that a box stays a box.
    elementwise: ClassVar[bool] = False
    # Whether values are only moved, dropped or negated, so that no rounding occurs.
    exact: ClassVar[bool] = False
    # Whether no coefficient is negative, so that the ends of intervals give the ends.
    rising: ClassVar[bool] = False

    @abstractmethod
    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        """W x, without the offset."""

    def weights(self, params: Tensors) -> Tensors:
        """The tensors that ``linear`` multiplies by."""
        return params

    def offset(self, params: Tensors) -> Tensor | None:
        """b, of a shape that broadcasts against (batch, *shape); None where there is none."""
        return None

    def offset_magnitude(self, params: Tensors) -> Tensor | None:
        """At least |b| and the absolute value of everything summed to compute it."""
        offset = self.offset(params)
        return None if offset is None else offset.abs()

    def magnitudes(self, params: Tensors) -> Tensors:
        """What ``absolute`` multiplies by: the weights' absolute values."""
        return tuple([w.abs() for w in self.weights(params)])

    def absolute(self, xs: Tensors, magnitudes: Tensors) -> Tensor:
        """|W| x for x >= 0."""
        return self.linear(xs, magnitudes)

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        y, offset = self.linear(xs, self.weights(params)), self.offset(params)
        return y if offset is None else y + offset

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        """How many roundings can meet in one number, forward (fan-in) or backward (fan-out), offset included.

        The default is safe for every operator; 0 says that the operator is exact.
        """
        return 0 if self.exact else sum(prod(s) for s in ins) + prod(out) + 4

    def fan_out(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        """How many roundings can meet in a coefficient of rows over the inputs, without the weights' own."""
        return self.terms(ins, out, params)

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        """How many terms a deployed execution sums for one output, offset included."""
        return 0 if self.exact else sum(prod(s) for s in ins) + 4

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        """W^T applied to dense rows of shape (rows, *out); one tensor (rows, *in) per input."""
        zeros = tuple(rows.new_zeros(len(rows), *shape) for shape in ins)
        _, vjp = torch.func.vjp(  # type: ignore[misc]  # its stub counts the aux result, too
            lambda *xs: self.linear(xs, weights), *zeros
        )
        result: Tensors = vjp(rows)
        return result

    def adjoint_live(
        self, rows: Tensor, weights: Tensors, live: Tensor, wanted: Tensor | None
    ) -> Tensors | None:
        """W^T applied to rows that vanish outside ``live``, right where ``wanted`` and zero elsewhere.

        rows: (samples, per_sample, outputs); live: (samples, outputs), wanted: (samples, inputs) or None for
        all; returns (samples * per_sample, *in). None where it would save nothing.
        """
        return None

    def value_live(self, x: Tensor, params: Tensors, live: Tensor | None, wanted: Tensor) -> Tensor | None:
        """The value at points that vanish outside ``live``, right where ``wanted`` and anything elsewhere.

        x: (samples, per_sample, inputs); live: (samples, inputs) or None for all, wanted: (samples, outputs);
        returns (samples * per_sample, *out). None where it would save nothing.
        """
        return None

    def adjoint_unit(
        self, unit: Unit, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Unit | Patch | Tensor, ...] | None:
        """W^T applied to rows with one nonzero each; None where the operator has no shortcut."""
        return None

    def adjoint_patch(
        self, patch: Patch, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Patch, ...] | None:
        """W^T applied to patch rows; None where the result is not a patch."""
        return None


@dataclass(frozen=True, eq=False)
class Piece:
    """``slope z + shift`` for z from ``start`` to ``end``, both included; (batch, *shape) or scalars.

    Nothing where start > end.
    """

    start: Tensor
    end: Tensor
    slope: Tensor
    shift: Tensor


@dataclass(frozen=True)
class Pointwise(Operator):
    """A scalar function on every element.

    Two lines around it on an interval are all that linear relaxation needs. Their slopes are advice; the
    intercepts are proved (see ``bounds.relaxation``). ``bounds.piecewise`` gives image, touch and intercept
    to every function that splits into convex, concave and linear pieces.
    """

    @property
    def ulps(self) -> int:
        """Error of ``function`` in any dtype: so many units of the last place, plus ``floor``."""
        return 0

    @property
    def floor(self) -> int:
        """Error of ``function`` in any dtype in units of the last place of 1, plus ``ulps``."""
        return 0

    @abstractmethod
    def function(self, z: Tensor) -> Tensor:
        """f(z)."""

    @abstractmethod
    def image(self, x: Interval, rounded: bool) -> Interval:
        """An interval that f maps ``x`` into; with ``rounded`` sound in exact arithmetic.

        Infinite where f is not defined on all of ``x``.
        """

    @abstractmethod
    def contact(self, x: Interval, slope: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """About where in ``x`` the gap ``side * (f(z) - slope z)`` is smallest, and the gap there.

        Where f jumps, its limits from both sides count.
        """

    def touch(self, x: Interval, slope: Tensor, side: int) -> Tensor:
        """About where in ``x`` a line of that slope touches f."""
        return self.contact(x, slope, side)[0]

    @abstractmethod
    def intercept(self, x: Interval, slope: Tensor, side: int, rounded: bool) -> Tensor:
        """The best intercept of a line of a given slope: below f for ``side`` = +1, above it for -1.

        With ``rounded`` it is proved; infinite on its side where f is not defined on all of ``x``.
        """

    @abstractmethod
    def undecided(self, x: Interval) -> Tensor:
        """Where a tighter interval would give a tighter relaxation."""

    def split(self, x: Interval) -> Tensor:
        """Where branch and bound cuts the interval in two; by default in the middle."""
        return x.centre

    def pieces(self, x: Interval) -> Sequence[Piece]:
        """Linear pieces that together are the function on ``x``; none where it is curved or has too many.

        Where f jumps, its limits from both sides count.
        """
        return ()

    def bind(self, params: Tensors) -> Pointwise:
        """The function with the node's parameters, for the few that have some."""
        return self

    @property
    def pivot(self) -> tuple[float, float] | None:
        """Between which slopes every lower line through the origin lies below f; None if there are none."""
        return None

    def gap(self, slope: Tensor, z: Tensor, f: Tensor, side: int, rounded: bool) -> Tensor:
        """``side * (f(z) - slope z)`` from the computed ``f``, rounded down where asked."""
        line = slope * z
        gap = f - line if side > 0 else line - f
        if rounded:  # product, differences and this account: six units of |f| + |slope z| at most
            gap = gap.sub(f.abs() + line.abs(), alpha=6 * U64).sub_(_UNDERFLOW)
            gap = down(gap - self.error(f, U64)) if self.ulps or self.floor else gap
        return gap

    def slope_range(self, x: Interval) -> tuple[Tensor, Tensor]:
        """The least and the greatest slope that a useful line over the interval may have."""
        lower, upper = self.slopes(x)
        return torch.minimum(lower, upper), torch.maximum(lower, upper)

    def error(self, f: Tensor, u: float) -> Tensor:
        """A bound of ``|computed f(z) - f(z)|`` at unit roundoff ``u``; f: the computed values."""
        return 2 * u * (self.ulps * f.abs() + self.floor) + (_UNDERFLOW if self.ulps or self.floor else 0.0)

    def slopes(self, x: Interval) -> tuple[Tensor, Tensor]:
        """Slopes of a lower and an upper line over the interval; any value is sound, a good one is tight.

        By default those of least area between line and function. That area is decided by the line's height
        at the middle of the interval, so the best line supports the convex envelope there.
        """
        return self._supporting(x, +1), -self._supporting(x, -1)

    def searched(self, x: Interval, where: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """The slopes that are given, but those of least area ``where`` that is true."""
        if bool(where.any()):
            below, above = Pointwise.slopes(self, x[where])
            lower, upper = lower.masked_scatter(where, below), upper.masked_scatter(where, above)
        return lower, upper

    def _supporting(self, x: Interval, side: int) -> Tensor:
        """The slope of the convex envelope of ``side * f`` at the middle of the interval.

        First the slope of f itself there, then that of the chord between the last points of contact on
        either side of the middle: Newton's method for the highest line. Of all lines the highest is taken.
        """
        with torch.no_grad():
            middle, width = x.centre, x.upper - x.lower
            first, last = x.lower, x.upper
            at_first, at_last = side * self.function(first), side * self.function(last)
            near = (middle - _APART * width, middle + _APART * width)
            slope = side * (self.function(near[1]) - self.function(near[0])) / (near[1] - near[0])
            point, gap = self.contact(x, side * slope, side)
            best, found = gap + slope * middle, slope
            flat = (point - middle).abs() <= _APART * width
            for _ in range(_ROUNDS):
                left, value = point < middle, gap + slope * point
                first, at_first = torch.where(left, point, first), torch.where(left, value, at_first)
                last, at_last = torch.where(left, last, point), torch.where(left, at_last, value)
                slope = (at_last - at_first) / (last - first)
                chord = at_first - slope * first
                point, gap = self.contact(x, side * slope, side)
                height = gap + slope * middle
                better = height > best
                best, found = torch.where(better, height, best), torch.where(better, slope, found)
                touching = gap >= chord - _CLOSE * (chord.abs() + slope.abs() * width)
                if bool((flat | touching | slope.isnan()).all()):
                    break
            found = torch.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0)
        follows = torch.is_grad_enabled() and (x.lower.requires_grad or x.upper.requires_grad)
        return self._following(x, found, first, last, flat, side) if follows else found

    def _following(
        self, x: Interval, slope: Tensor, first: Tensor, last: Tensor, flat: Tensor, side: int
    ) -> Tensor:
        """The slope with its derivative with respect to the interval, which the search does not have.

        The line supports the envelope at two points, next to either side of the middle: it moves with those
        of them that are ends of the interval. Where it is ``flat`` to f at the middle, it is the
        tangent there.
        """
        with torch.no_grad():
            step = (x.upper - x.lower) * _APART
            apart = (last - first > step) & ~flat
        first, last = (
            torch.where(first <= x.lower, x.lower, first),
            torch.where(last >= x.upper, x.upper, last),
        )
        before, after = (torch.where(apart, z, x.centre + d) for z, d in ((first, -step), (last, step)))
        rise, run = self.function(after) - self.function(before), after - before
        moved = side * rise / torch.where(run > 0, run, 1.0)
        return slope + (moved - moved.detach())

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        return self.bind(params).function(xs[0])


@dataclass(frozen=True)
class Bilinear(Operator):
    """A sum of products of elements of two inputs."""

    @abstractmethod
    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """The operator, linear in each of its inputs; any batch axes that broadcast against each other."""

    @abstractmethod
    def adjoint(self, rows: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients over each input when the other one is held at ``b`` or ``a``.

        rows: (samples, per_sample, *out); a, b: (samples, 1, *in). Returns (samples, per_sample, *in) twice.
        """

    @abstractmethod
    def terms(self, ins: Sequence[Shape], out: Shape) -> int:
        """How many roundings can meet in one number, forward or backward."""

    def apart(self, ins: Sequence[Shape]) -> Bilinear:
        """The operator with some sums left out, along axes that then come last; itself where all are kept.

        Rows may choose planes for each of its outputs, so the fewer sums the tighter, and the dearer.
        """
        return self

    def interval(self, a: Interval, b: Interval) -> Interval | None:
        """An interval tighter than that from centres and radii, where there is one; not rounded."""
        return None

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        return self.product(xs[0], xs[1])


@dataclass(frozen=True)
class Composite(Operator):
    """An operator that is bounded as a combination of others; its value is computed directly."""

    # Whether every float execution of the operator itself is among the executions of its parts.
    faithful: ClassVar[bool] = False

    @abstractmethod
    def parts(self, builder: Builder, xs: Sequence[Ref], params: Tensors, name: str) -> Ref:
        """The same function, equal in exact arithmetic, out of simpler operators."""

    def known(self, xs: Sequence[Interval]) -> Interval | None:
        """An interval that the values are known to lie in, given the inputs' own, in exact arithmetic."""
        return None


@dataclass(frozen=True)
class Known(Operator):
    """The first input as it is, a composite's value, which lies in what the composite knows of it.

    The other inputs are those of the composite.
    """

    composite: Composite

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        return xs[0]
