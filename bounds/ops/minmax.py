"""The larger and the smaller of two branches, over axes and over windows: max-pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bounds.graph import Builder, Ref
from bounds.interval import Interval
from bounds.kinds import Composite, Tensors
from bounds.linear import Shape
from bounds.ops.elementwise import Add, Negate, Shift, Subtract, meeting, operands
from bounds.ops.gather import Gather, common_shape, expanded
from bounds.ops.registry import Call, Value, from_onnx, from_torch
from bounds.ops.relu import Clip, LeakyReLU
from bounds.ops.shape import reshaped
from bounds.ops.slicing import Slice
from bounds.ops.windows import image, onnx_padding, onnx_reduction, per_axis, torch_reduction


@dataclass(frozen=True)
class Maximum(Composite):
    """The larger of two branches of one shape, as ``b + relu(a - b)``."""

    faithful: ClassVar[bool] = True

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        return torch.maximum(*xs)

    def parts(self, builder: Builder, xs: Sequence[Ref], params: Tensors, name: str) -> Ref:
        a, b = xs
        difference = builder.apply(Add(), (a, builder.apply(Negate(), (b,), (), name)), (), name)
        return builder.apply(Add(), (b, builder.apply(LeakyReLU(), (difference,), (), name)), (), name)

    def known(self, xs: Sequence[Interval]) -> Interval | None:
        a, b = xs
        return Interval(torch.maximum(a.lower, b.lower), torch.maximum(a.upper, b.upper))


@dataclass(frozen=True)
class Minimum(Composite):
    """The smaller of two branches of one shape, as ``b - relu(b - a)``."""

    faithful: ClassVar[bool] = True

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        return torch.minimum(*xs)

    def parts(self, builder: Builder, xs: Sequence[Ref], params: Tensors, name: str) -> Ref:
        a, b = xs
        difference = builder.apply(Add(), (b, builder.apply(Negate(), (a,), (), name)), (), name)
        step = builder.apply(LeakyReLU(), (difference,), (), name)
        return builder.apply(Add(), (b, builder.apply(Negate(), (step,), (), name)), (), name)

    def known(self, xs: Sequence[Interval]) -> Interval | None:
        a, b = xs
        return Interval(torch.minimum(a.lower, b.lower), torch.minimum(a.upper, b.upper))


@dataclass(frozen=True)
class AtLeast(Composite):
    """The larger of the sample and a constant, as ``c + relu(x - c)``; params: c, broadcast."""

    faithful: ClassVar[bool] = True

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        return torch.maximum(xs[0], params[0])

    def parts(self, builder: Builder, xs: Sequence[Ref], params: Tensors, name: str) -> Ref:
        above = builder.apply(LeakyReLU(), (builder.apply(Subtract(), xs, params, name),), (), name)
        return builder.apply(Shift(), (above,), params, name)


def _best(builder: Builder, largest: bool, values: Sequence[Ref], name: str) -> Ref:
    """The largest or smallest of several values of one shape, by a tournament."""
    left = list(values)
    while len(left) > 1:
        pairs = zip(left[::2], left[1::2], strict=False)
        winners = [builder.apply(Maximum() if largest else Minimum(), pair, (), name) for pair in pairs]
        left = winners + left[2 * len(winners) :]
    return left[0]


def _positions(builder: Builder, x: Ref, axis: int, index: Sequence[int], name: str) -> Ref:
    """Positions of one axis, in any order."""
    step = index[1] - index[0] if len(index) > 1 else 1
    regular = range(index[0], index[0] + step * len(index), step) if step else range(0)
    if tuple(regular) == tuple(index):
        return (
            x
            if len(index) == x.shape[axis] and step == 1
            else builder.apply(Slice(axis, regular), (x,), (), name)
        )
    held = tuple(index)
    op = Slice(axis, held) if len(set(held)) == len(held) else Gather(axis, held)
    return builder.apply(op, (x,), (), name)


@dataclass(frozen=True)
class Extreme(Composite):
    """The largest or smallest element along one axis of the sample, which remains with size one."""

    faithful: ClassVar[bool] = True
    axis: int
    largest: bool

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        return (torch.amax if self.largest else torch.amin)(xs[0], self.axis + 1, keepdim=True)

    def parts(self, builder: Builder, xs: Sequence[Ref], params: Tensors, name: str) -> Ref:
        """The first half against the last, which share the middle one of an odd number."""
        here = xs[0]
        while (size := here.shape[self.axis]) > 1:
            half = -(-size // 2)
            ends = (range(half), range(size - half, size))
            here = _best(
                builder, self.largest, [_positions(builder, here, self.axis, e, name) for e in ends], name
            )
        return here

    def known(self, xs: Sequence[Interval]) -> Interval | None:
        return Interval(self.value((xs[0].lower,), ()), self.value((xs[0].upper,), ()))


@dataclass(frozen=True)
class MaxPool(Composite):
    """The maximum over windows along the last axes of the sample.

    taps: per axis and tap of a window, the position that each output looks at there. A position may come
    twice, which changes no maximum: so windows over an edge, or of different sizes, need no padding.
    """

    faithful: ClassVar[bool] = True
    taps: tuple[tuple[tuple[int, ...], ...], ...]

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        x = xs[0]
        for axis, taps in enumerate(self.taps, start=x.dim() - len(self.taps)):
            picked = [x.index_select(axis, torch.tensor(tap, device=x.device)) for tap in taps]
            x = torch.stack(picked).amax(0)
        return x

    def parts(self, builder: Builder, xs: Sequence[Ref], params: Tensors, name: str) -> Ref:
        """One axis after the other."""
        here = xs[0]
        for axis, taps in enumerate(self.taps, start=len(here.shape) - len(self.taps)):
            here = _best(builder, True, [_positions(builder, here, axis, t, name) for t in taps], name)
        return here

    def known(self, xs: Sequence[Interval]) -> Interval | None:
        return Interval(self.value((xs[0].lower,), ()), self.value((xs[0].upper,), ()))


def _inside(windows: Sequence[Sequence[int]], size: int) -> tuple[tuple[int, ...], ...]:
    """Taps of windows, of which what lies outside is replaced by something of the window inside."""
    held = [[i for i in window if 0 <= i < size] for window in windows]
    most = max(len(window) for window in held)
    return tuple(tuple(w[min(tap, len(w) - 1)] for w in held) for tap in range(most))


def _pooled(
    call: Call, x: Ref, kernel: Shape, stride: Shape, dilation: Shape, before: Shape, after: Shape, ceil: bool
) -> Value:
    taps = []
    for size, k, s, d, b, a in zip(x.shape[1:], kernel, stride, dilation, before, after, strict=True):
        reach = d * (k - 1) + 1
        room = size + b + a - reach
        count = (-(-room // s) if ceil else room // s) + 1
        if ceil and (count - 1) * s >= size + b:  # a window that begins beyond the edge is dropped
            count -= 1
        windows = [range(o * s - b, o * s - b + reach, d) for o in range(count)]
        if not windows or any(all(not 0 <= i < size for i in w) for w in windows):
            raise call.unsupported("a window without an element of the image")
        taps.append(_inside(windows, size))
    return call.apply(MaxPool(tuple(taps)), x)


@from_torch(*(f"aten::max_pool{n}d{tail}" for n in (1, 2, 3) for tail in ("", "_with_indices")))
def _max_pool(call: Call) -> Value | tuple[Value, ...]:
    axes = int(call.operator.removeprefix("aten::max_pool")[0])
    kernel = per_axis(call.integers("kernel_size"), axes)
    stride, padding, dilation = (
        per_axis(call.integers(key, ()) or default, axes)
        for key, default in (("stride", kernel), ("padding", (0,)), ("dilation", (1,)))
    )
    ceil = bool(call.get("ceil_mode", False))
    y = _pooled(call, image(call, "self", axes), kernel, stride, dilation, padding, padding, ceil)
    return (y,) if call.operator.endswith("indices") else y


@from_torch("aten::adaptive_max_pool1d", "aten::adaptive_max_pool2d", "aten::adaptive_max_pool3d")
def _adaptive(call: Call) -> tuple[Value, ...]:
    axes = int(call.operator[-2])
    x = image(call, "self", axes)
    taps = []
    for size, parts in zip(x.shape[1:], per_axis(call.integers("output_size"), axes), strict=True):
        windows = [range(o * size // parts, -(-(o + 1) * size // parts)) for o in range(parts)]
        taps.append(_inside(windows, size))
    return (call.apply(MaxPool(tuple(taps)), x),)


@from_onnx("MaxPool")
def _onnx_max_pool(call: Call) -> Value | tuple[Value, ...]:
    kernel = call.integers("kernel_shape")
    axes = len(kernel)
    x = image(call, "0", axes)
    stride, dilation = call.integers("strides", (1,) * axes), call.integers("dilations", (1,) * axes)
    before, after = onnx_padding(call, x, kernel, stride, dilation)
    return _pooled(call, x, kernel, stride, dilation, before, after, bool(call.integer("ceil_mode", 0)))


@from_onnx("GlobalMaxPool")
def _global(call: Call) -> Value:
    x = call.ref("0")
    return _reduced(call, x, range(2, len(call.full_shape(x))), keep=True, largest=True)


def _reduced(call: Call, x: Ref, axes: Sequence[int], keep: bool, largest: bool) -> Ref:
    places = sorted({call.axis(axis, x) for axis in axes})
    for place in places:
        x = call.apply(Extreme(place, largest), x)
    if keep:
        return x
    shift = int(call.batched)
    full = call.full_shape(x)
    return reshaped(call, x, [size for i, size in enumerate(full) if i - shift not in places])


@from_torch("aten::amax", "aten::amin")
def _amax(call: Call) -> Value:
    return _reduced(call, *torch_reduction(call), call.operator == "aten::amax")


@from_onnx("ReduceMax", "ReduceMin")
def _reduce(call: Call) -> Value:
    x, axes, keep = onnx_reduction(call)
    return _reduced(call, x, axes, keep, call.operator == "ReduceMax") if axes else x


@from_torch("aten::max", "aten::min", "aten::maximum", "aten::minimum")
def _max(call: Call) -> Value | tuple[Value, ...]:
    largest = "max" in call.operator
    if "other" in call.args:
        return _of_two(call, *operands(call), largest)
    x = call.ref("self")
    if call.get("dim") is None:
        raise call.unsupported("it reduces the batch axis, too", "name the axis")
    y = _reduced(call, x, (call.integer("dim"),), bool(call.get("keepdim", False)), largest)
    return (y,)


@from_onnx("Max", "Min")
def _onnx_max(call: Call) -> Value:
    values = [value for key, value in call.args.items() if key.isdigit()]
    refs = [value for value in values if isinstance(value, Ref)]
    here: object = refs[0]
    for value in refs[1:] + [value for value in values if not isinstance(value, Ref)]:
        here = _of_two(call, here, value, call.operator == "Max")
    if not isinstance(here, Ref):
        raise call.unsupported("no operand depends on the input")
    return here


def _of_two(call: Call, a: object, b: object, largest: bool) -> Value:
    """The larger or smaller of graph values, or of one and a constant, that may broadcast."""
    if isinstance(a, Ref) and isinstance(b, Ref):
        shape = common_shape(call, call.full_shape(a), call.full_shape(b))
        pair = (expanded(call, a, shape), expanded(call, b, shape))
        return call.apply(Maximum() if largest else Minimum(), *pair)
    x, c = (a, b) if isinstance(a, Ref) else (b, a)
    if not isinstance(x, Ref):
        raise call.unsupported("no operand depends on the input")
    return _held(call, *meeting(call, x, c), largest)


def _held(call: Call, x: Ref, c: Tensor, largest: bool) -> Value:
    """Against a constant: one function where c is the same number everywhere."""
    end = float(c.flatten()[0])
    if bool((c == end).all()):
        inf = float("inf")
        if abs(end) == inf and (end < 0) == largest:
            return x
        return call.apply(Clip(end, inf) if largest else Clip(-inf, end), x)
    if largest:
        return call.apply(AtLeast(), x, params=(c,))
    return call.apply(Negate(), call.apply(AtLeast(), call.apply(Negate(), x), params=(-c,)))
