"""Copying elements: along one axis, from anywhere to anywhere, and broadcasting. A copy is exact, but rows
that travel back through several copies of one element are summed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bounds.graph import Ref
from bounds.kinds import Affine, Tensors
from bounds.linear import Patch, Shape, Unit
from bounds.ops.registry import Call
from bounds.ops.shape import ravel, reshaped, unravel


@dataclass(frozen=True)
class Gather(Affine):
    """Those positions of one axis of the sample that ``index`` lists, some of them more than once."""

    axis: int
    index: tuple[int, ...]

    @cached_property
    def _positions(self) -> Tensor:
        return torch.tensor(self.index, dtype=torch.int64)

    @cached_property
    def _copies(self) -> int:
        return max(Counter(self.index).values())

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return xs[0].index_select(self.axis + 1, self._positions.to(xs[0].device))

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return self._copies

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return 0

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        zeros = rows.new_zeros(len(rows), *ins[0])
        return (zeros.index_add(self.axis + 1, self._positions.to(rows.device), rows),)

    def adjoint_unit(
        self, unit: Unit, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Unit | Patch | Tensor, ...] | None:
        places = unravel(unit.index, out)
        places[self.axis] = self._positions.to(unit.index.device)[places[self.axis]]
        return (Unit(ravel(places, ins[0]), unit.sign, ins[0]),)

    def adjoint_patch(
        self, patch: Patch, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Patch, ...] | None:
        if self.axis == 0:
            (data,) = self.adjoint(patch.data, (), [(ins[0][0], *patch.data.shape[2:])])
            return (Patch(data, patch.top, patch.left, ins[0]),)
        return (self._folded(patch, ins[0]),)

    def _folded(self, patch: Patch, shape: Shape) -> Patch:
        """Every line of the window added to the line it was copied from; the window shrinks to these."""
        axis = self.axis + 1
        start, size = (patch.top, patch.left)[self.axis - 1], patch.data.shape[axis]
        places = start[:, None] + torch.arange(size, device=start.device)
        source = self._positions.to(start.device)[places.clamp(0, len(self.index) - 1)]
        first = source.amin(1)
        local = source - first[:, None]
        sizes = list(patch.data.shape)
        sizes[axis] = int(local.max()) + 1
        local = local[:, None, :, None] if axis == 2 else local[:, None, None, :]
        data = patch.data.new_zeros(sizes).scatter_add(axis, local.expand_as(patch.data), patch.data)
        top, left = (first, patch.left) if axis == 2 else (patch.top, first)
        return Patch(data, top, left, shape)


@dataclass(frozen=True)
class Take(Affine):
    """Elements of the sample by flat position, in a new shape; a negative position stands for zero."""

    shape: tuple[int, ...]
    index: tuple[int, ...]

    @cached_property
    def _positions(self) -> Tensor:
        return torch.tensor(self.index, dtype=torch.int64)

    @cached_property
    def _copies(self) -> int:
        return max(Counter(i for i in self.index if i >= 0).values(), default=1)

    def _from(self, device: torch.device, size: int) -> Tensor:
        """The positions with ``size``, one beyond the last element, in place of negative ones."""
        positions = self._positions.to(device)
        return torch.where(positions < 0, size, positions)

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        flat = xs[0].flatten(1)
        taken = F.pad(flat, (0, 1)).index_select(1, self._from(flat.device, flat.shape[1]))
        return taken.view(-1, *self.shape)

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return 0 if self.exact else self._copies

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return 0

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        size = prod(ins[0])
        zeros = rows.new_zeros(len(rows), size + 1)
        summed = zeros.index_add(1, self._from(rows.device, size), rows.flatten(1))
        return (summed[:, :size].reshape(-1, *ins[0]),)

    def adjoint_unit(
        self, unit: Unit, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Unit | Patch | Tensor, ...] | None:
        source = self._positions.to(unit.index.device)[unit.index]
        return (Unit(source.clamp(min=0), unit.sign * (source >= 0), ins[0]),)


@dataclass(frozen=True)
class Pick(Take):
    """``Take`` of each element at most once, so that nothing is ever summed."""

    exact: ClassVar[bool] = True
    rising: ClassVar[bool] = True


@dataclass(frozen=True)
class Expand(Affine):
    """The sample broadcast to a shape of the same number of axes."""

    shape: tuple[int, ...]

    def _axes(self, ins: Sequence[Shape]) -> list[int]:
        return [i for i, (a, b) in enumerate(zip(ins[0], self.shape, strict=True)) if a != b]

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return xs[0].expand(-1, *self.shape)

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return prod(out[axis] for axis in self._axes(ins))

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return 0

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        axes = tuple(axis + 1 for axis in self._axes(ins))
        return (rows.sum(axes, keepdim=True) if axes else rows,)

    def adjoint_unit(
        self, unit: Unit, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Unit | Patch | Tensor, ...] | None:
        places = unravel(unit.index, out)
        for axis in self._axes(ins):
            places[axis] = torch.zeros_like(places[axis])
        return (Unit(ravel(places, ins[0]), unit.sign, ins[0]),)

    def adjoint_patch(
        self, patch: Patch, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Patch, ...] | None:
        (data,) = self.adjoint(patch.data, (), ins)
        top, left = (
            torch.zeros_like(at) if ins[0][i] != out[i] else at for i, at in ((1, patch.top), (2, patch.left))
        )
        return (Patch(data, top, left, ins[0]),)


def moved(call: Call, x: Ref, f: Callable[[Tensor], Tensor]) -> Ref:
    """What ``f`` does to the elements, which it only moves, copies or replaces by zero.

    f is run once on numbered elements of the front end's shape: 1, 2, ... in order, 0 for zero.
    """
    full = call.full_shape(x)
    try:
        result = f(torch.arange(1, prod(full) + 1).reshape(full)) - 1
    except (RuntimeError, IndexError, ValueError) as error:
        raise call.unsupported(f"it does not fit a value of shape {full}: {error}") from error
    shape, index = call.sample_shape(result.shape), tuple(result.flatten().tolist())
    if not index:
        raise call.unsupported("it selects nothing")
    if index == tuple(range(prod(full))):
        return reshaped(call, x, result.shape)
    held = [i for i in index if i >= 0]
    return call.apply((Pick if len(set(held)) == len(held) else Take)(shape, index), x)


def expanded(call: Call, x: Ref, shape: Shape) -> Ref:
    """The value broadcast to another sample shape, which may have more axes in front."""
    if x.shape == shape:
        return x
    try:
        fits = np.broadcast_shapes(x.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise call.unsupported(f"a value of shape {x.shape} does not broadcast to {shape}")
    if len(x.shape) < len(shape):
        from_front = (1,) * (len(shape) - len(x.shape)) + x.shape
        x = reshaped(call, x, (1, *from_front) if call.batched else from_front)
    return x if x.shape == shape else call.apply(Expand(shape), x)


def common_shape(call: Call, *shapes: Sequence[int]) -> Shape:
    """The sample shape that full shapes broadcast to."""
    try:
        return call.sample_shape(np.broadcast_shapes(*map(tuple, shapes)))
    except ValueError:
        raise call.unsupported(
            f"shapes {', '.join(str(tuple(s)) for s in shapes)} do not broadcast"
        ) from None
