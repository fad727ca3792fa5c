"""The operators that compute: functions, sums, affine layers, convolutions, pooling, normalisation."""

from __future__ import annotations

from math import prod

import numpy as np

from bounds.proof.basics import Array
from bounds.proof.functions import Relu
from bounds.proof.network import Handler, Input, Made, Reader, Shape, Value
from bounds.proof.steps import Convolution, Pick, Transposed


def _relu(r: Reader, x: Input) -> Value:
    return r.add(Relu(), [r.value(x)], r.shape(x))


def _leaky(r: Reader, x: Input) -> Value:
    leak = r.take("alpha", float(np.float32(0.01)))
    r.refuse(not 0 <= leak <= 1, "its slope is not from 0 to 1")
    return r.add(Relu(leak), [r.value(x)], r.shape(x))


def _times(r: Reader, x: Input, y: Input) -> Value:
    value, factor = (x, y) if isinstance(x, Value) else (y, x)
    return r.scaled(r.value(value), r.numbers(factor))


def _quotient(r: Reader, x: Input, y: Input) -> Value:
    divisor = r.numbers(y)
    r.refuse(not np.all(divisor), "it divides by zero")
    return r.scaled(r.value(x), r.a.array(1.0) / divisor)


def _matmul(r: Reader, x: Input, y: Input) -> Made:
    weight = r.numbers(y)
    made = r.dense(r.value(x), weight.T if weight.ndim > 1 else weight[None])
    return made if weight.ndim > 1 else r.moved(made, lambda i: i[..., 0])


def _gemm(r: Reader, x: Input, w: Input, bias: Input = None) -> Value:
    r.expect(alpha=1.0, beta=1.0, transA=0)
    weight = r.numbers(w)
    r.refuse(len(r.shape(x)) != 2, "it is supported for matrices only")
    return r.dense(r.value(x), weight if r.take("transB", 0) else weight.T, bias)


Spacing = tuple[Shape, Shape, tuple[tuple[int, int], ...]]


def _spacing(r: Reader, axes: int) -> Spacing:
    """Strides, dilations and pads of a convolution or of pooling."""
    strides, dilations = r.take("strides", [1] * axes), r.take("dilations", [1] * axes)
    pads, how = r.take("pads", [0] * 2 * axes), r.take("auto_pad", b"NOTSET")
    fits = len(strides) == len(dilations) == axes > 0 and len(pads) == 2 * axes
    wrong = not fits or min([*strides, *dilations]) < 1 or min(pads) < 0
    r.refuse(wrong, "its strides, dilations or pads are not supported")
    wrong = how != b"NOTSET" and (how != b"VALID" or any(pads))
    r.refuse(wrong, "auto_pad is supported for VALID without pads only")
    return tuple(strides), tuple(dilations), tuple(zip(pads[:axes], pads[axes:], strict=True))


def _moving(r: Reader, kind: type[Convolution], shape: Shape, weight: Array, by: Spacing) -> Convolution:
    """A convolution of images of a shape (1, channels, *size), or its transpose."""
    size, kernel, (strides, dilations, pads) = shape[2:], weight.shape[3:], by
    wrong = len(size) != len(kernel) or min([*size, *kernel]) < 1
    r.refuse(wrong, f"images of size {size} meet a kernel of size {kernel}")
    terms = weight.shape[1 if kind is Transposed else 2] * prod(kernel) + 4
    step = kind(weight=weight, size=size, strides=strides, dilations=dilations, pads=pads, executed=terms)
    r.room([*shape[:2], *step.padded])
    r.refuse(min(step.out_size) < 1, "its kernel is larger than the image")
    r.room([*shape[:2], *kernel, *step.out_size])
    return step


