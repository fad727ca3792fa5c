"""Moving parts of a value: concatenate, slice, pad."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bounds.graph import Ref
from bounds.kinds import Affine, Tensors
from bounds.linear import Patch, Shape, Unit
from bounds.ops.elementwise import Shift
from bounds.ops.gather import Gather
from bounds.ops.registry import Call, Value, from_onnx, from_torch
from bounds.ops.shape import ravel, reshaped, unit_at, unravel


@dataclass(frozen=True)
class Concat(Affine):
    """Several inputs joined along one axis of the sample."""

    exact: ClassVar[bool] = True
    rising: ClassVar[bool] = True
    axis: int

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return torch.cat(xs, dim=self.axis + 1)

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        return torch.split(rows, [shape[self.axis] for shape in ins], dim=self.axis + 1)

    def adjoint_unit(
        self, unit: Unit, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Unit | Patch | Tensor, ...] | None:
        places, parts, start = unravel(unit.index, out), [], 0
        for shape in ins:
            here = list(places)
            here[self.axis] = places[self.axis] - start
            parts.append(unit_at(here, unit.sign, shape))
            start += shape[self.axis]
        return tuple(parts)

    def adjoint_patch(
        self, patch: Patch, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Patch, ...] | None:
        if self.axis != 0:
            return None
        parts = torch.split(patch.data, [shape[0] for shape in ins], dim=1)
        return tuple(Patch(p, patch.top, patch.left, s) for p, s in zip(parts, ins, strict=True))


@dataclass(frozen=True)
class Slice(Affine):
    """Those positions of one axis of the sample that ``index`` lists, each at most once."""

    exact: ClassVar[bool] = True
    rising: ClassVar[bool] = True
    axis: int
    index: range | tuple[int, ...]

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        if isinstance(self.index, range) and self.index.step > 0:
            return xs[0][(slice(None),) * (self.axis + 1) + (_as_slice(self.index),)]
        return xs[0].index_select(self.axis + 1, self._positions(xs[0].device))

    def _positions(self, device: torch.device) -> Tensor:
        return torch.tensor(tuple(self.index), dtype=torch.int64, device=device)

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        zeros = rows.new_zeros(len(rows), *ins[0])
        if isinstance(self.index, range) and self.index.step > 0:
            zeros[(slice(None),) * (self.axis + 1) + (_as_slice(self.index),)] = rows
            return (zeros,)
        return (zeros.index_copy(self.axis + 1, self._positions(rows.device), rows),)

    def adjoint_unit(
        self, unit: Unit, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Unit | Patch | Tensor, ...] | None:
        places = unravel(unit.index, out)
        places[self.axis] = self._positions(unit.index.device)[places[self.axis]]
        return (Unit(ravel(places, ins[0]), unit.sign, ins[0]),)

    def adjoint_patch(
        self, patch: Patch, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Patch, ...] | None:
        """The window moves, or gains channels of zeros, or lines of zeros between its own."""
        if self.axis == 0:
            (data,) = Slice(0, self.index).adjoint(patch.data, (), [(ins[0][0], *patch.data.shape[2:])])
            return (Patch(data, patch.top, patch.left, ins[0]),)
        if not isinstance(self.index, range):
            return None
        axis, start, step = self.axis + 1, self.index.start, self.index.step
        begin, size = (patch.top, patch.left)[self.axis - 1], patch.data.shape[axis]
        data = patch.data if step > 0 else patch.data.flip(axis)
        first = start + step * (begin if step > 0 else begin + size - 1)
        if abs(step) > 1:
            sizes = list(data.shape)
            sizes[axis] = abs(step) * (size - 1) + 1
            spread = data.new_zeros(sizes)
            spread[(slice(None),) * axis + (slice(None, None, abs(step)),)] = data
            data = spread
        top, left = (first, patch.left) if self.axis == 1 else (patch.top, first)
        return (Patch(data, top, left, ins[0]),)


@dataclass(frozen=True)
class Pad(Affine):
    """Zeros around the last axes, ``before`` and ``after`` each of them."""

    exact: ClassVar[bool] = True
    rising: ClassVar[bool] = True
    before: tuple[int, ...]
    after: tuple[int, ...]

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return F.pad(xs[0], pairs(self.before, self.after))

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        return (F.pad(rows, [-p for p in pairs(self.before, self.after)]),)

    def adjoint_unit(
        self, unit: Unit, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Unit | Patch | Tensor, ...] | None:
        before = (0,) * (len(out) - len(self.before)) + self.before
        places = [place - b for place, b in zip(unravel(unit.index, out), before, strict=True)]
        return (unit_at(places, unit.sign, ins[0]),)

    def adjoint_patch(
        self, patch: Patch, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Patch, ...] | None:
        if len(self.before) > 2:
            return None
        top, left = (0,) * (2 - len(self.before)) + self.before
        return (Patch(patch.data, patch.top - top, patch.left - left, ins[0]).masked(),)


def _as_slice(index: range) -> slice:
    return slice(index.start, index.stop, index.step)


def pairs(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Padding in the order of ``torch.nn.functional.pad``: last axis first, before and after."""
    return [p for pair in zip(reversed(before), reversed(after), strict=True) for p in pair]


