"""Operators that move, drop and repeat elements, of values and of constants alike."""

from __future__ import annotations

from math import prod

import numpy as np

from bounds.proof.format import Array
from bounds.proof.network import Argument, Attributes, Operators, Reader, Value
from bounds.proof.steps import Pick

MOVES = Operators()
Moved = Value | Array
_INTEGERS = (6, 7)  # the element types int32 and int64


@MOVES.reads("Identity")
def _identity(r: Reader, t: Attributes, x: Argument) -> Moved:
    return r.moved(x, lambda i: i)


@MOVES.reads("Dropout")
def _dropout(
    r: Reader, t: Attributes, x: Argument, ratio: Argument = None, training: Argument = None
) -> Moved:
    t.take("ratio")
    t.take("seed")
    if training is not None and bool(r.constant(training).any()):
        raise r.refuse("it is supported outside of training only")
    return r.moved(x, lambda i: i)


@MOVES.reads("Cast")
def _cast(r: Reader, t: Attributes, x: Argument) -> Array:
    t.expect("to", *_INTEGERS)
    if max(map(abs, r.integers(x)), default=0) >= 2**31:
        raise r.refuse("a number is too large")
    return r.constant(x)


@MOVES.reads("Constant")
def _constant(r: Reader, t: Attributes) -> Array:
    if isinstance(value := t.take("value"), np.ndarray):
        return value
    for name in ("value_float", "value_int", "value_ints", "value_floats"):
        if (found := t.take(name)) is not None:
            return np.asarray(found, np.int64 if name.startswith("value_int") else np.float32)
    raise r.refuse("its kind of constant is not supported")


@MOVES.reads("Shape")
def _shape(r: Reader, t: Attributes, x: Argument) -> Array:
    return np.array(r.shape(x), np.int64)


@MOVES.reads("Flatten")
def _flatten(r: Reader, t: Attributes, x: Argument) -> Moved:
    axis, shape = t.take("axis", 1), r.shape(x)
    rows = prod(shape[: axis if axis >= 0 else axis + len(shape)])
    return r.moved(x, lambda i: i.reshape(rows, -1))


@MOVES.reads("Reshape")
def _reshape(r: Reader, t: Attributes, x: Argument, sizes: Argument) -> Moved:
    t.expect("allowzero", 0)
    old = r.shape(x)
    new = [old[k] if n == 0 else n for k, n in enumerate(r.integers(sizes))]
    return r.moved(x, lambda i: i.reshape(new))


@MOVES.reads("Transpose")
def _transpose(r: Reader, t: Attributes, x: Argument) -> Moved:
    order = t.take("perm", list(range(len(r.shape(x))))[::-1])
    return r.moved(x, lambda i: i.transpose(order))


@MOVES.reads("Squeeze")
def _squeeze(r: Reader, t: Attributes, x: Argument, axes: Argument = None) -> Moved:
    where = _axes(r, t, axes)
    return r.moved(x, lambda i: np.squeeze(i, where))


@MOVES.reads("Unsqueeze")
def _unsqueeze(r: Reader, t: Attributes, x: Argument, axes: Argument = None) -> Moved:
    where = _axes(r, t, axes)
    return r.moved(x, lambda i: np.expand_dims(i, where))  # type: ignore[arg-type]  # None is refused there


def _axes(r: Reader, t: Attributes, given: Argument) -> tuple[int, ...] | None:
    """Axes by an attribute, or from opset 13 on by an input; None without any."""
    axes = t.take("axes") if r.opset < 13 else given
    if axes is None:
        return None
    found = tuple(r.integers(np.asarray(axes)))
    if not found:
        raise r.refuse("it names no axes, which some take for all")
    return found


@MOVES.reads("Expand")
def _expand(r: Reader, t: Attributes, x: Argument, sizes: Argument) -> Moved:
    shape = np.broadcast_shapes(r.shape(x), tuple(r.integers(sizes)))
    r.room(shape)
    return r.moved(x, lambda i: np.broadcast_to(i, shape))


@MOVES.reads("Gather")
def _gather(r: Reader, t: Attributes, x: Argument, where: Argument) -> Moved:
    axis, index = t.take("axis", 0), r.constant(where)
    r.room((len(r.integers(where)), *r.shape(x)))
    return r.moved(x, lambda i: np.take(i, index, axis))


@MOVES.reads("Slice")
def _slice(r: Reader, t: Attributes, x: Argument, *given: Argument) -> Moved:
    shape = r.shape(x)
    if r.opset < 10:
        attributes = [t.take(name) for name in ("starts", "ends", "axes")]
        given = tuple(None if found is None else np.asarray(found) for found in attributes)
    starts, ends, axes, steps = (
        None if each is None else r.integers(each) for each in (*given, None, None)[:4]
    )
    if starts is None or ends is None or len(given) > 4:
        raise r.refuse("it does not say from where to where")
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if len({axis % len(shape) for axis in axes}) != len(axes) or min(steps) < 1:
        raise r.refuse("it is supported forwards, and once for an axis, only")
    cuts = [slice(None)] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        n = shape[axis]
        begin, stop = (min(max(k + n if k < 0 else k, 0), n) for k in (start, end))
        cuts[axis] = slice(begin, stop, step)
    return r.moved(x, lambda i: i[tuple(cuts)])


@MOVES.reads("Split")
def _split(r: Reader, t: Attributes, x: Argument, pieces: Argument = None) -> list[Moved]:
    axis, shape = t.take("axis", 0), r.shape(x)
    sizes = t.take("split", []) if r.opset < 13 else r.integers(pieces)
    if sum(sizes) != shape[axis] or min(sizes) < 0:
        raise r.refuse("it is supported with the sizes of all pieces only")
    r.room((len(sizes), *shape))
    ends = np.cumsum(sizes)[:-1]
    return [r.moved(x, lambda i, k=k: np.split(i, ends, axis)[k]) for k in range(len(sizes))]  # type: ignore[misc]


@MOVES.reads("Pad")
def _pad(r: Reader, t: Attributes, x: Argument, widths: Argument = None, fill: Argument = None) -> Moved:
    t.expect("mode", b"constant")
    old, shape = r.opset < 11, r.shape(r.value(x))
    pads = t.take("pads", []) if old else r.integers(widths)
    filled = t.take("value", 0.0) if old else 0.0 if fill is None else r.numbers(fill)
    if len(pads) != 2 * len(shape) or min(pads) < 0 or np.any(filled):
        raise r.refuse("it is supported with zeros around all axes only")
    both = list(zip(pads[: len(shape)], pads[len(shape) :], strict=True))
    r.room([n + p + q for n, (p, q) in zip(shape, both, strict=True)])
    return r.moved(x, lambda i: np.pad(i, both, constant_values=-1))


@MOVES.reads("Concat")
def _concat(r: Reader, t: Attributes, *xs: Argument) -> Moved:
    axis = t.take("axis")
    if axis is None:
        raise r.refuse("it does not say along which axis")
    sizes = [prod(r.shape(x)) for x in xs]
    r.room([sum(sizes)])
    if all(isinstance(x, np.ndarray) for x in xs):
        return np.concatenate([r.constant(x) for x in xs], axis)
    parts = [
        np.arange(end - size, end).reshape(r.shape(x))
        for x, size, end in zip(xs, sizes, np.cumsum(sizes), strict=True)
    ]
    places = np.concatenate(parts, axis)
    return r.add(Pick(places.reshape(-1), tuple(sizes)), [r.value(x) for x in xs], places.shape)
