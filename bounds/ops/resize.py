"""Resizing images, axis by axis: nearest copies positions, interpolation is a matrix along each axis.

The coefficients of an interpolation are those that the front end computes, in the model's dtype; they are
part of the network like weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bounds.graph import Ref
from bounds.ops.linear import Along
from bounds.ops.registry import Call, Value, from_onnx, from_torch
from bounds.ops.slicing import sliced
from bounds.ops.windows import image

_aten = torch.ops.aten


def _interpolated(call: Call, x: Ref, axis: int, matrix: Tensor) -> Ref:
    """A matrix (out, in) along one axis of the sample; copies where every row is a unit vector."""
    if bool(((matrix == 0) | (matrix == 1)).all()) and bool((matrix.sum(1) == 1).all()):
        return sliced(call, x, axis + int(call.batched), matrix.argmax(1).tolist())
    return call.apply(Along(axis), x, params=(matrix.to(call.dtype),))


def _torch_scales(call: Call, axes: int) -> list[float | None]:
    """The scale given for each spatial axis, if any; without one it follows from the sizes."""
    given = call.get("scale_factors")
    if isinstance(given, list | tuple):
        return [float(s) for s in given]
    keys = {1: ["scales"], 2: ["scales_h", "scales_w"], 3: ["scales_d", "scales_h", "scales_w"]}[axes]
    return [None if call.get(key) is None else call.number(key) for key in keys]


@from_torch(
    *(f"aten::upsample_nearest{n}d" for n in (1, 2, 3)),
    *(f"aten::_upsample_nearest_exact{n}d" for n in (1, 2, 3)),
)
def _nearest(call: Call) -> Value:
    """The front end's own choice of positions, found by resizing the numbers of the positions."""
    axes = int(call.operator[-2])
    exact = "exact" in call.operator
    f = _aten._upsample_nearest_exact1d if exact else _aten.upsample_nearest1d
    x = image(call, "input" if "input" in call.args else "self", axes)
    for i, (scale, size) in enumerate(zip(_torch_scales(call, axes), _sizes(call, axes), strict=True)):
        positions = torch.arange(x.shape[i + 1], dtype=torch.float64)[None, None]
        x = sliced(call, x, i + 2, f(positions, [size], scale).flatten().long().tolist())
    return x


def _sizes(call: Call, axes: int) -> Sequence[int]:
    if call.out is None:
        raise call.unsupported("its shape is not known")
    return call.out[-axes:]


@from_torch("aten::upsample_linear1d", "aten::upsample_bilinear2d", "aten::upsample_trilinear3d")
def _linear(call: Call) -> Value:
    axes, corners = int(call.operator[-2]), bool(call.get("align_corners"))

    def f(unit: Tensor, size: int, scale: float | None) -> Tensor:
        return torch.as_tensor(_aten.upsample_linear1d(unit[None], [size], corners, scale))[0]

    return _by_matrices(call, axes, f)


@from_torch("aten::upsample_bicubic2d", "aten::_upsample_bilinear2d_aa", "aten::_upsample_bicubic2d_aa")
def _smooth(call: Call) -> Value:
    corners = bool(call.get("align_corners"))
    resize = getattr(_aten, call.operator.removeprefix("aten::"))

    def f(unit: Tensor, size: int, scale: float | None) -> Tensor:
        # Two columns: with one, the antialiased kernels of torch 2.13 read the wrong lines.
        columns = unit[None, :, :, None].expand(-1, -1, -1, 2).contiguous()
        return torch.as_tensor(resize(columns, [size, 2], corners, scale, None))[0, :, :, 0]

    return _by_matrices(call, 2, f)


def _by_matrices(call: Call, axes: int, f: Callable[[Tensor, int, float | None], Tensor]) -> Value:
    """The front end's own coefficients, found by resizing every unit vector along every axis."""
    x = image(call, "input" if "input" in call.args else "self", axes)
    for i, (scale, size) in enumerate(zip(_torch_scales(call, axes), _sizes(call, axes), strict=True)):
        matrix = f(torch.eye(x.shape[i + 1], dtype=call.dtype), size, scale).mT
        x = _interpolated(call, x, i + 1, matrix)
    return x


@from_onnx("Upsample")
def _upsample(call: Call) -> Value:
    """The deprecated form of Resize: positions are scaled from the origin."""
    scales = call.args.get("1", call.args.get("scales"))
    values = scales.tolist() if isinstance(scales, Tensor) else scales
    if not isinstance(values, list):
        raise call.unsupported("scales that depend on the input")
    return _resized(call, values, None, "asymmetric", "simple")