def joined(call: Call, parts: Sequence[Value], axis: int) -> Ref:
    """Graph values and constants side by side. The constants become an offset over zeros."""
    first = next(part for part in parts if isinstance(part, Ref))
    axis = call.axis(axis, first)
    inner = len(first.shape) - axis - 1
    refs: list[Ref] = []
    offset: list[Tensor] = []
    gap = 0
    for part in (*parts, None):
        if isinstance(part, Tensor):
            offset.append(part.detach().reshape(call.sample_shape(part.shape)).to(call.dtype))
            gap += offset[-1].shape[axis]
            continue
        if gap and refs:
            refs[-1] = call.apply(Pad((0,) * (inner + 1), (gap, *[0] * inner)), refs[-1])
            gap = 0
        if isinstance(part, Ref):
            offset.append(torch.zeros(part.shape, dtype=call.dtype))
            refs.append(call.apply(Pad((gap, *[0] * inner), (0,) * (inner + 1)), part) if gap else part)
            gap = 0
    whole = refs[0] if len(refs) == 1 else call.apply(Concat(axis), *refs)
    if len(refs) == len(parts):
        return whole
    return call.apply(Shift(), whole, params=(torch.cat(offset, dim=axis),))


def sliced(call: Call, x: Ref, axis: int, index: slice | Sequence[int]) -> Ref:
    """Positions of one axis, counted from its end where negative, possibly repeated; the whole axis is
    left alone.
    """
    size = call.full_shape(x)[axis]
    index = range(size)[index] if isinstance(index, slice) else _positions(call, index, size)
    if index == range(size):
        return x
    if len(index) == 0:
        raise call.unsupported("it selects nothing")
    if len(set(index)) < len(index):
        return call.apply(Gather(call.axis(axis, x), tuple(index)), x)
    return call.apply(Slice(call.axis(axis, x), index), x)


def _positions(call: Call, index: Sequence[int], size: int) -> range | tuple[int, ...]:
    """A list of positions, as a range where it is one."""
    if not all(-size <= i < size for i in index):
        raise call.unsupported(f"positions {list(index)} of an axis of size {size}")
    places = tuple(i % size for i in index)
    step = places[1] - places[0] if len(places) > 1 else 1
    if not places or step == 0:
        return places
    as_range = range(places[0], places[0] + step * len(places), step)
    return as_range if tuple(as_range) == places else places


def selected(call: Call, x: Ref, axis: int, index: int) -> Ref:
    """One position of an axis, which disappears."""
    x = sliced(call, x, axis, [index])
    full = list(call.full_shape(x))
    del full[axis]
    return reshaped(call, x, full)


def parted(call: Call, x: Ref, axis: int, sizes: Sequence[int]) -> tuple[Value, ...]:
    """Consecutive parts of an axis."""
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    if ends[-1] != call.full_shape(x)[axis]:
        raise call.unsupported(f"parts of sizes {list(sizes)} do not make up axis {axis}")
    return tuple(sliced(call, x, axis, slice(e - s, e)) for e, s in zip(ends, sizes, strict=True))


def equal_parts(size: int, part: int) -> list[int]:
    """Sizes of consecutive parts of at most ``part``."""
    return [min(part, size - start) for start in range(0, size, part)]


