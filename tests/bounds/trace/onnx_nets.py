"""ONNX models made in tests: from single nodes, and random networks over the supported operators."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.shape_inference
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

Array = NDArray[np.float32]
Dim = int | str


def save(
    path: Path,
    nodes: Sequence[NodeProto],
    dims: Sequence[Dim],
    constants: dict[str, np.ndarray],
    output: str,
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
    result: Sequence[Dim] | None = None,
) -> Path:
    """A model of one input "x" and one output (of a shape that is inferred if not given), written."""
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", kind, list(dims))],
        [helper.make_tensor_value_info(output, kind, result)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def session(path: Path | bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    source = path if isinstance(path, bytes) else str(path)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run_one_by_one(path: Path | bytes, xs: Array) -> Array:
    """The outputs of onnxruntime, sample by sample, in front a batch axis of our own."""
    runtime = session(path)
    name, rank = runtime.get_inputs()[0].name, len(runtime.get_inputs()[0].shape)
    rows = [x[None] if rank == xs.ndim else x for x in xs]
    ys = [runtime.run(None, {name: row})[0] for row in rows]
    return np.stack([y[0] if rank == xs.ndim else y for y in ys])


class RandomNet:
    """A network grown step by step; values are (batch, *shape)."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.shape: tuple[int, ...] = (int(self.rng.integers(1, 4)), 8, int(self.rng.integers(6, 9)))
        self.dims: list[Dim] = ["batch" if seed % 2 else 1, *self.shape]
        self.opset = int(self.rng.choice([9, 11, 13, 17, 18, 20]))
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.here = "x"

    def const(self, value: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = value
        return name

    def draw(self, *shape: int) -> str:
        return self.const(self.rng.normal(size=shape).astype(np.float32))

    def ints(self, *values: int) -> str:
        return self.const(np.array(values, dtype=np.int64))

    def add(self, op: str, inputs: Sequence[str], shape: tuple[int, ...], **attributes: object) -> None:
        out = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], name=f"/{op}_{out}", **attributes))
        self.here, self.shape = out, shape

    def grow(self, steps: int) -> None:
        for _ in range(steps):
            image = len(self.shape) == 3
            table = IMAGE_STEPS if image else VECTOR_STEPS
            table[int(self.rng.integers(len(table)))](self)
        if len(self.shape) == 3:
            flatten(self)
        gemm(self)

    def save(self, path: Path) -> Path:
        return save(path, self.nodes, self.dims, self.constants, self.here, self.opset)


