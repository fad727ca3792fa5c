"""What operators over windows and whole axes share when they are imported: attributes and padding."""

from __future__ import annotations

from collections.abc import Sequence

from bounds.graph import Ref
from bounds.linear import Shape
from bounds.ops.registry import Call


def per_axis(values: tuple[int, ...], axes: int) -> tuple[int, ...]:
    """One number per spatial axis, where one for all may have been given."""
    return values * axes if len(values) == 1 else values


def image(call: Call, key: str, axes: int) -> Ref:
    """A graph value whose samples are channels over so many spatial axes."""
    x = call.ref(key)
    if len(x.shape) != axes + 1 or not call.batched:
        raise call.unsupported(f"{axes} spatial axes expected, but a sample has shape {x.shape}")
    return x


def onnx_padding(
    call: Call, x: Ref, kernel: Shape, stride: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Padding before and after each spatial axis, with ``auto_pad`` worked out."""
    axes = len(stride)
    auto = call.get("auto_pad", "NOTSET")
    if auto == "NOTSET":
        pads = call.integers("pads", (0,) * (2 * axes))
        return pads[:axes], pads[axes:]
    if auto == "VALID":
        return (0,) * axes, (0,) * axes
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise call.unsupported(f"auto_pad {auto!r}")
    if any(d != 1 for d in dilation):
        raise call.unsupported(f"auto_pad {auto!r} with a dilation", "give the padding as numbers")
    needed = [
        max((-(-size // s) - 1) * s + k - size, 0)
        for size, s, k in zip(x.shape[1:], stride, kernel, strict=True)
    ]
    small, large = tuple(n // 2 for n in needed), tuple(n - n // 2 for n in needed)
    return (small, large) if auto == "SAME_UPPER" else (large, small)


def torch_reduction(call: Call) -> tuple[Ref, Sequence[int], bool]:
    """What is reduced, over which axes, and whether these stay with size one."""
    x = call.ref("self")
    axes = call.integers("dim", ()) or range(len(call.full_shape(x)))
    return x, axes, bool(call.get("keepdim", False))


def onnx_reduction(call: Call) -> tuple[Ref, Sequence[int], bool]:
    """The same; no axes where nothing is to be done."""
    x = call.ref("0")
    axes: Sequence[int] = call.integers("1" if "1" in call.args else "axes", ())
    if not axes and not call.integer("noop_with_empty_axes", 0):
        axes = range(len(call.full_shape(x)))
    return x, axes, bool(call.integer("keepdims", 1))
