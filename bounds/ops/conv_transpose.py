"""Transposed convolutions in one to three dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from bounds.kinds import Affine, Tensors
from bounds.linear import Patch, Shape, Unit
from bounds.ops.elementwise import Shift
from bounds.ops.products import as_product, by_product, by_taps, spread
from bounds.ops.registry import Call, Value, from_onnx, from_torch
from bounds.ops.shape import reshaped
from bounds.ops.slicing import padded
from bounds.ops.windows import image, per_axis

_FORWARD: dict[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}
_ADJOINT: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@dataclass(frozen=True)
class ConvTranspose(Affine):
    """The transpose of a convolution; params: W (in, out / groups, *kernel) and optionally b (out,).

    stride, padding, extra, dilation: one number per spatial axis; padding is cut off on both sides of the
    full result, and ``extra`` of that put back at the end.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    extra: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return self._transposed(xs[0], weights[0], None)

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        return self._transposed(xs[0], params[0], params[1] if len(params) > 1 else None)

    def _transposed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        forward = _FORWARD[len(self.stride)]
        return forward(x, weight, bias, self.stride, self.padding, self.extra, self.groups, self.dilation)

    def weights(self, params: Tensors) -> Tensors:
        return params[:1]

    def offset(self, params: Tensors) -> Tensor | None:
        return params[1].view(-1, *[1] * len(self.stride)) if len(params) > 1 else None

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return self.fan_out(ins, out, params) + self.fan_in(ins, out, params) + prod(out) + 4

    def fan_out(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return params[0][0].numel()

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return ins[0][0] // self.groups * prod(params[0].shape[2:]) + 1

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        weight, simple = weights[0], self.groups == 1 and self.dilation == (1, 1)
        if simple and by_product(rows, weight):
            full = as_product(rows, weight, self.stride, self.padding)
        else:
            back = _ADJOINT[len(self.stride)]
            full = back(rows, weight, None, self.stride, self.padding, self.dilation, self.groups)
        whole: tuple[slice, ...] = (slice(None), slice(None))
        return (full[whole + tuple(slice(size) for size in ins[0][1:])],)

    def adjoint_unit(
        self, unit: Unit, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Unit | Patch | Tensor, ...] | None:
        """What of the kernel of the neuron's channel meets its phase of the stride."""
        if len(self.stride) != 2:
            return None
        channel, *position = unit.position()
        kernel = self._phases(weights[0])
        (top, y), (left, x) = (self._met(axis, start, kernel) for axis, start in enumerate(position))
        taps = kernel[:, :, :, channel, y, x].flip(0, 1).permute(3, 2, 0, 1)
        return (Patch(taps * unit.sign[:, None, None, None], top, left, ins[0]).masked(),)

    def adjoint_patch(
        self, patch: Patch, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Patch, ...] | None:
        """Phases of the stride as channels: then it is the transpose of a convolution of stride one."""
        if len(self.stride) != 2:
            return None
        kernel, data = self._phases(weights[0]), patch.data
        (top, y), (left, x) = (
            self._met(axis, start, kernel) for axis, start in enumerate((patch.top, patch.left))
        )
        data = _shifted(_shifted(data, 2, y, self.stride[0]), 3, x, self.stride[1])
        height, width = (n // s for n, s in zip(data.shape[2:], self.stride, strict=True))
        data = data.view(len(data), -1, height, self.stride[0], width, self.stride[1])
        data = data.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)
        places = range(len(kernel))[::-1], range(kernel.shape[1])[::-1]
        size = height + len(kernel) - 1, width + kernel.shape[1] - 1
        found = by_taps(data, kernel.flatten(3), 1, size, places=places)
        return (Patch(found, top, left, ins[0]).masked(),)

    def _phases(self, weight: Tensor) -> Tensor:
        """The kernel apart by taps that meet one phase of the stride: (*taps, in, out, *phases)."""
        full = spread(weight, self.groups, self.dilation)
        tall, wide = (-(-k // s) for k, s in zip(full.shape[2:], self.stride, strict=True))
        (rows, columns), (height, width) = self.stride, full.shape[2:]
        whole = F.pad(full, (0, wide * columns - width, 0, tall * rows - height))
        return whole.view(*full.shape[:2], tall, rows, wide, columns).permute(2, 4, 0, 1, 3, 5)

    def _met(self, axis: int, start: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
        """Where along an axis the input begins that an output position meets, and the position's phase."""
        whole = (start + self.padding[axis]).div(self.stride[axis], rounding_mode="floor")
        return whole - (kernel.shape[axis] - 1), start + self.padding[axis] - whole * self.stride[axis]


def _shifted(data: Tensor, axis: int, by: Tensor, stride: int) -> Tensor:
    """Every row's window moved along an axis by its own number of positions, with zeros to whole strides."""
    size = data.shape[axis]
    whole = -(-(size + int(by.max())) // stride) * stride
    longer = F.pad(data, (0, 0, 0, whole - size) if axis == data.dim() - 2 else (0, whole - size))
    if not bool(by.any()):
        return longer
    source = (torch.arange(whole, device=data.device) - by[:, None]) % whole
    source = source[:, None, :, None] if axis == 2 else source[:, None, None, :]
    return longer.gather(axis, source.expand_as(longer))


@from_torch("aten::conv_transpose1d", "aten::conv_transpose2d", "aten::conv_transpose3d")
def _conv_transpose(call: Call) -> Value:
    weight, bias = call.constant("weight"), call.optional("bias")
    axes = weight.dim() - 2
    op = ConvTranspose(
        per_axis(call.integers("stride", (1,)), axes),
        per_axis(call.integers("padding", (0,)), axes),
        per_axis(call.integers("output_padding", (0,)), axes),
        per_axis(call.integers("dilation", (1,)), axes),
        call.integer("groups", 1),
    )
    params = (weight,) if bias is None else (weight, bias)
    return call.apply(op, image(call, "input", axes), params=params)


@from_torch("aten::col2im")
def _fold(call: Call) -> Value:
    """Patches added up where they came from: a transposed convolution with one-hot kernels."""
    keys = ("kernel_size", "dilation", "padding", "stride")
    kernel, dilation, padding, stride = (call.integers(key) for key in keys)
    size, x = call.integers("output_size"), call.ref("self")
    reach = [n + 2 * p - d * (k - 1) - 1 for n, p, d, k in zip(size, padding, dilation, kernel, strict=True)]
    grid = [r // s + 1 for r, s in zip(reach, stride, strict=True)]
    op = ConvTranspose(
        stride,
        padding,
        tuple(r % s for r, s in zip(reach, stride, strict=True)),
        dilation,
        x.shape[0] // prod(kernel),
    )
    x = reshaped(call, x, (1, x.shape[0], *grid))
    one_hot = torch.eye(prod(kernel), dtype=call.dtype).repeat(op.groups, 1).view(-1, 1, *kernel)
    return call.apply(op, x, params=(one_hot,))


@from_onnx("ConvTranspose")
def _onnx_conv_transpose(call: Call) -> Value:
    weight, bias = call.constant("1"), call.optional("2")
    axes = weight.dim() - 2
    if axes not in _FORWARD:
        raise call.unsupported(f"a transposed convolution over {axes} axes")
    x = image(call, "0", axes)
    stride, dilation = call.integers("strides", (1,) * axes), call.integers("dilations", (1,) * axes)
    extra = call.integers("output_padding", (0,) * axes)
    before, after = _cut(call, x.shape[1:], tuple(weight.shape[2:]), stride, dilation, extra)
    groups = call.integer("group", 1)
    usual = all(e < max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True))
    if before == after and min(before) >= 0 and usual:
        op = ConvTranspose(stride, before, extra, dilation, groups)
        return call.apply(op, x, params=(weight,) if bias is None else (weight, bias))
    zero = (0,) * axes
    y = call.apply(ConvTranspose(stride, zero, zero, dilation, groups), x, params=(weight,))
    y = padded(call, y, {i + 2: (-before[i], extra[i] - after[i]) for i in range(axes)}, 0.0)
    return y if bias is None else call.apply(Shift(), y, params=(bias.view(-1, *[1] * axes),))


def _cut(
    call: Call, sizes: Shape, kernel: Shape, stride: Shape, dilation: Shape, extra: Shape
) -> tuple[Shape, Shape]:
    """What is cut off the full result before and after each axis, as the attributes say or imply."""
    axes, auto = len(sizes), call.get("auto_pad", "NOTSET")
    same = auto in ("SAME_UPPER", "SAME_LOWER")
    if call.get("output_shape") is not None:
        wanted = call.integers("output_shape")[-axes:]
    elif same:
        wanted = tuple(n * s for n, s in zip(sizes, stride, strict=True))
    elif auto in ("NOTSET", "VALID"):
        pads = call.integers("pads", (0,) * (2 * axes))
        return pads[:axes], pads[axes:]
    else:
        raise call.unsupported(f"auto_pad {auto!r}")
    total = [
        s * (n - 1) + e + d * (k - 1) + 1 - w
        for s, n, e, d, k, w in zip(stride, sizes, extra, dilation, kernel, wanted, strict=True)
    ]
    small, large = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    return (small, large) if auto == "SAME_UPPER" else (large, small)
