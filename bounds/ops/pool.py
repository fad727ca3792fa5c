"""Averages and sums: pooling in one and two dimensions, means and sums over axes."""

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
from bounds.ops.elementwise import Divide
from bounds.ops.registry import Call, Value, from_onnx, from_torch
from bounds.ops.shape import reshaped
from bounds.ops.slicing import Pad
from bounds.ops.windows import image, onnx_padding, per_axis

_POOL: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d}
_ADAPTIVE: dict[int, Callable[..., Tensor]] = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d}


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

    def adjoint_patch(
        self, patch: Patch, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Patch, ...] | None:
        """Each pixel of the window spreads over its own window, if all of these divide by the same number."""
        if len(self.kernel) != 2 or self.ceil or (any(self.padding) and not self.count_padding):
            return None
        rows, channels, height, width = patch.data.shape
        ones = patch.data.new_ones(1, 1, *self.kernel)
        spread = F.conv_transpose2d(patch.data.view(-1, 1, height, width), ones, None, self.stride)
        data = spread.view(rows, channels, *spread.shape[2:]) / prod(self.kernel)
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
    x = call.ref("self")
    axes = call.integers("dim", ()) or tuple(range(len(call.full_shape(x))))
    return _reduced(call, x, axes, bool(call.get("keepdim", False)), call.operator == "aten::mean")


@from_onnx("ReduceMean", "ReduceSum")
def _reduce(call: Call) -> Value:
    x = call.ref("0")
    axes = call.integers("1" if "1" in call.args else "axes", ())
    if not axes and call.integer("noop_with_empty_axes", 0):
        return x
    every = tuple(range(len(call.full_shape(x))))
    keep = bool(call.integer("keepdims", 1))
    return _reduced(call, x, axes or every, keep, call.operator == "ReduceMean")


@from_torch("aten::avg_pool1d", "aten::avg_pool2d")
def _avg_pool(call: Call) -> Value:
    axes = 1 if call.operator == "aten::avg_pool1d" else 2
    x = image(call, "self", axes)
    if call.get("divisor_override") is not None:
        raise call.unsupported("a divisor of its own")
    kernel = per_axis(call.integers("kernel_size"), axes)
    op = AvgPool(
        kernel,
        per_axis(call.integers("stride", ()) or kernel, axes),
        per_axis(call.integers("padding", (0,)), axes),
        bool(call.get("ceil_mode", False)),
        bool(call.get("count_include_pad", True)),
    )
    return call.apply(op, x)


@from_torch("aten::adaptive_avg_pool1d", "aten::adaptive_avg_pool2d")
def _adaptive(call: Call) -> Value:
    axes = 1 if call.operator == "aten::adaptive_avg_pool1d" else 2
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
    if set(call.integers("dilations", (1,))) != {1}:
        raise call.unsupported("a dilation")
    stride = call.integers("strides", (1,) * axes)
    before, after = onnx_padding(call, x, kernel, stride, (1,) * axes)
    ceil, count = bool(call.integer("ceil_mode", 0)), bool(call.integer("count_include_pad", 0))
    if before != after and not count:
        raise call.unsupported(f"uneven padding {before} and {after} left out of the average")
    if ceil and (before != after or any(before)):
        raise call.unsupported("ceil_mode together with padding")
    if before != after:
        x, before = call.apply(Pad(before, after), x), (0,) * axes
    return call.apply(AvgPool(kernel, stride, before, ceil, count), x)
