"""Convolutions in one to three dimensions with stride, padding, dilation and groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bounds.graph import Ref
from bounds.kinds import Affine, Tensors
from bounds.linear import Patch, Shape, Unit
from bounds.memory import cached
from bounds.ops.products import as_product, by_product, by_taps, spread, together
from bounds.ops.registry import Call, Value, from_onnx, from_torch
from bounds.ops.slicing import Pad
from bounds.ops.windows import image, onnx_padding, per_axis

_FORWARD: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}

_FEW_PHASES = 2  # per axis
_TAPWISE = 32  # rows from which on one product for all of them pays for the sums apart
_SHUFFLED = 8  # weights that are quickly shuffled for one pixel of the rows


@dataclass(frozen=True)
class Conv(Affine):
    """Cross-correlation; params: W (out, in / groups, *kernel) and optionally b (out,).

    stride, padding, dilation: one number per spatial axis; padding is with zeros, on both sides.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    fresh: ClassVar[bool] = True

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return self._conv(xs[0], weights[0], None)

    def value(self, xs: Tensors, params: Tensors) -> Tensor:
        x, weight, bias = xs[0], params[0], params[1] if len(params) > 1 else None
        quick = x.requires_grad and torch.is_grad_enabled() and x.device.type == "cpu" and self._phased
        if quick and not any(p.requires_grad for p in params):
            y: Tensor = _WithAdjoint.apply(x, weight, bias, self)  # type: ignore[no-untyped-call]
            return y
        return self._conv(x, weight, bias)

    def _conv(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.groups == 1 and self.dilation == (1, 1) and by_product(x, weight):
            y = as_product(x, weight, self.stride, self.padding)
            return y if bias is None else y.add_(bias.view(-1, 1, 1))
        forward = _FORWARD[len(self.stride)]
        return forward(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def weights(self, params: Tensors) -> Tensors:
        return params[:1]

    def offset(self, params: Tensors) -> Tensor | None:
        return params[1].view(-1, *[1] * len(self.stride)) if len(params) > 1 else None

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return prod(params[0].shape[1:]) + self.fan_out(ins, out, params) + prod(out) + 4

    def fan_out(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return out[0] // self.groups * prod(params[0].shape[2:])

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        return prod(params[0].shape[1:]) + 1

    def adjoint(self, rows: Tensor, weights: Tensors, ins: Sequence[Shape]) -> Tensors:
        weight, kernel = weights[0], weights[0].shape[2:]
        many = _SHUFFLED * rows[:, 0].numel() > weight.numel()
        if self._phased and (many or by_product(rows, weight)):
            top, left = self.padding
            if self.stride[0] > 1 or (top < kernel[0] and left < kernel[1]):
                return (_transposed(rows, weight, self.stride[0], (top, left), ins[0][1:]),)
        leftover = tuple(
            (size + 2 * p - d * (k - 1) - 1) % s
            for size, p, d, k, s in zip(
                ins[0][1:], self.padding, self.dilation, kernel, self.stride, strict=True
            )
        )
        transposed = _TRANSPOSED[len(self.stride)]
        return (
            transposed(rows, weight, None, self.stride, self.padding, leftover, self.groups, self.dilation),
        )

    @property
    def _phased(self) -> bool:
        """Whether the transposed convolution may be computed phase by phase."""
        return self.groups == 1 and self.dilation == (1, 1) and self.stride[0] == self.stride[-1]

    def adjoint_unit(
        self, unit: Unit, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Unit | Patch | Tensor, ...] | None:
        """The kernel of the neuron's channel, placed where the neuron looks."""
        if len(self.stride) != 2:
            return None
        channel, y, x = unit.position()
        window = spread(weights[0], self.groups, self.dilation)[channel] * unit.sign[:, None, None, None]
        top, left = y * self.stride[0] - self.padding[0], x * self.stride[1] - self.padding[1]
        return (Patch(window, top, left, ins[0]).masked(),)

    def adjoint_patch(
        self, patch: Patch, weights: Tensors, ins: Sequence[Shape], out: Shape
    ) -> tuple[Patch, ...] | None:
        if len(self.stride) != 2:
            return None
        if self._phased:
            data = _windows(patch.data, weights[0], self.stride[0])
        else:
            data = F.conv_transpose2d(
                patch.data, weights[0], None, self.stride, 0, 0, self.groups, self.dilation
            )
        top = patch.top * self.stride[0] - self.padding[0]
        left = patch.left * self.stride[1] - self.padding[1]
        return (Patch(data, top, left, ins[0]).masked(),)


class _WithAdjoint(torch.autograd.Function):
    """The convolution, whose gradient by its input is our adjoint: on a CPU faster than the library's."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, op: Conv) -> Tensor:
        return op._conv(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, op = inputs
        ctx.save_for_backward(weight)
        ctx.op, ctx.shape = op, tuple(x.shape[1:])

    @staticmethod
    def backward(ctx: Any, rows: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        (found,) = ctx.op.adjoint(rows, (weight,), (ctx.shape,))
        return found, None, None, None


def _windows(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """All of the transposed convolution of small images, to most of whose result few of them add."""
    even = all(size % stride == 0 for size in weight.shape[2:])
    if together(x) and (x.dtype is torch.float64 or not even):
        ends = [(n - 1) * stride + k for n, k in zip(x.shape[2:], weight.shape[2:], strict=True)]
        return by_taps(x, weight.permute(2, 3, 1, 0), stride, ends)
    return _transposed(x, weight, stride)


def _transposed(
    x: Tensor, weight: Tensor, stride: int, first: tuple[int, int] = (0, 0), size: Shape | None = None
) -> Tensor:
    """The transposed convolution without padding, as one ordinary convolution for all phases of the stride.

    Each output position modulo the stride meets its own subset of kernel taps; with these as channels, the
    result is a convolution of stride one and a shuffle. On small images of many rows that is several times
    faster than the library's strided transposed convolution, with the same products summed. Where the stride
    does not divide the kernel, phases multiply by zeros, which costs more than it saves in float64.
    first, size: the part of the result that is wanted; by default all. What lies beyond it is zero. For a
    stride of one as much is left out at the end as before ``first``.
    """
    out, inner, height, width = weight.shape
    if stride == 1:
        kernel = weight.flip(2, 3).transpose(0, 1)
        return _plain(x, kernel, (height - 1 - first[0], width - 1 - first[1]))
    # Where the kernel is smaller than the stride, some positions meet none of it.
    phases = min(stride, height), min(stride, width)
    taps, across = -(-height // stride), -(-width // stride)
    rest = (across * phases[1] - width, taps * phases[0] - height)
    ends = tuple((n - 1) * stride + k for n, k in zip(x.shape[2:], (height, width), strict=True))
    size = size or ends
    if any(rest) and x.dtype == torch.float64:
        if by_product(x, weight) and len(x) >= _TAPWISE:
            return by_taps(x, weight.permute(2, 3, 1, 0), stride, size, first)
        more = tuple(n + 2 * f - e for n, f, e in zip(size, first, ends, strict=True))
        return F.conv_transpose2d(x, weight, None, stride, first, more)
    whole = F.pad(weight, (0, rest[0], 0, rest[1])) if any(rest) else weight
    parts = whole.reshape(out, inner, taps, phases[0], across, phases[1]).flip(2, 4).permute(1, 3, 5, 0, 2, 4)
    kernel = parts.reshape(inner * prod(phases), out, taps, across)
    image = x.new_empty(len(x), inner, *size)
    for part in cached(x, inner * prod(size)):
        y = _plain(x[part], kernel, (taps - 1, across - 1))
        _interleave(y.view(len(y), inner, *phases, *y.shape[2:]), image[part], stride, first)
    return image


def _plain(x: Tensor, weight: Tensor, padding: tuple[int, int]) -> Tensor:
    """The convolution of stride one."""
    if by_product(x, weight):
        return as_product(x, weight, (1, 1), padding)
    return F.conv2d(x, weight, padding=padding)


def _interleave(phases: Tensor, image: Tensor, stride: int, first: tuple[int, int]) -> None:
    """Fill images whose rows and columns take turns: (rows, channels, phases, phases, h, w).

    first: where in what the phases make the image begins; it is zero where they do not reach. As
    ``pixel_shuffle``, but faster where phases are few: they are copied one at a time.
    """
    (height, width), (top, left) = image.shape[2:], first
    if min(phases.shape[2:4]) < stride:
        image.zero_()
    else:
        image[:, :, max(0, phases.shape[4] * stride - top) :].zero_()
        image[:, :, :, max(0, phases.shape[5] * stride - left) :].zero_()
    if phases.shape[2] == phases.shape[3] == stride > _FEW_PHASES:
        found = F.pixel_shuffle(phases.flatten(1, 3), stride)[:, :, top : top + height, left : left + width]
        image[:, :, : found.shape[2], : found.shape[3]].copy_(found)
        return
    for i in range(phases.shape[2]):
        for j in range(phases.shape[3]):
            y, x = max(0, -((i - top) // stride)), max(0, -((j - left) // stride))
            part = phases[:, :, i, j, y:, x:]
            place = image[:, :, i - top + y * stride :: stride, j - left + x * stride :: stride]
            rows, columns = (min(a, b) for a, b in zip(part.shape[2:], place.shape[2:], strict=True))
            place[:, :, :rows, :columns].copy_(part[:, :, :rows, :columns])


@from_torch("aten::conv1d", "aten::conv2d", "aten::conv3d")
def _conv(call: Call) -> Value:
    weight, bias = call.constant("weight"), call.optional("bias")
    axes = weight.dim() - 2
    x = image(call, "input", axes)
    dilation = per_axis(call.integers("dilation", (1,)), axes)
    if isinstance(call.get("padding"), str):
        before, after = _named_padding(call, tuple(weight.shape[2:]), dilation)
    else:
        before = after = per_axis(call.integers("padding", (0,)), axes)
    stride = per_axis(call.integers("stride", (1,)), axes)
    op = Conv(stride, before, dilation, call.integer("groups", 1))
    return _convolved(call, x, op, after, (weight,) if bias is None else (weight, bias))


def _named_padding(call: Call, kernel: Shape, dilation: Shape) -> tuple[Shape, Shape]:
    """Padding before and after each axis for "valid" and "same", whose odd zero goes to the end."""
    if call.get("padding") == "valid":
        return (0,) * len(kernel), (0,) * len(kernel)
    total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)


def _convolved(call: Call, x: Ref, op: Conv, after: Shape, params: Tensors) -> Value:
    """The convolution, behind a padding of its own where that is uneven."""
    if op.padding != after:
        x = call.apply(Pad(op.padding, after), x)
        op = replace(op, padding=(0,) * len(after))
    return call.apply(op, x, params=params)


@from_onnx("Conv")
def _onnx_conv(call: Call) -> Value:
    weight, bias = call.constant("1"), call.optional("2")
    axes = weight.dim() - 2
    if axes not in _FORWARD:
        raise call.unsupported(f"a convolution over {axes} axes")
    x = image(call, "0", axes)
    stride = call.integers("strides", (1,) * axes)
    dilation = call.integers("dilations", (1,) * axes)
    before, after = onnx_padding(call, x, tuple(weight.shape[2:]), stride, dilation)
    op = Conv(stride, before, dilation, call.integer("group", 1))
    return _convolved(call, x, op, after, (weight,) if bias is None else (weight, bias))
