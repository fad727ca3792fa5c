"""Operators that move elements, of values and of constants alike."""

from __future__ import annotations

from math import prod

import numpy as np

from bounds.proof.basics import Array, Refused
from bounds.proof.network import Handler, Input, Made, Reader, Value, once_attributes
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
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Transpose": lambda r, x: r.moved(x, lambda i: i.transpose(r.take("perm", list(range(i.ndim))[::-1]))),
    "Pad": once_attributes(_pad, "pads", "value"),
    "Concat": _concat,
}