def padded(call: Call, x: Ref, pads: Mapping[int, tuple[int, int]], value: float) -> Ref:
    """A constant around the axes named in ``pads``; a negative width crops."""
    for axis, (before, after) in pads.items():
        if min(before, after) < 0:
            size = call.full_shape(x)[axis]
            x = sliced(call, x, axis, slice(max(0, -before), size - max(0, -after)))
    widths = {call.axis(a, x): (max(0, b), max(0, c)) for a, (b, c) in pads.items() if max(b, c) > 0}
    if not widths:
        return x
    axes = range(min(widths), len(x.shape))
    op = Pad(*(tuple(widths.get(a, (0, 0))[side] for a in axes) for side in (0, 1)))
    y = call.apply(op, x)
    if value == 0:
        return y
    if not math.isfinite(value):
        raise call.unsupported(f"padding with {value}")
    outside = 1 - op.linear((torch.ones(1, *x.shape, dtype=call.dtype),), ())[0]
    return call.apply(Shift(), y, params=(outside * value,))


@from_torch("aten::cat", "aten::concat", "aten::concatenate")
def _cat(call: Call) -> Value:
    return joined(call, _list(call, call.get("tensors")), call.integer("dim", 0))


@from_torch("aten::hstack", "aten::column_stack")
def _hstack(call: Call) -> Value:
    return joined(call, _list(call, call.get("tensors")), 1)


@from_torch("aten::stack")
def _stack(call: Call) -> Value:
    parts = _list(call, call.get("tensors"))
    axis = call.integer("dim", 0)
    raised: list[Value] = []
    for part in parts:
        shape = list(call.full_shape(part) if isinstance(part, Ref) else part.shape)
        shape.insert(axis % (len(shape) + 1), 1)
        raised.append(reshaped(call, part, shape) if isinstance(part, Ref) else part.reshape(shape))
    return joined(call, raised, axis)


@from_torch("aten::slice")
def _slice(call: Call) -> Value:
    start, end = (None if call.get(key) is None else call.integer(key) for key in ("start", "end"))
    return sliced(call, call.ref("self"), _dim(call), slice(start, end, call.integer("step", 1)))


@from_torch("aten::select")
def _select(call: Call) -> Value:
    return selected(call, call.ref("self"), _dim(call), call.integer("index"))


@from_torch("aten::index_select")
def _index_select(call: Call) -> Value:
    return sliced(call, call.ref("self"), _dim(call), call.integers("index"))


@from_torch("aten::split", "aten::split_with_sizes")
def _split(call: Call) -> tuple[Value, ...]:
    x, axis = call.ref("self"), _dim(call)
    if call.operator == "aten::split":
        return parted(call, x, axis, equal_parts(call.full_shape(x)[axis], call.integer("split_size")))
    return parted(call, x, axis, call.integers("split_sizes"))


@from_torch("aten::unbind")
def _unbind(call: Call) -> tuple[Value, ...]:
    x, axis = call.ref("self"), _dim(call)
    return tuple(selected(call, x, axis, i) for i in range(call.full_shape(x)[axis]))


@from_onnx("Concat")
def _concat(call: Call) -> Value:
    parts = [value for key, value in call.args.items() if key.isdigit()]
    return joined(call, _list(call, parts), call.integer("axis"))


@from_onnx("Slice")
def _onnx_slice(call: Call) -> Value:
    x = call.ref("0")
    keys = ("1", "2", "3", "4") if "1" in call.args else ("starts", "ends", "axes", "steps")
    starts, ends = call.integers(keys[0]), call.integers(keys[1])
    axes = call.integers(keys[2], tuple(range(len(starts))))
    steps = call.integers(keys[3], (1,) * len(starts))
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        x = sliced(call, x, axis, slice(start, end, step))
    return x


@from_onnx("Gather")
def _gather(call: Call) -> Value:
    x, index, axis = call.ref("0"), call.constant("1"), call.integer("axis", 0)
    if index.dim() == 0:
        return selected(call, x, axis, int(index))
    x = sliced(call, x, axis, call.integers("1"))
    full, axis = call.full_shape(x), axis % len(call.full_shape(x))
    return reshaped(call, x, (*full[:axis], *index.shape, *full[axis + 1 :]))


@from_onnx("Split")
def _onnx_split(call: Call) -> tuple[Value, ...]:
    x, axis = call.ref("0"), call.integer("axis", 0)
    size = call.full_shape(x)[axis]
    even = tuple(equal_parts(size, -(-size // call.outputs)))
    return parted(call, x, axis, call.integers("1" if "1" in call.args else "split", even))


def _dim(call: Call) -> int:
    return call.integer("dim", 0)


def _list(call: Call, values: object) -> list[Value]:
    if not isinstance(values, list) or not all(isinstance(v, Ref | Tensor) for v in values):
        raise call.unsupported("its input is not a list of tensors")
    return values
