"""Operators that compute beyond the core: curved functions, products, softmax, sums, minima and maxima.

Mul, Div and MatMul of a value and constants are left to the core, but for a constant matrix from the left.
"""

from __future__ import annotations

from math import prod

import numpy as np

from bounds.proof.more.functions import FUNCTIONS, Product, Reciprocal, power
from bounds.proof.more.moves import folded, once_attributes
from bounds.proof.network import Handler, Input, Made, Reader, Value
from bounds.proof.operators import OPERATORS, cut
from bounds.proof.steps import Pick

_MOST_POWER = 2**8


def _elementwise(r: Reader, x: Input) -> Value:
    return r.add(FUNCTIONS[r.op], [r.value(x)], r.shape(x))


def _power(r: Reader, x: Input, y: Input) -> Value:
    exponent = float(r.constant(y).item())
    whole = exponent.is_integer() and 2 <= exponent <= _MOST_POWER
    r.refuse(not whole, f"it is supported for whole powers from 2 to {_MOST_POWER} only")
    value = r.spread(r.value(x), np.broadcast_shapes(r.shape(x), r.shape(y)))
    return r.add(power(int(exponent)), [value], value.shape)


def _multiplied(r: Reader, x: Value, y: Value) -> Value:
    """``x y``, elementwise."""
    if x == y:
        return r.add(power(2), [x], x.shape)
    shape = np.broadcast_shapes(x.shape, y.shape)
    both = [r.spread(x, shape), r.spread(y, shape)]
    return r.add(Product(), both, shape, rows=tuple(_origin(r, factor.index) for factor in both))


def _origin(r: Reader, value: int) -> int:
    """The value whose elements are moved to make one, and not fewer of them: it gets rows in its place."""
    step = r.steps[value - 1] if value else None
    if step is None or not isinstance(step.does, Pick) or step.size < step.does.inputs:
        return value
    return _origin(r, step.inputs[0]) if len(step.inputs) == 1 else value


def _times(r: Reader, x: Input, y: Input) -> Made | list[Made]:
    if isinstance(x, Value) and isinstance(y, Value):
        return _multiplied(r, x, y)
    if isinstance(x, Value) or isinstance(y, Value):
        return OPERATORS["Mul"](r, x, y)
    whole = r.whole(y), r.whole(x)
    made = folded(r, np.multiply, *whole)
    far = abs(np.multiply(*whole, dtype=np.float64)) >= 2.0**31
    r.refuse(far.any(), "its products may be too large for whole numbers of 32 bits")
    return made


def _quotient(r: Reader, x: Input, y: Input) -> Made | list[Made]:
    if not isinstance(y, Value):
        return OPERATORS["Div"](r, x, y)
    over = r.add(Reciprocal(), [y], y.shape)
    return _multiplied(r, x, over) if isinstance(x, Value) else r.scaled(over, r.numbers(x))


def _contracted(r: Reader, x: Value, y: Value) -> Value:
    """The matrix product, sums of single products.

    Averages, where a row of x adds up to one, are a mean, and sums of what else there is.
    """
    n, mean = x.shape[-1], None
    wrong = min(len(x.shape), len(y.shape)) < 2 or y.shape[-2] != n
    r.refuse(wrong, f"values of shapes {x.shape} and {y.shape} are no matrices that can be multiplied")
    does = r.steps[x.index - 1].does if x.index else None
    if isinstance(does, Reciprocal) and does.count == n:
        turned = r.value(_turned(r, y))
        mean = r.dense(turned, np.full((1, n), 1 / n))
        y = r.value(_turned(r, r.sum(turned, mean, -1)))
    left = r.value(r.moved(x, lambda i: i[..., :, None, :]))
    right = r.value(r.moved(_turned(r, y), lambda i: i[..., None, :, :]))
    total = r.value(r.moved(r.dense(_multiplied(r, left, right), np.ones((1, n))), lambda i: i[..., 0]))
    return total if mean is None else r.sum(total, r.moved(mean, lambda i: i[..., None, :, 0]), 1)


def _turned(r: Reader, x: Input) -> Made:
    return r.moved(x, lambda i: i.swapaxes(-1, -2))


def _matmul(r: Reader, x: Input, y: Input) -> Made | list[Made]:
    if not isinstance(y, Value):
        return OPERATORS["MatMul"](r, x, y)
    if isinstance(x, Value):
        return _contracted(r, x, y)
    r.refuse(y.shape[2:], "it is supported for a constant matrix from the left of a vector or matrix only")
    flipped = r.value(r.moved(y, np.transpose))  # W x = (x' W')'
    return r.moved(r.dense(flipped, r.numbers(x)), np.transpose)


def _softmax(r: Reader, x: Input) -> Value:
    """``1 / sum exp(x_j - x_i)``, where that for i = j is exact."""
    value = r.value(x)
    axis, n = r.take("axis", 1 if r.opset < 13 else -1), value.shape[-1]
    r.refuse(axis not in (-1, len(value.shape) - 1), "it is supported along the last axis only")
    r.room([n] * 3)
    one = np.eye(n)
    away = r.dense(value, (one - one[:, None]).reshape(n * n, n))
    pairs = r.value(r.moved(away, lambda i: i.reshape(*value.shape, n)))
    total = r.dense(r.add(FUNCTIONS["Exp"], [pairs], pairs.shape), np.ones((1, n)))
    return r.add(Reciprocal(count=n), [r.value(r.moved(total, lambda i: i[..., 0]))], value.shape)


def _reduce(r: Reader, x: Input, axes: Input = None) -> Made:
    """Sums or means over axes, which go behind the others for that."""
    shape, keep = r.shape(x), r.take("keepdims", 1)
    r.expect(noop_with_empty_axes=0)
    every = list(range(len(shape)))
    over = every if axes is None else [every[axis] for axis in r.integers(axes)]
    r.refuse(not over, "it names no axes, which some take for all")
    kept = [k for k in every if k not in over]
    n = prod(shape[k] for k in over)
    flat = r.moved(x, lambda i: i.transpose(kept + over).reshape(*(shape[k] for k in kept), n))
    share = r.a.array(1.0) / r.a.array(n) if r.op == "ReduceMean" else r.a.array(1.0)
    total = r.dense(r.value(flat), np.broadcast_to(share, (1, n)))
    left = [1 if k in over else n for k, n in enumerate(shape) if keep or k in kept]
    return r.moved(total, lambda i: i.reshape(left))


def _max(r: Reader, x: Input, y: Input) -> Value:
    x, y = (x, y) if isinstance(x, Value) else (y, x)
    return cut(r, r.value(x), y, 1)


def _clip(r: Reader, x: Input, low: Input = None, high: Input = None) -> Value:
    old = r.opset < 11 and (low is None or high is None)
    r.refuse(old, "it is supported with both ends only, which by default are those of float32")
    value = r.value(x) if low is None else _max(r, x, low)
    return value if high is None else cut(r, value, high, -1)


COMPUTING: dict[str, Handler] = {
    **dict.fromkeys(FUNCTIONS, _elementwise),
    "Max": _max,
    "Clip": once_attributes(_clip, "min", "max"),
    "Pow": _power,
    "Mul": _times,
    "Div": _quotient,
    "MatMul": _matmul,
    "Softmax": _softmax,
    "ReduceSum": once_attributes(_reduce, "axes"),
    "ReduceMean": once_attributes(_reduce, "axes"),
}
