"""Averages and sums: pooling in one to three dimensions, means and sums over axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from bounds.graph import Ref
from bounds.kinds import Affine, Tensors
from bounds.linear import Patch, Shape
from bounds.ops.conv import Conv
from bounds.ops.elementwise import Divide
from bounds.ops.registry import Call, Value, from_onnx, from_torch
from bounds.ops.shape import reshaped
from bounds.ops.slicing import padded, pairs
from bounds.ops.windows import image, onnx_padding, onnx_reduction, per_axis, torch_reduction

_POOL: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_ADAPTIVE: dict[int, Callable[..., Tensor]] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}


@dataclass(frozen=True)
class AvgPool(Affine):
    """The average over windows of (channels, *spatial); all attributes have one number per spatial axis.

    padding: zeros on both sides, counted in the average only with ``count_padding``. ceil: whether a last
    window may hang over the end, where what lies beyond the padding is never counted.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    ceil: bool = False
    count_padding: bool = True

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        pool = _POOL[len(self.kernel)]
        return pool(xs[0], self.kernel, self.stride, self.padding, self.ceil, self.count_padding)

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return prod(self.kernel) + 4

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return prod(self.kernel) + 1

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        """The library's, as behind its gradient. (The way there by torch loads its compiler: a second.)"""
        lift = max(0, 2 - len(self.kernel))  # one axis is the last of two
        kernel, stride = ((1,) * lift + numbers for numbers in (self.kernel, self.stride))
        padding, shape = (0,) * lift + self.padding, (len(rows), ins[0][0], *[1] * lift, *ins[0][1:])
        back = torch.ops.aten.avg_pool3d_backward if len(kernel) == 3 else torch.ops.aten.avg_pool2d_backward
        spread = rows.reshape(*shape[: 2 + lift], *rows.shape[2:])
        counted = kernel, stride, padding, self.ceil, self.count_padding, None
        return (back(spread, rows.new_zeros(shape), *counted).view(len(rows), *ins[0]),)

    def adjoint_patch(
        self, patch: Patch, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Patch, ...] | None:
        """Each pixel of the window spreads over its own window, if all of these divide by the same number."""
        if len(self.kernel) != 2 or self.ceil or (any(self.padding) and not self.count_padding):
            return None
        rows, channels, height, width = patch.data.shape
        ones = patch.data.new_ones(1, 1, *self.kernel)
        spread = F.conv_transpose2d(patch.data.reshape(-1, 1, height, width), ones, None, self.stride)
        data = spread.reshape(rows, channels, *spread.shape[2:]) / prod(self.kernel)
        top = patch.top * self.stride[0] - self.padding[0]
        left = patch.left * self.stride[1] - self.padding[1]
        return (Patch(data, top, left, ins[0]).masked(),)