def conv(net: RandomNet) -> None:
    c, h, w = net.shape
    group = int(net.rng.choice([1, c]))
    out = group * int(net.rng.integers(1, 4))
    k, d, s = (net.rng.integers(1, high, 2) for high in (4, 3, 3))
    if min(h - d[0] * (k[0] - 1), w - d[1] * (k[1] - 1)) < 1:
        return
    inputs = [net.here, net.draw(out, c // group, *k), *([net.draw(out)] if net.rng.random() < 0.7 else [])]
    common = {"strides": s.tolist(), "dilations": d.tolist(), "group": group, "kernel_shape": k.tolist()}
    if max(d) == 1 and net.rng.random() < 0.5:
        same = str(net.rng.choice(["SAME_UPPER", "SAME_LOWER"]))
        net.add("Conv", inputs, (out, -(-h // s[0]), -(-w // s[1])), auto_pad=same, **common)
        return
    p = net.rng.integers(0, 3, 4)
    height = (h + p[0] + p[2] - d[0] * (k[0] - 1) - 1) // s[0] + 1
    width = (w + p[1] + p[3] - d[1] * (k[1] - 1) - 1) // s[1] + 1
    net.add("Conv", inputs, (out, int(height), int(width)), pads=p.tolist(), **common)


def batch_norm(net: RandomNet) -> None:
    c = net.shape[0]
    var = net.const(np.abs(net.rng.normal(size=c)).astype(np.float32) + 0.1)
    inputs = [net.here, net.draw(c), net.draw(c), net.draw(c), var]
    net.add("BatchNormalization", inputs, net.shape, epsilon=float(net.rng.choice([1e-5, 1e-3])))


def pool(net: RandomNet) -> None:
    c, h, w = net.shape
    k, s = (net.rng.integers(1, 4, 2) for _ in range(2))
    if k[0] > h or k[1] > w:
        return
    p = [0, 0] if min(k) < 2 else net.rng.integers(0, 2, 2).tolist()
    height, width = (h + 2 * p[0] - k[0]) // s[0] + 1, (w + 2 * p[1] - k[1]) // s[1] + 1
    count = int(net.rng.integers(2))
    net.add(
        "AveragePool",
        [net.here],
        (c, int(height), int(width)),
        kernel_shape=k.tolist(),
        strides=s.tolist(),
        pads=[*p, *p],
        count_include_pad=count,
    )


def activation(net: RandomNet) -> None:
    op = str(net.rng.choice(["Relu", "LeakyRelu", "Sigmoid", "Tanh", "Clip", "Neg", "Identity", "Dropout"]))
    if op == "LeakyRelu":
        net.add(op, [net.here], net.shape, alpha=0.3)
    elif op == "Clip" and net.opset < 11:
        net.add(op, [net.here], net.shape, min=-1.0, max=1.5)
    elif op == "Clip":
        bounds = [net.const(np.array(v, dtype=np.float32)) for v in (-1.0, 1.5)]
        net.add(op, [net.here, *bounds], net.shape)
    else:
        net.add(op, [net.here], net.shape)


def arithmetic(net: RandomNet) -> None:
    op = str(net.rng.choice(["Add", "Sub", "Mul", "Div"]))
    channels = (net.shape[0], *[1] * (len(net.shape) - 1))
    shape = [(), channels, (1, *net.shape)][int(net.rng.integers(3))]
    value = net.rng.uniform(0.5, 2, size=shape).astype(np.float32)
    inputs = [net.here, net.const(value)]
    if op in ("Add", "Sub", "Mul") and net.rng.random() < 0.4:
        inputs.reverse()
    net.add(op, inputs, net.shape)


def branch(net: RandomNet) -> None:
    """A residual or a concatenation around an activation and a product with a constant."""
    start, shape = net.here, net.shape
    activation(net)
    arithmetic(net)
    op = str(net.rng.choice(["Add", "Sub", "Concat"]))
    if op == "Concat":
        net.add(op, [net.here, start], (2 * shape[0], *shape[1:]), axis=1)
    else:
        net.add(op, [start, net.here], shape)


def pad(net: RandomNet) -> None:
    c, h, w = net.shape
    p = net.rng.integers(0, 3, 4).tolist()
    shape, pads = (c, h + p[0] + p[2], w + p[1] + p[3]), [0, 0, p[0], p[1], 0, 0, p[2], p[3]]
    mode = str(net.rng.choice(["constant", "edge", "reflect"]))
    if net.opset >= 11 and mode != "constant" and min(h, w) > 2:
        net.add("Pad", [net.here, net.ints(*pads)], shape, mode=mode)
    elif net.opset < 11:
        net.add("Pad", [net.here], shape, pads=pads, value=0.5)
    else:
        value = net.const(np.array(0.5, dtype=np.float32))
        net.add("Pad", [net.here, net.ints(*pads), value], shape)


def crop(net: RandomNet) -> None:
    axis = int(net.rng.integers(len(net.shape)))
    size = net.shape[axis]
    if size < 2:
        return
    start, step = int(net.rng.integers(size - 1)), int(net.rng.integers(1, 3))
    shape = list(net.shape)
    shape[axis] = len(range(start, size, step))
    if net.opset < 10:
        shape[axis] = size - start
        net.add("Slice", [net.here], tuple(shape), starts=[start], ends=[2**31 - 1], axes=[axis + 1])
    else:
        inputs = [net.here, net.ints(start), net.ints(2**31 - 1), net.ints(axis + 1), net.ints(step)]
        net.add("Slice", inputs, tuple(shape))


def transpose(net: RandomNet) -> None:
    perm = net.rng.permutation(len(net.shape))
    shape = tuple(net.shape[p] for p in perm)
    net.add("Transpose", [net.here], shape, perm=[0, *(int(p) + 1 for p in perm)])


def flatten(net: RandomNet) -> None:
    size = int(np.prod(net.shape))
    if net.rng.random() < 0.5:
        net.add("Flatten", [net.here], (size,))
    else:
        net.add("Reshape", [net.here, net.ints(0, -1)], (size,))


def mean(net: RandomNet) -> None:
    c = net.shape[0]
    if net.opset < 18:
        net.add("ReduceMean", [net.here], (c,), axes=[2, 3], keepdims=0)
    else:
        net.add("ReduceMean", [net.here, net.ints(2, 3)], (c,), keepdims=0)


def gemm(net: RandomNet) -> None:
    size, out = net.shape[0], int(net.rng.integers(2, 8))
    if net.rng.random() < 0.5:
        net.add("Gemm", [net.here, net.draw(out, size), net.draw(out)], (out,), transB=1)
    else:
        net.add("MatMul", [net.here, net.draw(size, out)], (out,))
        net.add("Add", [net.here, net.draw(out)], (out,))


def gather(net: RandomNet) -> None:
    size = net.shape[0]
    index = net.rng.permutation(size)[: max(1, size // 2)]
    if net.rng.random() < 0.3:
        index = net.rng.integers(size, size=size)
    net.add("Gather", [net.here, net.ints(*(int(i) for i in index))], (len(index), *net.shape[1:]), axis=1)


def conv_transpose(net: RandomNet) -> None:
    c, h, w = net.shape
    if c * h * w > 1000:
        return
    group = int(net.rng.choice([1, c]))
    out = group * int(net.rng.integers(1, 3))
    k, d, s = (net.rng.integers(1, high, 2) for high in (4, 3, 3))
    full = (np.array([h, w]) - 1) * s + d * (k - 1) + 1
    p = net.rng.integers(0, 2, 4)
    extra = net.rng.integers(0, s)
    height, width = full + extra - p[:2] - p[2:]
    if min(height, width) < 1:
        return
    net.add(
        "ConvTranspose",
        [net.here, net.draw(c, out // group, *k), net.draw(out)],
        (out, int(height), int(width)),
        strides=s.tolist(),
        dilations=d.tolist(),
        group=group,
        pads=p.tolist(),
        output_padding=extra.tolist(),
    )


def resize(net: RandomNet) -> None:
    c, h, w = net.shape
    if net.opset < 13 or c * h * w > 1000:
        return
    size = [int(n) for n in net.rng.integers(1, 12, 2)]
    net.add(
        "Resize",
        [net.here, "", "", net.ints(1, c, *size)],
        (c, *size),
        mode=str(net.rng.choice(["nearest", "linear"])),
        coordinate_transformation_mode=str(net.rng.choice(["half_pixel", "asymmetric", "align_corners"])),
    )


def where(net: RandomNet) -> None:
    mask = net.const(net.rng.random(net.shape) < 0.5)
    inputs = [mask, net.here, net.const(np.array(0.5, dtype=np.float32))]
    if net.rng.random() < 0.5:
        inputs[1:] = inputs[:0:-1]
    net.add("Where", inputs, net.shape)


def tile(net: RandomNet) -> None:
    if int(np.prod(net.shape)) > 500:
        return
    times = [int(n) for n in net.rng.integers(1, 3, len(net.shape))]
    net.add(
        "Tile", [net.here, net.ints(1, *times)], tuple(s * n for s, n in zip(net.shape, times, strict=True))
    )


def cumsum(net: RandomNet) -> None:
    if net.opset < 11:
        return
    axis = net.const(np.array(int(net.rng.integers(1, len(net.shape) + 1)), dtype=np.int64))
    exclusive, reverse = (int(n) for n in net.rng.integers(0, 2, 2))
    net.add("CumSum", [net.here, axis], net.shape, exclusive=exclusive, reverse=reverse)


def broadcast(net: RandomNet) -> None:
    """The value plus its own sum over an axis."""
    start, shape, axis = net.here, net.shape, int(net.rng.integers(1, len(net.shape) + 1))
    if net.opset < 13:
        net.add("ReduceSum", [start], shape, axes=[axis])
    else:
        net.add("ReduceSum", [start, net.ints(axis)], shape)
    net.add("Add", [net.here, start], shape)


Step = Callable[[RandomNet], None]
IMAGE_STEPS: list[Step] = [
    *(conv, conv, batch_norm, pool, activation, activation, arithmetic, branch),
    *(pad, crop, transpose, gather, mean, flatten),
    *(conv_transpose, resize, where, tile, cumsum, broadcast),
]
VECTOR_STEPS: list[Step] = [gemm, gemm, activation, arithmetic, branch, crop, gather, where, tile, broadcast]
