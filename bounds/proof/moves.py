"""Operators that move, drop and repeat elements, of values and of constants alike."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from bounds.proof.basics import Array, Refused
from bounds.proof.network import Handler, Input, Made, Reader, Value
from bounds.proof.steps import Pick


def _dropout(r: Reader, x: Input, ratio: Input = None, training: Input = None) -> Made:
    r.take("ratio")
    r.take("seed")
    r.refuse(training is not None and r.constant(training).any(), "it is supported outside of training only")
    return r.moved(x, lambda i: i)


def _constant(r: Reader) -> Array:
    if isinstance(value := r.take("value"), np.ndarray):
        return value
    for name in ("value_float", "value_int", "value_ints"):
        if (found := r.take(name)) is not None:
            return np.asarray(found, np.int64 if name.startswith("value_int") else np.float32)
    raise Refused(r.place, "its kind of constant is not supported")


def _flatten(r: Reader, x: Input) -> Made:
    axis, shape = r.take("axis", 1), r.shape(x)
    return r.moved(x, lambda i: i.reshape(prod(shape[: axis if axis >= 0 else axis + len(shape)]), -1))


def _reshape(r: Reader, x: Input, sizes: Input) -> Made:
    r.expect(allowzero=0)
    new = [r.shape(x)[k] if n == 0 else n for k, n in enumerate(r.integers(sizes))]
    return r.moved(x, lambda i: i.reshape(new))


def _squeeze(r: Reader, x: Input, axes: Input = None) -> Made:
    where: Any = None if axes is None else tuple(r.integers(axes))
    if r.op == "Squeeze" and where != ():
        return r.moved(x, lambda i: np.squeeze(i, where))
    r.refuse(not where, "it names no axes, which some take for all")
    return r.moved(x, lambda i: np.expand_dims(i, where))


def _gather(r: Reader, x: Input, where: Input) -> Made:
    axis, index = r.take("axis", 0), r.constant(where)
    r.room((len(r.integers(where)), *r.shape(x)))
    return r.moved(x, lambda i: np.take(i, index, axis))


def _slice(r: Reader, x: Input, first: Input, last: Input, along: Input = None, by: Input = None) -> Made:
    shape, starts, ends = r.shape(x), r.integers(first), r.integers(last)
    axes = list(range(len(starts))) if along is None else r.integers(along)
    steps = [1] * len(starts) if by is None else r.integers(by)
    once = len({axis % len(shape) for axis in axes}) == len(axes)
    r.refuse(not once or min(steps) < 1, "it is supported forwards, and once for an axis, only")
    cuts = [slice(None)] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        cuts[axis] = slice(start, end, step)
    return r.moved(x, lambda i: i[tuple(cuts)])


def _split(r: Reader, x: Input, pieces: Input) -> list[Made]:
    axis, shape, sizes = r.take("axis", 0), r.shape(x), r.integers(pieces)
    r.refuse(sum(sizes) != shape[axis] or min(sizes) < 0, "it is supported with the sizes of all pieces only")
    r.room((len(sizes), *shape))
    ends = np.cumsum(sizes)[:-1]
    return [r.moved(x, lambda i, k=k: np.split(i, ends, axis)[k]) for k in range(len(sizes))]  # type: ignore[misc]


def _pad(r: Reader, x: Input, widths: Input, fill: Input = None) -> Made:
    r.expect(mode=b"constant")
    pads, shape = r.integers(widths), r.shape(r.value(x))
    wrong = len(pads) != 2 * len(shape) or min(pads) < 0 or (fill is not None and np.any(r.numbers(fill)))
    r.refuse(wrong, "it is supported with zeros around all axes only")
    both = list(zip(pads[: len(shape)], pads[len(shape) :], strict=True))
    r.room([n + p + q for n, (p, q) in zip(shape, both, strict=True)])
    return r.moved(x, lambda i: np.pad(i, both, constant_values=-1))


def _concat(r: Reader, *xs: Input) -> Made:
    axis = r.take("axis")
    r.refuse(axis is None, "it does not say along which axis")
    ends = np.cumsum([prod(r.shape(x)) for x in xs])
    r.room([ends[-1]])
    if not any(isinstance(x, Value) for x in xs):
        return np.concatenate([r.constant(x) for x in xs], axis)
    each = np.split(np.arange(ends[-1]), ends[:-1])
    places = np.concatenate([i.reshape(r.shape(x)) for i, x in zip(each, xs, strict=True)], axis)
    return r.add(Pick(places.reshape(-1), ends[-1]), [r.lifted(x) for x in xs], places.shape)


MOVES: dict[str, Handler] = {
    "Identity": lambda r, x: r.moved(x, lambda i: i),
    "Dropout": _dropout,
    "Constant": _constant,
    "Shape": lambda r, x: np.array(r.shape(x), np.int64),
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Transpose": lambda r, x: r.moved(x, lambda i: i.transpose(r.take("perm", list(range(i.ndim))[::-1]))),
    "Squeeze": _squeeze,
    "Unsqueeze": _squeeze,
    "Gather": _gather,
    "Slice": _slice,
    "Split": _split,
    "Pad": _pad,
    "Concat": _concat,
}
