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
from typing import ClassVar

import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.linear import Patch, Shape, Unit

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Operator(ABC):
    """Base of all operators: a name for messages and a value."""

    @property
    def name(self) -> str:
        """The name shown in errors and tables."""
        return type(self).__name__

    @abstractmethod
    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        """The operator on batched inputs."""


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
    # Whether values are only moved or dropped, so that no rounding occurs.
    exact: ClassVar[bool] = False

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

    def absolute(self, xs: Tensors, weights: Tensors) -> Tensor:
        """|W| x for x >= 0."""
        return self.linear(xs, tuple(w.abs() for w in weights))

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        y, offset = self.linear(xs, self.weights(params)), self.offset(params)
        return y if offset is None else y + offset

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        """How many roundings can meet in one number, forward (fan-in) or backward (fan-out), offset included.

        The default is safe for every operator; 0 says that the operator is exact.
        """
        return 0 if self.exact else sum(prod(s) for s in ins) + prod(out) + 4

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


@dataclass(frozen=True)
class Pointwise(Operator):
    """A nondecreasing scalar function on every element, split at ``breaks`` into convex, concave or linear
    pieces; these facts are all that the relaxation needs (see ``bounds.relaxation``).
    """

    @property
    def pivot(self) -> tuple[float, float] | None:
        """Between which slopes every lower line through the origin lies below f; None if there are none."""
        return None

    @property
    def ulps(self) -> int:
        """Error of ``function`` in units of the last place, in any dtype."""
        return 0

    @property
    @abstractmethod
    def breaks(self) -> tuple[float, ...]:
        """Where one piece ends and the next begins, ascending."""

    @property
    @abstractmethod
    def curvature(self) -> tuple[int, ...]:
        """Per piece: +1 convex, -1 concave, 0 linear; one more than ``breaks``."""

    @abstractmethod
    def function(self, z: Tensor) -> Tensor:
        """f(z)."""

    def derivative(self, z: Tensor) -> Tensor:
        """f'(z) on curved pieces, to within 16 u; never called for piecewise linear functions."""
        raise NotImplementedError

    def tangent_at(self, slope: Tensor, piece: int) -> Tensor:
        """A point of a curved piece whose derivative is about ``slope``; it need not be exact."""
        raise NotImplementedError

    @abstractmethod
    def slopes(self, x: Interval) -> tuple[Tensor, Tensor]:
        """Slopes of a lower and an upper line over the interval; any value is sound, a good one is tight."""

    def undecided(self, x: Interval) -> Tensor:
        """Where a tighter interval would give a tighter relaxation."""
        inside = torch.zeros_like(x.lower, dtype=torch.bool)
        for point in self.breaks:
            inside |= (x.lower < point) & (x.upper > point)
        if any(self.curvature):
            inside |= x.lower < x.upper
        return inside

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        return self.function(xs[0])
