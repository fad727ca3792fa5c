"""Importers of everything that moves or copies elements by constant positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor

from bounds.graph import Ref
from bounds.ops.elementwise import summed
from bounds.ops.gather import common_shape, expanded, moved
from bounds.ops.linear import Along
from bounds.ops.registry import Call, Value, from_onnx, from_torch
from bounds.ops.shape import reshaped
from bounds.ops.slicing import joined, sliced


@from_torch("aten::expand")
def _expand(call: Call) -> Value:
    if call.out is None:
        raise call.unsupported("its shape is not known")
    return expanded(call, call.ref("self"), call.sample_shape(call.out))


@from_onnx("Expand")
def _onnx_expand(call: Call) -> Value:
    x = call.ref("0")
    return expanded(call, x, common_shape(call, call.full_shape(x), call.integers("1")))


@from_torch("aten::repeat", "aten::tile")
@from_onnx("Tile")
def _repeat(call: Call) -> Value:
    x = call.ref("0" if "0" in call.args else "self")
    times = call.integers(next(key for key in ("1", "repeats", "dims") if key in call.args))
    full = call.full_shape(x)
    times = (1,) * (len(full) - len(times)) + times
    if len(times) > len(full):
        new = len(times) - len(full)
        x = reshaped(call, x, (*full[:1], *(1,) * new, *full[1:]) if call.batched else (*(1,) * new, *full))
        full = call.full_shape(x)
    for axis, (size, n) in enumerate(zip(full, times, strict=True)):
        if n != 1:
            x = sliced(call, x, axis, list(range(size)) * n)
    return x


@from_torch("aten::repeat_interleave")
def _repeat_interleave(call: Call) -> Value:
    x, repeats = call.ref("self"), call.get("repeats")
    if call.get("dim") is None:
        raise call.unsupported("it flattens the batch", "name the axis")
    axis = call.integer("dim")
    times = torch.as_tensor(repeats).expand(call.full_shape(x)[axis])
    return sliced(call, x, axis, torch.repeat_interleave(times).tolist())


@from_torch("aten::flip")
def _flip(call: Call) -> Value:
    x = call.ref("self")
    for axis in call.integers("dims"):
        x = sliced(call, x, axis, slice(None, None, -1))
    return x


@from_torch("aten::fliplr")
def _fliplr(call: Call) -> Value:
    return sliced(call, call.ref("self"), 1, slice(None, None, -1))


@from_torch("aten::roll")
def _roll(call: Call) -> Value:
    x, shifts, axes = call.ref("self"), call.integers("shifts"), call.integers("dims")
    if not axes:
        raise call.unsupported("it rolls over the batch", "name the axes")
    for shift, axis in zip(shifts, axes, strict=True):
        size = call.full_shape(x)[axis]
        x = sliced(call, x, axis, [(i - shift) % size for i in range(size)])
    return x


@from_torch("aten::index")
def _index(call: Call) -> Value:
    """One list of positions per axis; a single one along an axis stays apart from the general case."""
    x, places = call.ref("self"), call.get("indices")
    if not isinstance(places, list) or not all(p is None or isinstance(p, Tensor) for p in places):
        raise call.unsupported("positions that depend on the input")
    used = [(axis, p) for axis, p in enumerate(places) if p is not None]
    if len(used) == 1 and used[0][1].dim() == 1 and used[0][1].dtype is torch.int64:
        return sliced(call, x, used[0][0], used[0][1].tolist())
    wanted = tuple(slice(None) if p is None else p for p in places)
    return moved(call, x, lambda numbers: numbers[wanted])


@from_torch("aten::gather", "aten::take_along_dim")
def _gather(call: Call) -> Value:
    key = "index" if "index" in call.args else "indices"
    index, axis = call.constant(key), call.integer("dim")
    x = call.ref("self")
    call.axis(axis, x)
    if call.operator == "aten::gather":
        return moved(call, x, lambda numbers: numbers.gather(axis, index))
    return moved(call, x, lambda numbers: torch.take_along_dim(numbers, index, axis))


@from_torch("aten::diagonal")
def _diagonal(call: Call) -> Value:
    offset, first, second = call.integer("offset", 0), call.integer("dim1", 0), call.integer("dim2", 1)
    x = call.ref("self")
    for axis in (first, second):
        call.axis(axis, x)
    return moved(call, x, lambda numbers: numbers.diagonal(offset, first, second))


@from_torch("aten::diag_embed")
def _diag_embed(call: Call) -> Value:
    offset, first, second = call.integer("offset", 0), call.integer("dim1", -2), call.integer("dim2", -1)
    return moved(call, call.ref("self"), lambda numbers: numbers.diag_embed(offset, first, second))


@from_torch("aten::rot90")
def _rot90(call: Call) -> Value:
    turns, axes = call.integer("k", 1), call.integers("dims", (0, 1))
    x = call.ref("self")
    for axis in axes:
        call.axis(axis, x)
    return moved(call, x, lambda numbers: numbers.rot90(turns, axes))


@from_torch("aten::unfold")
def _unfold(call: Call) -> Value:
    axis, size, step = call.integer("dimension"), call.integer("size"), call.integer("step")
    x = call.ref("self")
    call.axis(axis, x)
    return moved(call, x, lambda numbers: numbers.unfold(axis, size, step))


@from_torch("aten::im2col")
def _im2col(call: Call) -> Value:
    window = [call.integers(key) for key in ("kernel_size", "dilation", "padding", "stride")]
    return moved(
        call,
        call.ref("self"),
        lambda numbers: torch.nn.functional.unfold(numbers.double(), *window).long(),
    )


def merged(call: Call, parts: Sequence[Value], f: Callable[..., Tensor]) -> Ref:
    """What ``f`` does to the elements of several values, which it only moves, copies or drops.

    f is run on elements numbered through, as in ``moved``.
    """
    shapes = [call.full_shape(p) if isinstance(p, Ref) else tuple(p.shape) for p in parts]
    front = (1,) if call.batched else ()
    flat = [
        reshaped(call, p, (*front, prod(s))) if isinstance(p, Ref) else p.reshape(*front, prod(s))
        for p, s in zip(parts, shapes, strict=True)
    ]
    numbers = torch.split(torch.arange(1, sum(map(prod, shapes)) + 1), [prod(s) for s in shapes])
    together = joined(call, flat, len(front))
    return moved(call, together, lambda _: f(*(n.reshape(s) for n, s in zip(numbers, shapes, strict=True))))


@from_torch("aten::copy")
def _copy(call: Call) -> Value:
    src = _value(call, "src")
    if call.out is None:
        raise call.unsupported("its shape is not known")
    if isinstance(src, Tensor):
        return src.to(call.dtype).expand(call.out)
    return expanded(call, src, call.sample_shape(call.out))


@from_torch("aten::slice_scatter", "aten::select_scatter")
def _scatter_slice(call: Call) -> Value:
    base, src, axis = _value(call, "self"), _value(call, "src"), call.integer("dim", 0)
    if call.operator == "aten::select_scatter":
        index = call.integer("index")
        return merged(call, [base, src], lambda a, b: torch.select_scatter(a, b, axis, index))
    start, end = (None if call.get(key) is None else call.integer(key) for key in ("start", "end"))
    step = call.integer("step", 1)
    return merged(call, [base, src], lambda a, b: torch.slice_scatter(a, b, axis, start, end, step))


@from_torch("aten::index_copy", "aten::scatter")
def _scatter(call: Call) -> Value:
    """Elements of the second value written over those of the first; the last of several is kept."""
    base, axis, index = _value(call, "self"), call.integer("dim"), call.constant("index")
    if call.operator == "aten::index_copy":
        src = _value(call, "source")
        return merged(call, [base, src], lambda a, b: a.index_copy(axis, index, b))
    if call.get("reduce") is not None:
        raise call.unsupported("a reduction")
    value = call.get("value")
    src = _value(call, "src") if value is None else torch.full(index.shape, call.number("value"))
    return merged(call, [base, src], lambda a, b: a.scatter(axis, index, b))


@from_torch("aten::index_add")
def _index_add(call: Call) -> Value:
    """Slices of the second value added to those of the first, which may be hit more than once."""
    base, source = _value(call, "self"), _value(call, "source")
    axis, index = call.integer("dim"), call.constant("index").flatten()
    full = call.full_shape(base) if isinstance(base, Ref) else tuple(base.shape)
    if isinstance(source, Ref):
        hits = torch.nn.functional.one_hot(index, full[axis]).mT.to(call.dtype)
        added: Value = call.apply(Along(call.axis(axis, source)), source, params=(hits,))
    else:
        added = torch.zeros(full, dtype=call.dtype).index_add(axis, index, source.to(call.dtype))
    return summed(call, base, added, call.number("alpha", 1))


@from_torch("aten::index_put")
def _index_put(call: Call) -> Value:
    places = call.get("indices")
    if not isinstance(places, list) or not all(p is None or isinstance(p, Tensor) for p in places):
        raise call.unsupported("positions that depend on the input")
    if call.get("accumulate"):
        raise call.unsupported("values that are added up")
    at = tuple(slice(None) if p is None else p for p in places)

    def f(a: Tensor, b: Tensor) -> Tensor:
        written = a.clone()
        written[at] = b
        return written

    return merged(call, [_value(call, "self"), _value(call, "values")], f)


@from_torch("aten::as_strided")
def _as_strided(call: Call) -> Value:
    size, stride, offset = call.integers("size"), call.integers("stride"), call.get("storage_offset")
    start = 0 if offset is None else call.integer("storage_offset")
    return moved(call, call.ref("self"), lambda numbers: numbers.as_strided(size, stride, start))


def _value(call: Call, key: str) -> Value:
    value = call.get(key)
    if not isinstance(value, Ref | Tensor):
        raise call.unsupported(f"{key} is not a tensor")
    return value


@from_onnx("GatherElements")
def _gather_elements(call: Call) -> Value:
    x, index, axis = call.ref("0"), call.constant("1"), call.integer("axis", 0)
    call.axis(axis, x)
    places = index % call.full_shape(x)[axis]
    return moved(call, x, lambda numbers: numbers.gather(axis, places))


@from_onnx("GatherND")
def _gather_nd(call: Call) -> Value:
    """The last axis of the indices names a position in the axes that follow ``batch_dims``."""
    x, index, shared = call.ref("0"), call.constant("1"), call.integer("batch_dims", 0)

    def f(numbers: Tensor) -> Tensor:
        front = numbers.shape[:shared]
        rows = [
            one[tuple(places.movedim(-1, 0))]
            for one, places in zip(
                numbers.reshape(-1, *numbers.shape[shared:]),
                index.expand(*front, *index.shape[shared:]).reshape(-1, *index.shape[shared:]),
                strict=True,
            )
        ]
        return torch.stack(rows).reshape(*front, *rows[0].shape)

    return moved(call, x, f)


@from_onnx("ScatterElements")
def _scatter_elements(call: Call) -> Value:
    base, index, src = _value(call, "0"), call.constant("1"), _value(call, "2")
    axis = call.integer("axis", 0)
    if call.get("reduction", "none") != "none":
        raise call.unsupported("a reduction")
    return merged(call, [base, src], lambda a, b: a.scatter(axis, index % a.shape[axis], b))


@from_onnx("ScatterND")
def _scatter_nd(call: Call) -> Value:
    """The last axis of the indices names a position in the first axes."""
    base, index, src = _value(call, "0"), call.constant("1"), _value(call, "2")
    if call.get("reduction", "none") != "none":
        raise call.unsupported("a reduction")

    def f(a: Tensor, b: Tensor) -> Tensor:
        written = a.clone()
        written[tuple(index.movedim(-1, 0))] = b
        return written

    return merged(call, [base, src], f)


@from_onnx("Compress")
def _compress(call: Call) -> Value:
    if call.get("axis") is None:
        raise call.unsupported("it flattens the batch", "name the axis")
    return sliced(call, call.ref("0"), call.integer("axis"), call.constant("1").nonzero().flatten().tolist())


@from_onnx("DepthToSpace")
def _depth_to_space(call: Call) -> Value:
    size, x = call.integer("blocksize"), call.ref("0")
    column_first = str(call.get("mode", "DCR")) == "DCR"

    def f(numbers: Tensor) -> Tensor:
        n, c, h, w = numbers.shape
        if column_first:
            split = numbers.reshape(n, size, size, c // size**2, h, w).permute(0, 3, 4, 1, 5, 2)
        else:
            split = numbers.reshape(n, c // size**2, size, size, h, w).permute(0, 1, 4, 2, 5, 3)
        return split.reshape(n, c // size**2, h * size, w * size)

    return moved(call, x, f)


@from_onnx("SpaceToDepth")
def _space_to_depth(call: Call) -> Value:
    size, x = call.integer("blocksize"), call.ref("0")

    def f(numbers: Tensor) -> Tensor:
        n, c, h, w = numbers.shape
        split = numbers.reshape(n, c, h // size, size, w // size, size).permute(0, 3, 5, 1, 2, 4)
        return split.reshape(n, c * size**2, h // size, w // size)

    return moved(call, x, f)


@from_torch("aten::pixel_shuffle", "aten::pixel_unshuffle", "aten::channel_shuffle")
def _shuffle(call: Call) -> Value:
    shuffles: dict[str, tuple[Callable[[Tensor, int], Tensor], str]] = {
        "aten::pixel_shuffle": (torch.pixel_shuffle, "upscale_factor"),
        "aten::pixel_unshuffle": (torch.pixel_unshuffle, "downscale_factor"),
        "aten::channel_shuffle": (torch.channel_shuffle, "groups"),
    }
    f, key = shuffles[call.operator]
    n = call.integer(key)
    return moved(call, call.ref("self"), lambda numbers: f(numbers, n))
