"""Another shape or order of axes for the same elements, and operators that do nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from bounds.graph import Ref
from bounds.kinds import Affine, Tensors
from bounds.linear import Patch, Shape, Unit
from bounds.ops.registry import Call, Value, from_onnx, from_torch


@dataclass(frozen=True)
class Reshape(Affine):
    """Another shape for the same elements in the same order."""

    exact: ClassVar[bool] = True
    rising: ClassVar[bool] = True
    shape: tuple[int, ...]

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return xs[0].reshape(-1, *self.shape)

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        return self.linear(xs, params)

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        return (rows.reshape(-1, *ins[0]),)

    def adjoint_unit(
        self, unit: Unit, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Unit | Patch | Tensor, ...] | None:
        return (Unit(unit.index, unit.sign, ins[0]),)


@dataclass(frozen=True)
class Transpose(Affine):
    """The axes of a sample in another order: axis ``i`` of the result is axis ``perm[i]`` of the input."""

    exact: ClassVar[bool] = True
    rising: ClassVar[bool] = True
    perm: tuple[int, ...]

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return xs[0].permute(0, *(p + 1 for p in self.perm))

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        return (rows.permute(0, *(self.perm.index(axis) + 1 for axis in range(len(self.perm)))),)

    def adjoint_unit(
        self, unit: Unit, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Unit | Patch | Tensor, ...] | None:
        places = unravel(unit.index, out)
        moved = [places[self.perm.index(axis)] for axis in range(len(out))]
        return (Unit(ravel(moved, ins[0]), unit.sign, ins[0]),)


def reshaped(call: Call, x: Ref, full: Sequence[int]) -> Ref:
    """The value in another full shape, which must keep the batch in front."""
    shape = call.sample_shape(full)
    return x if shape == x.shape else call.apply(Reshape(shape), x)


def transposed(call: Call, x: Ref, perm: Sequence[int]) -> Ref:
    """The value with its axes, the batch among them, in another order."""
    places = tuple(call.axis(p, x) for p in (perm[1:] if call.batched else perm))
    if call.batched and perm[0] % len(perm) != 0:
        raise call.unsupported("it moves the batch axis", "keep it as axis 0")
    return x if places == tuple(range(len(places))) else call.apply(Transpose(places), x)


@from_torch("aten::view", "aten::_unsafe_view", "aten::unsqueeze", "aten::squeeze")
def _reshape(call: Call) -> Value:
    if call.out is not None:
        return reshaped(call, call.ref("self"), call.out)
    sizes = call.get("size")  # behind a mask, the tracer knows the sizes only by name
    if not isinstance(sizes, list) or not all(isinstance(n, int | Tensor) for n in sizes):
        raise call.unsupported("its shape is not known")
    x = call.ref("self")
    return reshaped(call, x, _completed(call, [int(n) for n in sizes], call.full_shape(x)))


@from_torch("aten::permute")
def _permute(call: Call) -> Value:
    return transposed(call, call.ref("self"), call.integers("dims"))


@from_torch("aten::transpose")
def _transpose(call: Call) -> Value:
    x = call.ref("self")
    perm = list(range(len(call.full_shape(x))))
    a, b = call.integer("dim0"), call.integer("dim1")
    perm[a], perm[b] = perm[b], perm[a]
    return transposed(call, x, perm)


@from_onnx("Transpose")
def _onnx_transpose(call: Call) -> Value:
    x = call.ref("0")
    rank = len(call.full_shape(x))
    return transposed(call, x, call.integers("perm", tuple(reversed(range(rank)))))


@from_torch("aten::clone", "aten::detach", "aten::_to_copy", "aten::alias", "aten::type_as")
def _same(call: Call) -> Value:
    return call.ref("self")


@from_onnx("Identity", "Dropout")
def _onnx_same(call: Call) -> Value:
    training = call.optional("2")
    if call.operator == "Dropout" and training is not None and bool(training):
        raise call.unsupported("dropout in training mode", "export the model in evaluation mode")
    return call.ref("0")


@from_onnx("Cast")
def _cast(call: Call) -> Value:
    kinds = {1: torch.float32, 11: torch.float64}  # TensorProto.FLOAT and DOUBLE
    if kinds.get(call.integer("to")) != call.dtype:
        raise call.unsupported(f"a cast of a graph value to another type than {call.dtype}")
    return call.ref("0")


@from_onnx("CastLike")
def _cast_like(call: Call) -> Value:
    like = call.get("1")
    if isinstance(like, Tensor) and like.dtype != call.dtype:
        raise call.unsupported(f"a cast of a graph value to another type than {call.dtype}")
    return call.ref("0")


@from_onnx("Shape")
def _shape(call: Call) -> Value:
    full = call.full_shape(call.ref("0"))
    end = call.get("end")
    return torch.tensor(full[call.integer("start", 0) : None if end is None else call.integer("end")])


@from_onnx("Reshape")
def _onnx_reshape(call: Call) -> Value:
    x = call.ref("0")
    full = call.full_shape(x)
    wanted = list(call.integers("1" if "1" in call.args else "shape"))
    if not call.integer("allowzero", 0):
        wanted = [full[i] if size == 0 and i < len(full) else size for i, size in enumerate(wanted)]
    return reshaped(call, x, _completed(call, wanted, full))


def _completed(call: Call, wanted: list[int], full: Shape) -> list[int]:
    """A shape for the elements of another one, with -1 worked out."""
    if -1 in wanted:
        known = prod(size for size in wanted if size != -1)
        wanted[wanted.index(-1)] = prod(full) // max(known, 1)
    if prod(wanted) != prod(full):
        raise call.unsupported(f"shape {tuple(wanted)} does not hold the elements of {full}")
    return wanted


@from_onnx("Flatten")
def _flatten(call: Call) -> Value:
    x = call.ref("0")
    full, axis = call.full_shape(x), call.integer("axis", 1)
    return reshaped(call, x, (prod(full[:axis]), prod(full[axis:])))


@from_onnx("Squeeze")
def _squeeze(call: Call) -> Value:
    x = call.ref("0")
    full = call.full_shape(x)
    ones = tuple(axis for axis, size in enumerate(full) if size == 1)
    axes = {axis % len(full) for axis in call.integers("1" if "1" in call.args else "axes", ones)}
    if call.batched and 0 in axes:
        raise call.unsupported("it removes the batch axis", "name the axes to squeeze")
    return reshaped(call, x, [size for axis, size in enumerate(full) if axis not in axes])


@from_onnx("Unsqueeze")
def _unsqueeze(call: Call) -> Value:
    x = call.ref("0")
    full = iter(call.full_shape(x))
    axes = call.integers("1" if "1" in call.args else "axes")
    rank = len(call.full_shape(x)) + len(axes)
    new = {axis % rank for axis in axes}
    if call.batched and 0 in new:
        raise call.unsupported("it adds an axis before the batch", "keep the batch as axis 0")
    return reshaped(call, x, [1 if axis in new else next(full) for axis in range(rank)])


def unravel(index: Tensor, shape: Shape) -> list[Tensor]:
    """Flat positions as one coordinate tensor per axis. (Torch's loads its compiler: a second.)"""
    found = []
    for size in reversed(shape):
        found.append(index % size)
        index = index // size
    return found[::-1]


def ravel(places: Sequence[Tensor], shape: Shape) -> Tensor:
    """Coordinates as flat positions."""
    flat = torch.zeros_like(places[0])
    for place, size in zip(places, shape, strict=True):
        flat = flat * size + place
    return flat


def unit_at(places: Sequence[Tensor], sign: Tensor, shape: Shape) -> Unit:
    """Single nonzeros at coordinates that may lie outside ``shape``, where they count for nothing."""
    inside = torch.ones_like(sign, dtype=torch.bool)
    for place, size in zip(places, shape, strict=True):
        inside &= (place >= 0) & (place < size)
    held = [place.clamp(0, size - 1) for place, size in zip(places, shape, strict=True)]
    return Unit(ravel(held, shape), sign * inside, shape)