def _conv(r: Reader, x: Input, w: Input, bias: Input = None) -> Value:
    """A convolution of ``few`` channels of an image into ``many``, per group; or its transpose."""
    value, weight, groups = r.value(x), r.numbers(w), r.take("group", 1)
    many, few, *kernel = weight.shape
    r.expect(kernel_shape=kernel)
    kind, image, spacing = Convolution, value.shape, _spacing(r, len(kernel))
    if r.op == "ConvTranspose":
        r.expect(output_padding=[0] * len(kernel))
        axes = zip(image[2:], kernel, *spacing, strict=True)
        size = (s * (n - 1) + d * (k - 1) + 1 - sum(pad) for n, k, s, d, pad in axes)
        kind, image = Transposed, (1, groups * few, *size)
    step = _moving(r, kind, image, weight.reshape(groups, many // groups, few, *kernel), spacing)
    made = (1, many, *step.out_size)
    taken, given = (made, image) if kind is Transposed else (image, made)
    wrong = value.shape != taken or image[:2] != (1, groups * few)
    r.refuse(wrong, f"a value of shape {value.shape} meets kernels of shape {weight.shape}")
    r.refuse(bias is not None and r.shape(bias) != given[1:2], "it does not have one bias per channel")
    b = None if bias is None else r.constant(bias).reshape(-1, *[1] * len(kernel))
    return r.add(step, [value], given, b)


def _average(r: Reader, x: Input) -> Value:
    value = r.value(x)
    kernel = value.shape[2:] if r.op.startswith("Global") else r.take("kernel_shape", [])
    r.expect(ceil_mode=0)
    weight = np.broadcast_to(r.a.array(1.0) / r.a.array(prod(kernel)), (1, 1, 1, *kernel))
    step = _moving(r, Convolution, value.shape, weight, _spacing(r, len(kernel)))
    left_out = not r.take("count_include_pad", 0)
    r.refuse(left_out and any(map(sum, step.pads)), "it does not count borders that it has")
    return r.add(step, [value], (*value.shape[:2], *step.out_size))


def _max_pool(r: Reader, x: Input) -> Value:
    value = r.value(x)
    r.expect(ceil_mode=0, storage_order=0)
    kernel = r.take("kernel_shape", [])
    weight = np.broadcast_to(1.0, (1, 1, 1, *kernel))
    step = _moving(r, Convolution, value.shape, weight, _spacing(r, len(kernel)))
    size = prod(value.shape)
    seen = step.seen(np.arange(1, size + 1)[None])[0, :, 0] - 1  # (channels, kernel, ...), -1 for borders
    places = seen.swapaxes(0, 1).reshape(prod(kernel), -1)
    valid = places.max(0)  # of each window some element that is not border
    r.refuse((valid < 0).any(), "it has windows that lie in the border")
    shape = (*value.shape[:2], *step.out_size)
    left = [r.add(Pick(np.where(p < 0, valid, p), size), [value], shape) for p in places]
    while len(left) > 1:
        pairs = zip(left[::2], left[1::2], strict=False)
        left = [cut(r, x, y, 1) for x, y in pairs] + ([left[-1]] if len(left) % 2 else [])
    return left[0]


def cut(r: Reader, x: Value, y: Input, sign: int) -> Value:
    """``max(x, y) = y + relu(x - y)``, or for sign -1 ``min(x, y) = x - relu(x - y)``.

    An execution compares, and rounds nothing.
    """
    over = r.sum(x, y, -1, executed=0)
    return r.sum(y if sign > 0 else x, r.add(Relu(), [over], over.shape), sign, executed=0)


def _batch_norm(r: Reader, x: Input, *constants: Input) -> Value:
    """``(x - mean) weight + shift``."""
    r.refuse(r.deployed, "executions may fold it into others, which no account is kept of; use level 'real'")
    r.refuse(r.a.exact, "its square roots are no fractions")
    r.expect(training_mode=0, spatial=1)
    r.take("momentum")
    eps, value = r.take("epsilon", float(np.float32(1e-5))), r.value(x)
    wide = [1] * (len(value.shape) - 2)
    scale, shift, mean, var = (r.constant(c).reshape(-1, *wide) for c in constants)
    sizes = {c.size for c in (scale, shift, mean, var)}
    r.refuse(sizes != {value.shape[1]}, "it does not have one number per channel")
    spread = r.numbers(var) + eps
    r.refuse(not (spread > 0).all(), "it has a variance that is not positive")
    return r.scaled(r.sum(value, mean, -1), r.numbers(scale) / np.sqrt(spread), shift)


OPERATORS: dict[str, Handler] = {
    "Relu": _relu,
    "LeakyRelu": _leaky,
    "Add": lambda r, x, y: r.sum(x, y, 1),
    "Sub": lambda r, x, y: r.sum(x, y, -1),
    "Neg": lambda r, x: r.scaled(r.value(x), r.a.array(-1), None, executed=0),
    "Mul": _times,
    "Div": _quotient,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Conv": _conv,
    "ConvTranspose": _conv,
    "AveragePool": _average,
    "GlobalAveragePool": _average,
    "MaxPool": _max_pool,
    "BatchNormalization": _batch_norm,
}
