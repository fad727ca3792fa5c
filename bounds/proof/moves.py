"""Operators that move, drop and repeat elements, of values and of constants alike."""

from __future__ import annotations

from math import prod

import numpy as np

from bounds.proof.format import Array
from bounds.proof.network import MOST, Argument, Attributes, Operators, Reader, Value
from bounds.proof.steps import Pick

MOVES = Operators()


@MOVES.reads("Identity", "Dropout", "Cast")
def _same(r: Reader, t: Attributes, xs: list[Argument]) -> Value | Array:
    x = xs[0]
    if t.place.startswith("Cast"):
        t.expect("to", 6, 7)
        if max(map(abs, r.integers(x)), default=0) >= 2**31:
            raise r.refuse("a number is too large")
    t.take("ratio")
    t.take("seed")
    if x is None or any(isinstance(flag, Value) or (flag is not None and flag.any()) for flag in xs[2:]):
        raise r.refuse("it is supported outside of training only")
    return x


@MOVES.reads("Constant")
def _constant(r: Reader, t: Attributes, xs: list[Argument]) -> Array:
    for name in ("value", "value_float", "value_int", "value_ints", "value_floats"):
        if (found := t.take(name)) is not None:
            kind = np.int64 if name.startswith("value_int") else np.float32
            return found if name == "value" else np.asarray(found, kind)
    raise r.refuse("its kind of constant is not supported")


@MOVES.reads("Shape")
def _shape(r: Reader, t: Attributes, xs: list[Argument]) -> Array:
    return np.array(r.constant(xs[0]).shape if not isinstance(xs[0], Value) else xs[0].shape, np.int64)


@MOVES.reads("Flatten")
def _flatten(r: Reader, t: Attributes, xs: list[Argument]) -> Value | Array:
    axis, x = t.take("axis", 1), xs[0]
    shape = _shape_of(r, x)
    rows = prod(shape[: axis if axis >= 0 else axis + len(shape)])
    return r.moved(x, lambda i: i.reshape(rows, -1))  # type: ignore[arg-type]


def _shape_of(r: Reader, x: Argument) -> tuple[int, ...]:
    if x is None:
        raise r.refuse("its first input is absent")
    return tuple(x.shape)


@MOVES.reads("Reshape")
def _reshape(r: Reader, t: Attributes, xs: list[Argument]) -> Value | Array:
    t.expect("allowzero", 0)
    old, sizes = _shape_of(r, xs[0]), r.integers(xs[1])
    new = [old[i] if n == 0 else n for i, n in enumerate(sizes)]
    return r.moved(xs[0], lambda i: i.reshape(new))  # type: ignore[arg-type]


@MOVES.reads("Transpose")
def _transpose(r: Reader, t: Attributes, xs: list[Argument]) -> Value | Array:
    order = t.take("perm", list(range(len(_shape_of(r, xs[0]))))[::-1])
    return r.moved(xs[0], lambda i: i.transpose(order))  # type: ignore[arg-type]


@MOVES.reads("Squeeze", "Unsqueeze")
def _squeeze(r: Reader, t: Attributes, xs: list[Argument]) -> Value | Array:
    axes = t.take("axes") if r.opset < 13 else (r.integers(xs[1]) if len(xs) > 1 else None)
    if t.place.startswith("Unsqueeze"):
        return r.moved(xs[0], lambda i: np.expand_dims(i, tuple(axes)))  # type: ignore[arg-type]
    return r.moved(xs[0], lambda i: np.squeeze(i, None if axes is None else tuple(axes)))  # type: ignore[arg-type]


@MOVES.reads("Expand")
def _expand(r: Reader, t: Attributes, xs: list[Argument]) -> Value | Array:
    shape = np.broadcast_shapes(_shape_of(r, xs[0]), tuple(r.integers(xs[1])))
    r.room(shape)
    return r.moved(xs[0], lambda i: np.broadcast_to(i, shape))  # type: ignore[arg-type]


