"""Operators that move elements, of values and of constants alike."""

from __future__ import annotations

from math import prod

import numpy as np

from bounds.proof.basics import Array, Refused
from bounds.proof.network import Handler, Input, Made, Reader, Value
from bounds.proof.steps import Pick


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
    "Constant": _constant,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Transpose": lambda r, x: r.moved(x, lambda i: i.transpose(r.take("perm", list(range(i.ndim))[::-1]))),
    "Concat": _concat,
}
