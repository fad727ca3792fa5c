"""The operators that compute: functions, sums, products, convolutions, pooling, normalisation."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from bounds.proof.format import Array
from bounds.proof.functions import Function, Relu, Sigmoid, Tanh
from bounds.proof.network import MOST, Argument, Attributes, Handler, Operators, Reader, Value
from bounds.proof.steps import Convolution, Dense, Pick

OPERATORS = Operators()
_KERNEL = 2**12


def _function(does: Function) -> Handler:
    def read(r: Reader, t: Attributes, xs: list[Argument]) -> Value:
        x = r.value(xs[0])
        return r.add(does, [x], x.shape)

    return read


OPERATORS.update({"Relu": _function(Relu()), "Sigmoid": _function(Sigmoid()), "Tanh": _function(Tanh())})


@OPERATORS.reads("LeakyRelu")
def _leaky(r: Reader, t: Attributes, xs: list[Argument]) -> Value:
    leak, x = t.take("alpha", float(np.float32(0.01))), r.value(xs[0])
    if not 0 <= leak <= 1:
        raise r.refuse("its slope is not from 0 to 1")
    return r.add(Relu(leak), [x], x.shape)


@OPERATORS.reads("Add", "Sub")
def _sum(r: Reader, t: Attributes, xs: list[Argument]) -> Value | Array:
    sign = -1 if t.place.startswith("Sub") else 1
    x, y = xs
    if isinstance(x, Value) and isinstance(y, Value):
        return r.sum(x, y, sign)
    if isinstance(x, Value):
        return r.scaled(x, None, sign * r.a.array(r.constant(y)))
    return r.scaled(r.value(y), None if sign > 0 else -r.a.array(1.0), r.a.array(r.constant(x)))


@OPERATORS.reads("Mul", "Div", "Neg")
def _product(r: Reader, t: Attributes, xs: list[Argument]) -> Value:
    if t.place.startswith("Neg"):
        return r.scaled(r.value(xs[0]), -r.a.array(1.0), None, executed=0)
    x, y = (xs[1], xs[0]) if t.place.startswith("Mul") and isinstance(xs[1], Value) else xs
    c = r.constant(y)
    if t.place.startswith("Div") and not bool(np.all(c)):
        raise r.refuse("it divides by zero")
    factor = r.a.array(1.0) / r.a.array(c) if t.place.startswith("Div") else r.a.array(c)
    return r.scaled(r.value(x), factor, None)


@OPERATORS.reads("MatMul")
def _matmul(r: Reader, t: Attributes, xs: list[Argument]) -> Value:
    if isinstance(xs[1], Value):  # W x = (x' W')'
        w, x = r.constant(xs[0]), xs[1]
        if w.ndim != 2 or len(x.shape) not in (1, 2):
            raise r.refuse("it is supported for a constant matrix from the left of a matrix only")
        if len(x.shape) == 1:
            return _dense(r, x, w, None)
        flipped = r.value(r.moved(x, lambda i: i.T))
        return r.value(r.moved(_dense(r, flipped, w, None), lambda i: i.T))
    w = r.constant(xs[1])
    if w.ndim != 2:
        raise r.refuse("it is supported for constant matrices only")
    return _dense(r, r.value(xs[0]), w.T, None)


@OPERATORS.reads("Gemm")
def _gemm(r: Reader, t: Attributes, xs: list[Argument]) -> Value:
    for name in ("alpha", "beta"):
        t.expect(name, 1.0)
    t.expect("transA", 0)
    w, x = r.constant(xs[1]), r.value(xs[0])
    w = w if t.take("transB", 0) else w.T
    bias = r.constant(xs[2]) if len(xs) > 2 and xs[2] is not None else None
    wide = (1, len(w)) if bias is None else np.broadcast_shapes(bias.shape, (1, len(w)))
    if w.ndim != 2 or len(x.shape) != 2 or wide != (1, len(w)):
        raise r.refuse("it is supported for matrices and a bias per column only")
    return _dense(r, x, w, bias)


def _dense(r: Reader, x: Value, w: Array, bias: Array | None) -> Value:
    outs, ins = w.shape
    if not x.shape or x.shape[-1] != ins:
        raise r.refuse(f"a value of shape {x.shape} meets a matrix of {ins} columns")
    groups = prod(x.shape[:-1])
    r.room((groups, outs))
    b = None if bias is None else np.tile(np.broadcast_to(r.a.array(bias).reshape(-1), (outs,)), groups)
    weight = np.ascontiguousarray(r.a.array(w))
    return r.add(Dense(weight=weight, bias=b, executed=ins + 4), [x], (*x.shape[:-1], outs))


@OPERATORS.reads("Conv")
def _conv(r: Reader, t: Attributes, xs: list[Argument]) -> Value:
    x, w = r.value(xs[0]), r.constant(xs[1])
    groups, size = t.take("group", 1), x.shape[2:]
    t.expect("kernel_shape", list(w.shape[2:]))
    if w.ndim < 3 or len(x.shape) != w.ndim or x.shape[0] != 1 or x.shape[1] != groups * w.shape[1]:
        raise r.refuse(f"a value of shape {x.shape} meets kernels of shape {w.shape}")
    if len(w) % groups:
        raise r.refuse("its channels do not divide into its groups")
    bias = r.constant(xs[2]) if len(xs) > 2 and xs[2] is not None else None
    if bias is not None and bias.shape != (len(w),):
        raise r.refuse("it does not have one bias per channel")
    weight = r.a.array(w).reshape(groups, len(w) // groups, *w.shape[1:])
    step = Convolution(
        weight=weight, size=size, **_windows(r, t, w.shape[2:], size), executed=prod(w.shape[1:]) + 4
    )
    r.room((len(w), *step.out_size))
    if bias is not None:
        step = _with_bias(step, np.repeat(r.a.array(bias), prod(step.out_size)))
    return r.add(step, [x], (1, len(w), *step.out_size))


def _with_bias(step: Convolution, bias: Array) -> Convolution:
    return Convolution(
        weight=step.weight,
        size=step.size,
        strides=step.strides,
        dilations=step.dilations,
        pads=step.pads,
        executed=step.executed,
        bias=bias,
    )


def _windows(r: Reader, t: Attributes, kernel: tuple[int, ...], size: tuple[int, ...]) -> dict[str, Any]:
    """The strides, dilations and pads of a convolution or pooling."""
    t.expect("auto_pad", b"NOTSET", b"VALID")
    axes = len(kernel)
    strides, dilations = t.take("strides", [1] * axes), t.take("dilations", [1] * axes)
    pads = t.take("pads", [0] * 2 * axes)
    fits = len(size) == len(strides) == len(dilations) == axes and len(pads) == 2 * axes
    if not fits or min([*strides, *dilations, *kernel]) < 1 or min(pads) < 0 or max(pads) > MOST:
        raise r.refuse("its strides, dilations or pads are not supported")
    if prod(kernel) > _KERNEL:
        raise r.refuse(f"its kernel has more than {_KERNEL} elements")
    both = tuple(zip(pads[:axes], pads[axes:], strict=True))
    for n, (p, q), k, d in zip(size, both, kernel, dilations, strict=True):
        if n + p + q < d * (k - 1) + 1:
            raise r.refuse("its kernel is larger than the image")
    r.room([n + p + q for n, (p, q) in zip(size, both, strict=True)])
    return {"strides": tuple(strides), "dilations": tuple(dilations), "pads": both}


@OPERATORS.reads("AveragePool", "GlobalAveragePool")
def _average(r: Reader, t: Attributes, xs: list[Argument]) -> Value:
    x = r.value(xs[0])
    size = x.shape[2:]
    kernel = size if t.place.startswith("Global") else tuple(t.take("kernel_shape"))
    t.expect("ceil_mode", 0)
    counted, windows = t.take("count_include_pad", 0), _windows(r, t, kernel, size)
    if not counted and any(map(sum, windows["pads"])):
        raise r.refuse("it does not count borders that it has")
    weight = np.broadcast_to(r.a.array(1.0) / r.a.array(prod(kernel)), (1, 1, 1, *kernel))
    step = Convolution(weight=weight, size=size, **windows, executed=prod(kernel) + 4)
    return r.add(step, [x], (*x.shape[:2], *step.out_size))


@OPERATORS.reads("MaxPool")
def _max_pool(r: Reader, t: Attributes, xs: list[Argument]) -> Value:
    x = r.value(xs[0])
    size, kernel = x.shape[2:], tuple(t.take("kernel_shape"))
    t.expect("ceil_mode", 0)
    t.expect("storage_order", 0)
    windows = _windows(r, t, kernel, size)
    step = Convolution(weight=np.ones((1, 1, 1, *kernel)), size=size, **windows)
    shape = (*x.shape[:2], *step.out_size)
    index = np.arange(1, prod(x.shape) + 1, dtype=np.float64).reshape(prod(x.shape[:2]), -1)
    places = []
    for one in np.eye(prod(kernel)).reshape(-1, 1, 1, 1, *kernel):
        moved = Convolution(weight=one, size=size, **windows).linear([index])
        places.append(moved.astype(np.int64).reshape(-1) - 1)
    valid = np.max(places, 0)  # of each window some element that is not border
    if bool((valid < 0).any()):
        raise r.refuse("it has windows that lie in the border")
    picked = [np.where(p < 0, valid, p) for p in places]
    return r.largest([r.add(Pick(p, (prod(x.shape),)), [x], shape) for p in picked])


@OPERATORS.reads("Max", "Clip")
def _clip(r: Reader, t: Attributes, xs: list[Argument]) -> Value:
    """Largest of a value and a constant, and the same from above: ``x - relu(x - c)``."""
    if t.place.startswith("Max"):
        if len(xs) == 2 and all(isinstance(x, Value) for x in xs):
            shape = np.broadcast_shapes(*(r.value(x).shape for x in xs))
            return r.largest([r.spread(r.value(x), shape) for x in xs])
        x, low, high = (*xs[::-1], None) if isinstance(xs[1], Value) else (*xs, None)
    elif r.opset < 11:
        x, low, high = xs[0], t.take("min"), t.take("max")
        if low is None or high is None:
            raise r.refuse("it is supported with both ends only, which by default are those of float32")
    else:
        x, low, high = (*xs, None, None)[:3]
    value = r.value(x)
    if low is not None:
        c = r.a.array(low)
        over = r.scaled(value, None, -c, executed=0)
        value = r.scaled(r.add(Relu(), [over], over.shape), None, c, executed=0)
    if high is not None:
        c = r.a.array(high)
        over = r.scaled(value, None, -c, executed=0)
        value = r.sum(r.spread(value, over.shape), r.add(Relu(), [over], over.shape), -1, executed=0)
    return value


@OPERATORS.reads("BatchNormalization")
def _batch_norm(r: Reader, t: Attributes, xs: list[Argument]) -> Value:
    t.expect("training_mode", 0)
    t.expect("spatial", 1)
    t.take("momentum")
    eps, x = t.take("epsilon", float(np.float32(1e-5))), r.value(xs[0])
    scale, shift, mean, var = (
        r.a.array(r.constant(c)).reshape(-1, *[1] * (len(x.shape) - 2)) for c in xs[1:]
    )
    if len(x.shape) < 2 or any(c.size != x.shape[1] for c in (scale, shift, mean, var)):
        raise r.refuse("it does not have one number per channel")
    if not bool((var + eps > 0).all()):
        raise r.refuse("it has a variance that is not positive")
    weight = scale / r.a.root(var + r.a.array(eps))
    size = np.broadcast_to(np.abs(shift) + np.abs(mean * weight), x.shape).reshape(-1)
    # Executions may fold it into its neighbour, of which the account for level "deployed" knows nothing.
    return r.scaled(x, weight, shift - mean * weight, bias_size=size, executed=-1)