@from_onnx("Resize")
def _resize(call: Call) -> Value:
    x = call.ref("0")
    rank = len(call.full_shape(x))
    if "1" in call.args and "2" not in call.args and "3" not in call.args:  # opset 10
        return _resized(call, call.constant("1").tolist(), None, "asymmetric", "simple")
    axes = [axis % rank for axis in call.integers("axes", tuple(range(rank)))]
    if call.integer("antialias", 0) or call.integer("exclude_outside", 0):
        raise call.unsupported("antialias and exclude_outside")
    where = str(call.get("coordinate_transformation_mode", "half_pixel"))
    nearest = str(call.get("nearest_mode", "round_prefer_floor"))
    if "3" in call.args and call.constant("3").numel():
        if str(call.get("keep_aspect_ratio_policy", "stretch")) != "stretch":
            raise call.unsupported("a policy on the aspect ratio", "give the sizes themselves")
        sizes = list(call.full_shape(x))
        for axis, size in zip(axes, call.integers("3"), strict=True):
            sizes[axis] = size
        scales = [n / m for n, m in zip(sizes, call.full_shape(x), strict=True)]
        return _resized(call, scales, sizes, where, nearest)
    scales = [1.0] * rank
    for axis, scale in zip(axes, call.constant("2").tolist(), strict=True):
        scales[axis] = scale
    return _resized(call, scales, None, where, nearest)


def _resized(
    call: Call, scales: Sequence[float], sizes: Sequence[int] | None, where: str, nearest: str
) -> Value:
    x, mode = call.ref("0"), str(call.get("mode", "nearest"))
    for axis, scale in enumerate(scales):
        before = call.full_shape(x)[axis]
        after = math.floor(before * scale) if sizes is None else sizes[axis]
        if scale == 1 and after == before:
            continue
        at = _coordinates(call, where, before, after, float(torch.tensor(scale, dtype=torch.float32)))
        if mode == "nearest":
            places = _ROUND[nearest if nearest != "simple" else "ceil" if scale < 1 else "floor"](at)
            x = sliced(call, x, axis, places.clamp(0, before - 1).long().tolist())
        elif mode in ("linear", "cubic"):
            taps = (
                _linear_taps(at) if mode == "linear" else _cubic_taps(at, call.number("cubic_coeff_a", -0.75))
            )
            x = _interpolated(call, x, call.axis(axis, x), _matrix(taps, before))
        else:
            raise call.unsupported(f"mode {mode!r}")
    return x


_ROUND: dict[str, Callable[[Tensor], Tensor]] = {
    "round_prefer_floor": lambda at: (at - 0.5).ceil(),
    "round_prefer_ceil": lambda at: (at + 0.5).floor(),
    "floor": torch.floor,
    "ceil": torch.ceil,
}


def _coordinates(call: Call, where: str, before: int, after: int, scale: float) -> Tensor:
    """Where every position of the result lies in the input, in float32: so do runtimes, and it decides which
    position is nearest.
    """
    x = torch.arange(after, dtype=torch.float32)
    if where == "asymmetric":
        return x / scale
    if where == "align_corners":
        return x * (before - 1) / (after - 1) if after > 1 else 0 * x
    if where == "pytorch_half_pixel" and after == 1:
        return 0 * x
    if where in ("half_pixel", "pytorch_half_pixel"):
        return (x + 0.5) / scale - 0.5
    if where == "half_pixel_symmetric":
        return before / 2 * (1 - after / (scale * before)) + (x + 0.5) / scale - 0.5
    raise call.unsupported(f"coordinates by {where!r}")


def _linear_taps(at: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The two neighbours of every coordinate with their weights."""
    low = at.floor()
    return [(low, 1 - (at - low)), (low + 1, at - low)]


def _cubic_taps(at: Tensor, a: float) -> list[tuple[Tensor, Tensor]]:
    """The four neighbours of every coordinate with their weights; Keys (1981)."""
    low = at.floor()
    t = at - low

    def near(d: Tensor) -> Tensor:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: Tensor) -> Tensor:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return [(low - 1, far(t + 1)), (low, near(t)), (low + 1, near(1 - t)), (low + 2, far(2 - t))]


def _matrix(taps: Sequence[tuple[Tensor, Tensor]], size: int) -> Tensor:
    """The matrix (out, in) of these taps, those beyond the edge taken at the edge."""
    matrix = torch.zeros(len(taps[0][0]), size, dtype=taps[0][1].dtype)
    rows = torch.arange(len(matrix))
    for places, weights in taps:
        matrix.index_put_((rows, places.long().clamp(0, size - 1)), weights, accumulate=True)
    return matrix