@MOVES.reads("Gather")
def _gather(r: Reader, t: Attributes, xs: list[Argument]) -> Value | Array:
    axis, index = t.take("axis", 0), r.constant(xs[1])
    r.integers(xs[1])
    r.room((index.size, *_shape_of(r, xs[0])))
    return r.moved(xs[0], lambda i: np.take(i, index, axis))  # type: ignore[arg-type]


@MOVES.reads("Slice")
def _slice(r: Reader, t: Attributes, xs: list[Argument]) -> Value | Array:
    shape = _shape_of(r, xs[0])
    if r.opset < 10:
        starts, ends = t.take("starts"), t.take("ends")
        axes, steps = t.take("axes", list(range(len(starts)))), [1] * len(starts)
    else:
        starts, ends = r.integers(xs[1]), r.integers(xs[2])
        given = [r.integers(x) if x is not None else None for x in (*xs[3:], None, None)[:2]]
        axes = list(range(len(starts))) if given[0] is None else given[0]
        steps = [1] * len(starts) if given[1] is None else given[1]
    if len({axis % len(shape) for axis in axes}) != len(axes):
        raise r.refuse("an axis occurs twice")
    cuts = [slice(None)] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        n = shape[axis]
        if step < 1:
            raise r.refuse("it is supported forwards only")
        first, last = (min(max(k + n if k < 0 else k, 0), n) for k in (start, end))
        cuts[axis] = slice(first, last, step)
    return r.moved(xs[0], lambda i: i[tuple(cuts)])  # type: ignore[arg-type]


@MOVES.reads("Split")
def _split(r: Reader, t: Attributes, xs: list[Argument]) -> list[Value | Array]:
    axis, shape = t.take("axis", 0), _shape_of(r, xs[0])
    sizes = t.take("split") if r.opset < 13 else (r.integers(xs[1]) if len(xs) > 1 else None)
    if sizes is None or sum(sizes) != shape[axis] or min(sizes) < 0:
        raise r.refuse("it is supported with the sizes of all pieces only")
    ends = np.cumsum(sizes)[:-1]
    return [
        r.moved(xs[0], lambda i, k=k: np.split(i, ends, axis)[k])  # type: ignore[arg-type, misc]
        for k in range(len(sizes))
    ]


@MOVES.reads("Pad")
def _pad(r: Reader, t: Attributes, xs: list[Argument]) -> Value | Array:
    t.expect("mode", b"constant")
    old = r.opset < 11
    pads = t.take("pads") if old else r.integers(xs[1])
    fill = t.take("value", 0.0) if old else (r.constant(xs[2]) if len(xs) > 2 and xs[2] is not None else 0.0)
    shape = _shape_of(r, xs[0])
    if len(xs) > 3 or len(pads) != 2 * len(shape) or min(pads) < 0 or max(pads) > MOST or np.any(fill):
        raise r.refuse("it is supported with zeros around all axes only")
    widths = list(zip(pads[: len(shape)], pads[len(shape) :], strict=True))
    x = r.value(xs[0])
    r.room([n + a + b for n, (a, b) in zip(shape, widths, strict=True)])
    return r.moved(x, lambda i: np.pad(i, widths, constant_values=-1))


@MOVES.reads("Concat")
def _concat(r: Reader, t: Attributes, xs: list[Argument]) -> Value | Array:
    axis = t.take("axis")
    if all(isinstance(x, np.ndarray) for x in xs):
        return np.concatenate([r.constant(x) for x in xs], axis)
    parts, sizes = [], [prod(r.value(x).shape) for x in xs]
    for x, size, end in zip(xs, sizes, np.cumsum(sizes), strict=True):
        parts.append(np.arange(end - size, end).reshape(r.value(x).shape))
    places = np.concatenate(parts, axis)
    return r.add(Pick(places.reshape(-1), tuple(sizes)), [r.value(x) for x in xs], places.shape)