@dataclass(frozen=True)
class AdaptiveAvgPool(Affine):
    """The average over as many windows as ``size`` says, as even as they come; they may overlap."""

    size: tuple[int, ...]

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return _ADAPTIVE[len(self.size)](xs[0], self.size)

    def _window(self, ins: Sequence[Shape]) -> int:
        return prod(-(-whole // part) + 1 for whole, part in zip(ins[0][1:], self.size, strict=True))

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        """Windows of one axis overlap in at most ``size / whole + 1`` outputs."""
        overlap = prod(-(-part // whole) + 1 for whole, part in zip(ins[0][1:], self.size, strict=True))
        return max(self._window(ins), overlap) + 4

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return self._window(ins) + 1


@dataclass(frozen=True)
class Sum(Affine):
    """The sum over some axes of the sample, which remain with size one."""

    axes: tuple[int, ...]

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return xs[0].sum(tuple(axis + 1 for axis in self.axes), keepdim=True)

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return self.fan_in(ins, out, params) + 4

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return prod(ins[0][axis] for axis in self.axes)

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        return (rows.expand(-1, *ins[0]),)


def _reduced(call: Call, x: Ref, axes: Sequence[int], keep: bool, mean: bool) -> Value:
    """Sum or mean over full axes, which stay with size one if ``keep``."""
    places = tuple(sorted(call.axis(axis, x) for axis in axes))
    y = call.apply(Sum(places), x) if places else x
    if mean:
        count = prod(x.shape[axis] for axis in places)
        y = call.apply(Divide(), y, params=(torch.tensor(float(count), dtype=call.dtype),))
    if keep:
        return y
    return reshaped(call, y, _without(call, y, places))


def _without(call: Call, y: Ref, places: Sequence[int]) -> list[int]:
    shift = int(call.batched)
    return [size for axis, size in enumerate(call.full_shape(y)) if axis - shift not in places]


@from_torch("aten::mean", "aten::sum")
def _mean(call: Call) -> Value:
    return _reduced(call, *torch_reduction(call), call.operator == "aten::mean")


@from_onnx("ReduceMean", "ReduceSum")
def _reduce(call: Call) -> Value:
    x, axes, keep = onnx_reduction(call)
    return _reduced(call, x, axes, keep, call.operator == "ReduceMean") if axes else x


@from_torch("aten::avg_pool1d", "aten::avg_pool2d", "aten::avg_pool3d")
def _avg_pool(call: Call) -> Value:
    axes = int(call.operator[-2])
    x = image(call, "self", axes)
    kernel = per_axis(call.integers("kernel_size"), axes)
    op = AvgPool(
        kernel,
        per_axis(call.integers("stride", ()) or kernel, axes),
        per_axis(call.integers("padding", (0,)), axes),
        bool(call.get("ceil_mode", False)),
        bool(call.get("count_include_pad", True)),
    )
    if call.get("divisor_override") is None:
        return call.apply(op, x)
    sizes = (call.out or ())[-axes:]
    after = _after(x.shape[1:], op.kernel, op.stride, op.padding, sizes)
    sums = _window_sums(call, x, op.kernel, op.stride, (1,) * axes, op.padding, after)
    return call.apply(
        Divide(), sums, params=(torch.tensor(call.number("divisor_override"), dtype=call.dtype),)
    )


def _window_sums(
    call: Call, x: Ref, kernel: Shape, stride: Shape, dilation: Shape, before: Shape, after: Shape
) -> Ref:
    """The sum over every window, after padding with zeros (negative: cropping)."""
    axes, channels = len(kernel), x.shape[0]
    x = padded(call, x, {i + 2: (before[i], after[i]) for i in range(axes)}, 0.0)
    op = Conv(stride, (0,) * axes, dilation, channels)
    return call.apply(op, x, params=(torch.ones(channels, 1, *kernel, dtype=call.dtype),))


def _after(sizes: Shape, reach: Shape, stride: Shape, before: Shape, out: Shape) -> Shape:
    """The padding at the end with which the last of so many windows just fits."""
    return tuple(
        (n - 1) * s + k - b - size for n, s, k, b, size in zip(out, stride, reach, before, sizes, strict=True)
    )


@from_torch("aten::adaptive_avg_pool1d", "aten::adaptive_avg_pool2d", "aten::adaptive_avg_pool3d")
def _adaptive(call: Call) -> Value:
    axes = int(call.operator[-2])
    x, size = image(call, "self", axes), call.integers("output_size")
    if any(whole % part for whole, part in zip(x.shape[1:], size, strict=True)):
        return call.apply(AdaptiveAvgPool(size), x)
    kernel = tuple(whole // part for whole, part in zip(x.shape[1:], size, strict=True))
    return call.apply(AvgPool(kernel, kernel, (0,) * axes), x)


@from_onnx("GlobalAveragePool")
def _global(call: Call) -> Value:
    x = call.ref("0")
    rank = len(call.full_shape(x))
    return _reduced(call, x, range(2, rank), keep=True, mean=True)


@from_onnx("AveragePool")
def _onnx_avg_pool(call: Call) -> Value:
    kernel = call.integers("kernel_shape")
    axes = len(kernel)
    if axes not in _POOL:
        raise call.unsupported(f"pooling over {axes} axes")
    x = image(call, "0", axes)
    stride, dilation = call.integers("strides", (1,) * axes), call.integers("dilations", (1,) * axes)
    before, after = onnx_padding(call, x, kernel, stride, dilation)
    ceil, count = bool(call.integer("ceil_mode", 0)), bool(call.integer("count_include_pad", 0))
    plain = before == after and all(2 * b <= k for b, k in zip(before, kernel, strict=True))
    if plain and set(dilation) == {1} and not (ceil and any(before)):
        return call.apply(AvgPool(kernel, stride, before, ceil, count), x)
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    last = tuple(map(max, after, _overhang(x.shape[1:], reach, stride, before, after))) if ceil else after
    sums = _window_sums(call, x, kernel, stride, dilation, before, last)
    beyond = tuple(b - a for b, a in zip(last, after, strict=True))
    inside = torch.ones([1, 1, *x.shape[1:]], dtype=call.dtype)
    inside = F.pad(inside, pairs(before, after), value=float(count))
    inside = F.pad(inside, pairs((0,) * axes, beyond))
    op, ones = Conv(stride, (0,) * axes, dilation), torch.ones(1, 1, *kernel, dtype=call.dtype)
    return call.apply(Divide(), sums, params=(op.linear((inside,), (ones,))[0],))


def _overhang(sizes: Shape, reach: Shape, stride: Shape, before: Shape, after: Shape) -> Shape:
    """The padding at the end that a last window needs which begins inside, but hangs over."""
    out = []
    for n, k, s, b, a in zip(sizes, reach, stride, before, after, strict=True):
        windows = -(-(b + n + a - k) // s) + 1
        out.append(windows - 1 if (windows - 1) * s >= n + b else windows)
    return _after(sizes, reach, stride, before, tuple(out))
