"""Operators that pick, repeat or make elements, and shapes computed while reading."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from bounds.proof.basics import Array
from bounds.proof.network import Handler, Input, Made, Reader


def once_attributes(handler: Handler, *names: str) -> Handler:
    """A handler whose inputs behind the first were attributes in older opsets; no opset has both."""

    def read(r: Reader, *xs: Input) -> Made | list[Made]:
        found = [r.take(name) for name in names] if len(xs) < 2 else []
        kinds = [np.float32 if isinstance(x, float) else np.int64 for x in found]
        once = [None if x is None else np.array(x, kind) for x, kind in zip(found, kinds, strict=True)]
        return handler(r, *xs, *once)

    return read


def folded(r: Reader, does: Callable[..., Array], *xs: Array) -> Array:
    """A function of constants, elementwise."""
    r.room(np.broadcast_shapes(*(x.shape for x in xs)))
    return np.asarray(does(*xs))


def _filled(r: Reader, sizes: Input) -> Array:
    r.room(r.integers(sizes))
    return np.broadcast_to(r.take("value", np.zeros(1, np.float32)).reshape(()), r.integers(sizes))


def _dropout(r: Reader, x: Input, ratio: Input = None, training: Input = None) -> Made:
    r.take("ratio")
    r.take("seed")
    r.refuse(training is not None and r.constant(training).any(), "it is supported outside of training only")
    return r.moved(x, lambda i: i)


def _pad(r: Reader, x: Input, widths: Input, fill: Input = None) -> Made:
    r.expect(mode=b"constant")
    pads, shape = r.integers(widths), r.shape(r.value(x))
    wrong = len(pads) != 2 * len(shape) or min(pads) < 0 or (fill is not None and np.any(r.numbers(fill)))
    r.refuse(wrong, "it is supported with zeros around all axes only")
    both = list(zip(pads[: len(shape)], pads[len(shape) :], strict=True))
    r.room([n + p + q for n, (p, q) in zip(shape, both, strict=True)])
    return r.moved(x, lambda i: np.pad(i, both, constant_values=-1))


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


def _expand(r: Reader, x: Input, sizes: Input) -> Made:
    shape = np.broadcast_shapes(r.shape(x), tuple(r.integers(sizes)))
    r.room(shape)
    return r.moved(x, lambda i: np.broadcast_to(i, shape))


def _enlarge(r: Reader, x: Input, *rest: Input) -> Made:
    """Every element some times in a row: what nearest neighbours are where sizes are multiplied."""
    shape, by = r.shape(x), r.constant(rest[-1])
    r.expect(mode=b"nearest")
    if r.op == "Resize" and r.opset > 10:
        usual = b"half_pixel", b"round_prefer_floor"
        way = r.take("coordinate_transformation_mode", usual[0]), r.take("nearest_mode", usual[1])
        r.refuse(way not in (usual, (b"asymmetric", b"floor")), "its way to the nearest is not supported")
        r.take("cubic_coeff_a")
    times = by / shape if by.dtype == np.int64 else by
    wrong = times.shape != (len(shape),) or (times % 1 != 0).any() or (times < 1).any()
    r.refuse(wrong, "it is supported for whole multiples of all sizes only")
    whole = [int(k) for k in times]
    r.room([n * k for n, k in zip(shape, whole, strict=True)])
    where = np.ix_(*(np.arange(n).repeat(k) for n, k in zip(shape, whole, strict=True)))
    return r.moved(x, lambda i: i[where])


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
    ends = pairwise(np.cumsum([0, *sizes]).tolist())
    return [r.moved(x, partial(np.take, indices=np.arange(*piece), axis=axis)) for piece in ends]


MOVING: dict[str, Handler] = {
    "Shape": lambda r, x: np.array(r.shape(x), np.int64),
    "ConstantOfShape": _filled,
    "Equal": lambda r, x, y: folded(r, np.equal, r.whole(x), r.whole(y)),
    "Where": lambda r, where, x, y: folded(r, np.where, *map(r.constant, (where, x, y))),
    "Dropout": _dropout,
    "Pad": once_attributes(_pad, "pads", "value"),
    "Squeeze": once_attributes(_squeeze, "axes"),
    "Unsqueeze": once_attributes(_squeeze, "axes"),
    "Gather": _gather,
    "Slice": once_attributes(_slice, "starts", "ends", "axes"),
    "Split": once_attributes(_split, "split"),
    "Expand": _expand,
    "Upsample": _enlarge,
    "Resize": _enlarge,
}
