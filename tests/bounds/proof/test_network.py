"""The checker's own reading of ONNX, operator by operator, against onnxruntime."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from bounds import proof
from bounds.proof import Clause, Part, Refused, model_bytes, network
from bounds.proof.arithmetic import Exact, Floats
from bounds.proof.basics import Array
from bounds.proof.check import Checker
from bounds.proof.functions import Function
from bounds.proof.more import MORE
from bounds.proof.moves import MOVES
from bounds.proof.network import Network
from bounds.proof.onnx import _ATTRIBUTES, Message, read_network
from bounds.proof.onnx import tensor as read_tensor
from bounds.proof.operators import OPERATORS
from bounds.proof.steps import Affine
from tests.bounds.proof.nets import leaf, onnx_bytes

RNG = np.random.default_rng(0)
Nodes = Sequence[tuple[str, list[str], dict[str, object]]]


def f(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def i(*values: int) -> Array:
    return np.array(values, np.int64)


# name: nodes in a chain (each makes "y", "y1", ..., the next one's "@"), constants, shape, opset
CASES: dict[str, tuple[Nodes, dict[str, Array], list[int | str], int]] = {
    "gemm": ([("Gemm", ["@", "w", "b"], {})], {"w": f(3, 2), "b": f(2)}, ["n", 3], 17),
    "gemm transposed": ([("Gemm", ["@", "w"], {"transB": 1})], {"w": f(2, 3)}, [1, 3], 17),
    "gemm with a bias per row": ([("Gemm", ["@", "w", "b"], {})], {"w": f(3, 2), "b": f(4, 1)}, [4, 3], 17),
    "matmul": (
        [("MatMul", ["@", "w"], {}), ("Add", ["@", "b"], {})],
        {"w": f(3, 2), "b": f(2)},
        [1, 4, 3],
        17,
    ),
    "matmul left": ([("MatMul", ["w", "@"], {})], {"w": f(2, 4)}, [4, 3], 17),
    "matmul vector": ([("MatMul", ["w", "@"], {})], {"w": f(2, 4)}, [4], 17),
    "normalise": (
        [("Sub", ["@", "m"], {}), ("Div", ["@", "s"], {})],
        {"m": f(3, 1, 1), "s": f(3, 1, 1)},
        [1, 3, 2, 2],
        17,
    ),
    "constant first": (
        [("Sub", ["c", "@"], {}), ("Mul", ["c", "@"], {}), ("Neg", ["@"], {})],
        {"c": f(4)},
        [1, 4],
        17,
    ),
    "broadcast": ([("Mul", ["@", "c"], {})], {"c": f(3, 1)}, [1, 4], 17),
    "conv": (
        [("Conv", ["@", "w", "b"], {"pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2]})],
        {"w": f(4, 2, 3, 2), "b": f(4)},
        [1, 2, 6, 5],
        17,
    ),
    "grouped conv": (
        [("Conv", ["@", "w"], {"group": 2, "kernel_shape": [2, 2]})],
        {"w": f(4, 1, 2, 2)},
        [1, 2, 4, 4],
        17,
    ),
    "conv transpose": (
        [("ConvTranspose", ["@", "w", "b"], {"pads": [1, 0, 0, 1], "strides": [2, 1], "dilations": [1, 2]})],
        {"w": f(2, 4, 3, 2), "b": f(4)},
        [1, 2, 3, 4],
        17,
    ),
    "grouped conv transpose": (
        [("Relu", ["@"], {}), ("ConvTranspose", ["@", "w"], {"group": 2, "strides": [3, 3]})],
        {"w": f(4, 3, 2, 2)},
        [1, 4, 2, 2],
        17,
    ),
    "conv 1d": ([("Conv", ["@", "w"], {"pads": [1, 1]})], {"w": f(2, 3, 3)}, [1, 3, 5], 17),
    "conv 3d": ([("Conv", ["@", "w"], {})], {"w": f(2, 1, 2, 2, 2)}, [1, 1, 3, 3, 3], 17),
    "average": ([("AveragePool", ["@"], {"kernel_shape": [2, 2], "strides": [1, 2]})], {}, [1, 2, 4, 4], 17),
    "average with border": (
        [("AveragePool", ["@"], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1})],
        {},
        [1, 2, 4, 4],
        17,
    ),
    "global average": ([("GlobalAveragePool", ["@"], {})], {}, [1, 2, 3, 4], 17),
    "max pool": (
        [("MaxPool", ["@"], {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 2]})],
        {},
        [1, 2, 5, 4],
        17,
    ),
    "batch norm": (
        [("BatchNormalization", ["@", "s", "b", "m", "v"], {"epsilon": 1e-3})],
        {"s": f(3), "b": f(3), "m": f(3), "v": np.abs(f(3))},
        [1, 3, 2],
        17,
    ),
    "flatten": ([("Flatten", ["@"], {}), ("Gemm", ["@", "w"], {})], {"w": f(12, 2)}, ["n", 3, 2, 2], 17),
    "reshape": (
        [("Reshape", ["@", "s"], {}), ("Transpose", ["@"], {"perm": [0, 2, 1]})],
        {"s": i(0, 3, -1)},
        [1, 2, 6],
        17,
    ),
    "squeeze": (
        [("Squeeze", ["@", "a"], {}), ("Unsqueeze", ["@", "b"], {})],
        {"a": i(0), "b": i(0, 2)},
        [1, 3, 2],
        17,
    ),
    "squeeze 11": (
        [("Squeeze", ["@"], {"axes": [0]}), ("Unsqueeze", ["@"], {"axes": [1]})],
        {},
        [1, 3, 2],
        11,
    ),
    "slice": (
        [("Slice", ["@", "s", "e", "a", "t"], {})],
        {"s": i(-3, 1), "e": i(2**62, -1), "a": i(2, 1), "t": i(2, 1)},
        [1, 4, 5],
        17,
    ),
    "slice 9": ([("Slice", ["@"], {"starts": [1], "ends": [3], "axes": [1]})], {}, [1, 4], 9),
    "gather": (
        [("Gather", ["@", "g"], {"axis": 1})],
        {"g": np.array([[2, 0], [-1, 2]], np.int64)},
        [1, 3, 2],
        17,
    ),
    "pad": ([("Pad", ["@", "p"], {"mode": "constant"})], {"p": i(0, 1, 0, 0, 0, 2)}, [1, 2, 3], 17),
    "pad 10": ([("Pad", ["@"], {"pads": [0, 0, 1, 1]})], {}, [1, 2], 10),
    "leaky": ([("LeakyRelu", ["@"], {"alpha": 0.25})], {}, [1, 4], 17),
    "clip": ([("Clip", ["@", "l", "h"], {})], {"l": np.float32(-0.25), "h": np.float32(0.5)}, [1, 4], 17),
    "clip 10": ([("Clip", ["@"], {"min": -0.25, "max": 0.5})], {}, [1, 4], 10),
    "max": ([("Max", ["@", "c"], {})], {"c": f(4)}, [1, 4], 17),
    "sigmoid": ([("Sigmoid", ["@"], {}), ("Gemm", ["@", "w"], {})], {"w": f(4, 3)}, [1, 4], 17),
    "tanh": ([("Tanh", ["@"], {}), ("Gemm", ["@", "w"], {})], {"w": f(4, 3)}, [1, 4], 17),
    "residual": (
        [
            ("Relu", ["@"], {}),
            ("Gemm", ["@", "w"], {}),
            ("Sub", ["@", "y0"], {}),
            ("Add", ["@", "@"], {}),
            ("Max", ["@", "x"], {}),
        ],
        {"w": f(4, 4)},
        [1, 4],
        17,
    ),
    "concat": (
        [("Relu", ["@"], {}), ("Concat", ["@", "x", "@"], {"axis": 1}), ("Gemm", ["@", "w"], {})],
        {"w": f(12, 3)},
        [1, 4],
        17,
    ),
    "shapes": (
        [
            ("Relu", ["@"], {}),
            ("Shape", ["x"], {}),
            ("Gather", ["@", "zero"], {}),
            ("Unsqueeze", ["@", "zero1"], {}),
            ("Concat", ["@", "minus"], {"axis": 0}),
            ("Reshape", ["y0", "@"], {}),
        ],
        {"zero": np.array(0, np.int64), "zero1": i(0), "minus": i(-1)},
        ["n", 2, 2],
        17,
    ),
    "dropout": ([("Dropout", ["@"], {}), ("Identity", ["@"], {})], {}, [1, 4], 17),
    "matmul with a vector": ([("MatMul", ["@", "w"], {})], {"w": f(3)}, [1, 4, 3], 17),
    "sums": ([("ReduceSum", ["@", "a"], {"keepdims": 0})], {"a": i(-1, 1)}, [1, 3, 2, 4], 17),
    "sums of all": ([("ReduceSum", ["@"], {})], {}, [1, 3, 2], 10),
    "means": ([("ReduceMean", ["@"], {"axes": [1, -1]}), ("Neg", ["@"], {})], {}, [1, 3, 2, 4], 17),
    "upsample": ([("Upsample", ["@", "s"], {})], {"s": np.float32([1, 1, 2, 3])}, [1, 2, 2, 3], 9),
    "resize": (
        [
            (
                "Resize",
                ["@", "", "s"],
                {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
            ),
            ("Resize", ["@", "", "", "t"], {}),
        ],
        {"s": np.float32([1, 1, 3, 1]), "t": i(1, 2, 6, 9)},
        [1, 2, 2, 3],
        13,
    ),
    "expanded": (
        [
            ("ConstantOfShape", ["two"], {"value": numpy_helper.from_array(i(1))}),
            ("Mul", ["@", "minus"], {}),
            ("Equal", ["sizes", "@"], {}),
            ("Where", ["@", "y0", "sizes"], {}),
            ("Expand", ["c", "@"], {}),
            ("Sub", ["x", "@"], {}),
            ("Expand", ["@", "wide"], {}),
        ],
        {"two": i(2), "minus": np.array(-1, np.int64), "sizes": i(1, -1), "c": f(4), "wide": i(2, 1, 1)},
        [1, 4],
        17,
    ),
    "first token": (
        [
            ("ConstantOfShape", ["sizes"], {}),
            ("Add", ["@", "c"], {}),
            ("Concat", ["@", "x"], {"axis": 1}),
        ],
        {"sizes": i(1, 1, 3), "c": f(3)},
        [1, 2, 3],
        9,
    ),
    "floor": ([("Floor", ["@"], {}), ("Gemm", ["@", "w"], {})], {"w": f(4, 3)}, [1, 4], 17),
    "sign": ([("Sign", ["@"], {}), ("Gemm", ["@", "w"], {})], {"w": f(4, 3)}, [1, 4], 17),
    "square": ([("Pow", ["@", "n"], {})], {"n": np.float32(2)}, [1, 4], 17),
    "cube": ([("Pow", ["@", "n"], {})], {"n": i(3).reshape(1, 1, 1)}, [1, 4], 17),
    "waves": ([("Sin", ["@"], {}), ("Gemm", ["@", "w"], {}), ("Cos", ["@"], {})], {"w": f(4, 3)}, [1, 4], 17),
    "product": (
        [("Relu", ["@"], {}), ("Gemm", ["@", "w"], {}), ("Mul", ["@", "x"], {}), ("Mul", ["@", "@"], {})],
        {"w": f(4, 4)},
        [1, 4],
        17,
    ),
    "broadcast product": (
        [("ReduceSum", ["@", "a"], {}), ("Mul", ["x", "@"], {})],
        {"a": i(1)},
        [1, 3, 2],
        17,
    ),
    "quotient": (
        [
            ("Exp", ["@"], {}),
            ("ReduceSum", ["@", "a"], {}),
            ("Div", ["y0", "@"], {}),
            ("Div", ["c", "@"], {}),
        ],
        {"a": i(1), "c": f(3)},
        [1, 3],
        17,
    ),
    "reciprocal": ([("Exp", ["@"], {}), ("Neg", ["@"], {}), ("Reciprocal", ["@"], {})], {}, [1, 4], 17),
    "matrices": (
        [("Transpose", ["@"], {"perm": [0, 2, 1]}), ("MatMul", ["x", "@"], {}), ("MatMul", ["@", "x"], {})],
        {},
        [1, 2, 3],
        17,
    ),
    "softmax": ([("Softmax", ["@"], {})], {}, [1, 2, 4], 17),
    "softmax 9": ([("Softmax", ["@"], {"axis": 2})], {}, [1, 2, 1], 9),
    "attention": (
        [
            ("Transpose", ["@"], {"perm": [0, 1, 3, 2]}),
            ("MatMul", ["x", "@"], {}),
            ("Softmax", ["@"], {}),
            ("MatMul", ["@", "x"], {}),
        ],
        {},
        [1, 2, 3, 2],
        17,
    ),
}
REAL = {
    "batch norm", "square", "cube", "waves", "product", "broadcast product", "quotient", "reciprocal",
    "matrices", "softmax", "softmax 9", "attention",
}  # fmt: skip


def model_of(name: str) -> bytes:
    chain, constants, shape, opset = CASES[name]
    nodes, last = [], "x"
    for k, (op, inputs, attributes) in enumerate(chain):
        made = "y" if k == len(chain) - 1 else f"y{k}"
        nodes.append(helper.make_node(op, [last if n == "@" else n for n in inputs], [made], **attributes))
        last = made
    return onnx_bytes(nodes, constants, shape, opset=opset)


def computed(net: Network, x: Array, a: Floats | Exact) -> Array:
    """The network's output in some arithmetic, (samples, outputs)."""
    values = [a.array(x)]
    for step in net.steps:
        ins = np.concatenate([values[k] for k in step.inputs], 1)
        values.append(step.does.value(ins) if isinstance(step.does, Affine) else step.does.below(ins, a))
    return values[net.output]


def by_onnxruntime(data: bytes, x: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    shape = [d if isinstance(d, int) else 1 for d in entry.shape]
    rows = [session.run(None, {entry.name: row.reshape(shape).astype(np.float32)})[0].ravel() for row in x]
    return np.stack(rows)


def exactly_readable(net: Network) -> bool:
    return all(not isinstance(s.does, Function) or s.does.kinked for s in net.steps)


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_onnxruntime(name: str) -> None:
    data = model_of(name)
    net = read_network(data, Floats())
    x = np.random.default_rng(1).normal(size=(4, net.inputs)).astype(np.float32)
    found, expected = computed(net, x.astype(np.float64), Floats()), by_onnxruntime(data, x)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    if exactly_readable(net) and name != "batch norm":
        exact = computed(read_network(data, Exact()), x.astype(np.float64), Exact())
        np.testing.assert_allclose(exact.astype(np.float64), found, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_steps_and_their_adjoints_agree_exactly(name: str) -> None:
    """<lam, W x> = <lam W, x> in whole numbers, and |W| |x| is no less than |W x|."""
    rng = np.random.default_rng(2)
    net = read_network(model_of(name), Floats())
    for step in net.steps:
        if not isinstance(step.does, Affine):
            continue
        x = rng.integers(-8, 9, (3, sum(net.size(k) for k in step.inputs))).astype(np.float64)
        lam = rng.integers(-8, 9, (3, step.size)).astype(np.float64)
        moved = step.does.adjoint(lam)
        left = (lam * step.does.linear(x)).sum(1)
        right = (moved * x).sum(1)
        np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-9)
        size = step.does.absolute.value(np.abs(x))
        assert (size * (1 + 1e-12) + 1e-12 >= np.abs(step.does.value(x))).all()
        assert step.does.terms > 0 or isinstance(step.does, Affine)


@pytest.mark.parametrize("level", ["real", "deployed"])
@pytest.mark.parametrize("name", CASES)
def test_bounds_hold_at_points(name: str, level: str) -> None:
    data = model_of(name)
    if name in REAL and level == "deployed":
        with pytest.raises(Refused, match="use level 'real'"):
            Checker(data, level)
        return
    rng = np.random.default_rng(3)
    checker = Checker(data, level)
    net = checker.chain.network
    middle = rng.normal(size=net.inputs).astype(np.float32).astype(np.float64)
    low, high = middle - 0.25, middle + 0.25
    rows = rng.normal(size=(3, net.size(net.output)))
    part = Part(low, high, tuple(Clause(row[None], np.zeros(1)) for row in rows))
    x = np.concatenate(
        [rng.uniform(low, high, (40, net.inputs)), np.where(rng.random((40, net.inputs)) < 0.5, low, high)]
    )
    x = np.clip(x.astype(np.float32), low, high).astype(np.float64)
    values = computed(net, x, Floats()) if level == "real" else by_onnxruntime(data, x).astype(np.float64)
    least = (values @ rows.T).min(0)
    for hidden in ("none", "root", "leaf"):
        found = checker.bounds(part, leaf(part, hidden))[0]
        assert (found <= least + 1e-9).all()
        assert (found >= least - 10 * (1 + np.abs(rows).sum())).all()
    if level == "real" and exactly_readable(net) and name != "batch norm":
        exact = Checker(data, "real", exact=True).bounds(part, leaf(part))[0]
        assert all(isinstance(v, Fraction | int) for v in exact)
        np.testing.assert_allclose(exact.astype(np.float64), found, rtol=1e-9, atol=1e-9)


def changed(change: Callable[[onnx.ModelProto], None], name: str = "gemm") -> bytes:
    model = onnx.load_model_from_string(model_of(name))
    change(model)
    return model.SerializeToString()


def _external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL


def _twice(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def _weight(value: Array) -> Callable[[onnx.ModelProto], None]:
    return lambda m: m.graph.initializer[0].CopyFrom(numpy_helper.from_array(value, "w"))


HOSTILE = {
    "unknown operator": lambda m: setattr(m.graph.node[0], "op_type", "ArgMax"),
    "unknown domain": lambda m: setattr(m.graph.node[0], "domain", "com.microsoft"),
    "unknown attribute": lambda m: m.graph.node[0].attribute.append(helper.make_attribute("extra", 1)),
    "alpha": lambda m: m.graph.node[0].attribute.append(helper.make_attribute("alpha", 2.0)),
    "old opset": lambda m: setattr(m.opset_import[0], "version", 6),
    "new opset": lambda m: setattr(m.opset_import[0], "version", 99),
    "external data": _external,
    "constant twice": _twice,
    "nan": _weight(np.full((3, 2), np.nan, np.float32)),
    "other sizes": _weight(f(4, 2)),
    "dims do not fit": lambda m: m.graph.initializer[0].dims.__setitem__(0, 4),
    "half precision": _weight(f(3, 2).astype(np.float16)),
    "missing input": lambda m: m.graph.node[0].input.__setitem__(0, "nothing"),
    "no output": lambda m: setattr(m.graph.output[0], "name", "w"),
    "two inputs": lambda m: m.graph.input.append(helper.make_tensor_value_info("z", 1, [1])),
    "integer input": lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 7),
    "open size": lambda m: m.graph.input[0].type.tensor_type.shape.dim[1].Clear(),
    "name of another": lambda m: m.graph.node[0].output.__setitem__(0, "w"),
    "functions": lambda m: m.functions.add(),
    "sparse": lambda m: m.graph.sparse_initializer.add(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_networks(name: str) -> None:
    with pytest.raises(Refused):
        read_network(changed(HOSTILE[name]), Floats())


def test_float64_networks_have_no_float32_execution() -> None:
    data = changed(_weight(f(3, 2).astype(np.float64)))
    Checker(data, "real")
    with pytest.raises(Refused, match="float64"):
        Checker(data, "deployed")


HUGE: dict[str, tuple[tuple[str, list[str], dict[str, object]], dict[str, Array], list[int | str]]] = {
    "pads": (("Conv", ["x", "w"], {"pads": [2**40] * 4}), {"w": f(1, 1, 2, 2)}, [1, 1, 4, 4]),
    "both pads": (("Conv", ["x", "w"], {"pads": [2**20] * 4}), {"w": f(1, 1, 2, 2)}, [1, 1, 4, 4]),
    "turned": (("ConvTranspose", ["x", "w"], {"strides": [2**20] * 2}), {"w": f(1, 1, 2, 2)}, [1, 1, 4, 4]),
    "kernel": (("MaxPool", ["x"], {"kernel_shape": [9999, 9999], "pads": [9999] * 4}), {}, [1, 1, 4, 4]),
    "broadcast": (("Add", ["x", "c"], {}), {"c": np.zeros((2**15, 1), np.float32)}, [1, 2**15]),
    "gather": (("Gather", ["x", "g"], {"axis": 1}), {"g": np.zeros(2**14, np.int64)}, [2**14, 1]),
    "pad": (("Pad", ["x", "p"], {}), {"p": i(0, 2**30, 0, 2**30)}, [1, 4]),
    "groups": (("MatMul", ["x", "w"], {}), {"w": f(1, 2**14)}, [2**14, 1]),
    "windows": (("MaxPool", ["x"], {"kernel_shape": [999, 999]}), {}, [1, 1, 2000, 2000]),
    "pieces": (("Split", ["x", "s"], {}), {"s": np.ones(2**15, np.int64)}, [2**15]),
    "grown": (("Upsample", ["x", "s"], {}), {"s": np.float32([2**15, 2**15])}, [1, 4]),
    "expanded": (("Expand", ["x", "s"], {}), {"s": i(2**16, 2**16)}, [1, 1]),
    "expanded constant": (("Expand", ["c", "s"], {}), {"c": f(1), "s": i(2**16, 2**16)}, [1, 1]),
    "filled": (("ConstantOfShape", ["s"], {}), {"s": i(2**16, 2**16)}, [1, 1]),
    "folded": (("Mul", ["c", "d"], {}), {"c": i(*[1] * 2**15)[None], "d": i(*[1] * 2**15)[:, None]}, [1]),
    "single products": (("MatMul", ["x", "x"], {}), {}, [2**10, 2**10]),
    "differences": (("Softmax", ["x"], {}), {}, [1, 2**15]),
    "input": (("Transpose", ["x"], {}), {}, [2**20, 2**20]),
}


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "constants", "shape", "opset"),
    [
        ("Gemm", ["x", "w", "c"], {}, {"w": f(3, 2), "c": f(2, 1, 1)}, [2, 3], 17),
        ("Clip", ["x"], {"min": 0.0}, {}, [1, 3], 10),
        ("Slice", ["x", "s", "e", "a"], {}, {"s": i(0, 1), "e": i(2, 2), "a": i(1, -1)}, [1, 3], 17),
        ("Max", ["x", "x", "x"], {}, {}, [1, 3], 17),
        ("AveragePool", ["x"], {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1]}, {}, [1, 1, 3, 3], 17),
        ("AveragePool", ["x"], {"kernel_shape": [2, 2], "ceil_mode": 1}, {}, [1, 1, 3, 3], 17),
        ("Conv", ["x", "w"], {"auto_pad": "SAME_UPPER"}, {"w": f(1, 1, 2, 2)}, [1, 1, 3, 3], 17),
        ("Conv", ["x", "w"], {}, {"w": f(1, 1, 2, 2)}, [2, 1, 3, 3], 17),
        ("ConvTranspose", ["x", "w"], {"output_padding": [1, 1]}, {"w": f(1, 1, 2, 2)}, [1, 1, 3, 3], 17),
        ("ConvTranspose", ["x", "w"], {"output_shape": [8, 8]}, {"w": f(1, 1, 2, 2)}, [1, 1, 3, 3], 17),
        ("ConvTranspose", ["x", "w"], {"pads": [2, 2, 2, 2]}, {"w": f(1, 1, 2, 2)}, [1, 1, 3, 3], 17),
        ("ConvTranspose", ["x", "w"], {"group": 0}, {"w": f(1, 1, 2, 2)}, [1, 1, 3, 3], 17),
        ("Div", ["x", "c"], {}, {"c": np.zeros(3, np.float32)}, [1, 3], 17),
        ("Mul", ["c", "c"], {}, {"c": f(3)}, [1, 3], 17),
        ("Div", ["c", "c"], {}, {"c": i(3)}, [1, 3], 17),
        ("Pow", ["x", "c"], {}, {"c": np.float32(0.5)}, [1, 3], 17),
        ("Pow", ["x", "c"], {}, {"c": np.float32(1e9)}, [1, 3], 17),
        ("Pow", ["x", "c"], {}, {"c": np.float32([2, 3, 2])}, [1, 3], 17),
        ("Pow", ["c", "x"], {}, {"c": np.float32(2)}, [1, 3], 17),
        ("MatMul", ["x", "x"], {}, {}, [1, 3], 17),
        ("MatMul", ["x", "x"], {}, {}, [3], 17),
        ("Softmax", ["x"], {"axis": 0}, {}, [1, 3], 17),
        ("Softmax", ["x"], {}, {}, [3], 9),
        ("Softmax", ["x"], {"axis": 1}, {}, [1, 3, 2], 9),
        ("ReduceSum", ["x", "a"], {}, {"a": i(2)}, [1, 3], 17),
        ("ReduceSum", ["x", "a"], {}, {"a": i(1, -1)}, [1, 3], 17),
        ("ReduceSum", ["x", "a"], {}, {"a": np.zeros(0, np.int64)}, [1, 3], 17),
        ("ReduceSum", ["x"], {"noop_with_empty_axes": 1}, {}, [1, 3], 17),
        ("Upsample", ["x", "s"], {}, {"s": np.float32([1, 1.5])}, [1, 4], 9),
        ("Upsample", ["x", "s"], {}, {"s": np.float32([1, 0.5])}, [1, 4], 9),
        ("Upsample", ["x", "s"], {}, {"s": np.float32([2])}, [1, 4], 9),
        ("Upsample", ["x", "s"], {"mode": "linear"}, {"s": np.float32([1, 2])}, [1, 4], 9),
        ("Upsample", ["x"], {"scales": [1.0, 2.0]}, {}, [1, 4], 7),
        ("Resize", ["x", "", "s"], {"nearest_mode": "ceil"}, {"s": np.float32([1, 2])}, [1, 4], 13),
        ("Resize", ["x", "", "s"], {"mode": "cubic"}, {"s": np.float32([1, 2])}, [1, 4], 13),
        ("Resize", ["x", "", "", "s"], {}, {"s": i(1, 6)}, [1, 4], 13),
        ("Expand", ["x", "s"], {}, {"s": i(2)}, [1, 3], 17),
        ("Where", ["b", "x", "x"], {}, {"b": np.array([True])}, [1, 3], 17),
        ("Equal", ["x", "x"], {}, {}, [1, 3], 17),
        ("LeakyRelu", ["x"], {"alpha": 2.0}, {}, [1, 3], 17),
        ("Pad", ["x", "p"], {"mode": "reflect"}, {"p": i(0, 1, 0, 1)}, [1, 3], 17),
        ("MaxPool", ["x"], {"kernel_shape": [2], "auto_pad": "VALID", "pads": [0, 1]}, {}, [1, 1, 3], 17),
        ("Add", ["x", "c"], {}, {"c": i(1, 2, 3)}, [1, 3], 17),
        ("Gather", ["x", "c"], {"axis": 1}, {"c": np.array([True])}, [1, 3], 17),
        ("Relu", ["x", "x"], {}, {}, [1, 3], 17),
        ("Squeeze", ["x", "a"], {}, {"a": np.zeros(0, np.int64)}, [1, 3], 17),
        ("Slice", ["x", "s", "s"], {}, {"s": i(0)}, [1, 3], 17),  # an empty value
        ("Conv", ["x", "w"], {"group": 0}, {"w": f(1, 1, 2, 2)}, [1, 1, 3, 3], 17),
        ("LeakyRelu", ["x"], {"alpha": 0}, {}, [1, 3], 17),  # no float
        ("MaxPool", ["x"], {"kernel_shape": [2], "strides": [1.0]}, {}, [1, 1, 3], 17),
        ("Concat", ["x", "x"], {}, {}, [1, 3], 17),
        ("Dropout", ["x", "r", "t"], {}, {"r": np.float32(0.5), "t": np.array(True)}, [1, 3], 17),
    ],
)
def test_meanings_that_are_not_supported_are_refused(
    op: str,
    inputs: list[str],
    attributes: dict[str, object],
    constants: dict[str, Array],
    shape: list[int | str],
    opset: int,
) -> None:
    node = helper.make_node(op, inputs, ["y"], **attributes)
    with pytest.raises(Refused, match=op):
        read_network(onnx_bytes([node], constants, shape, opset=opset), Floats())


@pytest.mark.parametrize("name", HUGE)
def test_small_files_of_huge_networks(name: str) -> None:
    (op, inputs, attributes), constants, shape = HUGE[name]
    data = onnx_bytes([helper.make_node(op, inputs, ["y"], **attributes)], constants, shape)
    with pytest.raises(Refused):
        read_network(data, Floats())


def test_a_constant_that_is_doubled_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "MOST", 2**16)
    names = ["c", *(f"c{k}" for k in range(60))]
    nodes = [helper.make_node("Concat", [a, a], [b], axis=0) for a, b in itertools.pairwise(names)]
    with pytest.raises(Refused, match="elements"):
        read_network(
            onnx_bytes([*nodes, helper.make_node("Add", ["x", "c59"], ["y"])], {"c": f(4)}, [4]), Floats()
        )


def test_a_value_that_is_moved_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a few kilobytes do not keep the reader busy for hours."""
    monkeypatch.setattr(network, "MOST", 2**16)
    names = ["x", *(f"v{k}" for k in range(1000)), "y"]
    nodes = [helper.make_node("Transpose", [a], [b]) for a, b in itertools.pairwise(names)]
    with pytest.raises(Refused, match="elements"):
        read_network(onnx_bytes(nodes, {}, [2**5, 2**4]), Floats())


@pytest.mark.parametrize("op", ["Reshape", "MatMul"])
def test_a_constant_that_is_used_again_and_again(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a few kilobytes do not fill the memory: not by copies of what they made of one number."""
    monkeypatch.setattr(network, "MOST", 2**16)
    made = [helper.make_node("Expand", ["c", "s"], ["w"])]
    for k in range(60):
        inputs = ["w", "s"] if op == "Reshape" else [f"v{k - 1}" if k else "x", "w"]
        made.append(helper.make_node(op, inputs, [f"v{k}"]))
    last = helper.make_node("Neg", ["x"], ["y"])
    with pytest.raises(Refused, match="elements"):
        read_network(onnx_bytes([*made, last], {"c": f(1), "s": i(2**7, 2**7)}, [1, 2**7]), Floats())


def test_stored_constants_have_room_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "MOST", 2**9)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    assert read_network(onnx_bytes([node], {"w": f(2**7, 2**7)}, [1, 2**7]), Floats()).inputs == 2**7


def test_whole_numbers_do_not_overflow() -> None:
    """2^16 times 2^16 is zero in 32 bits, and then the scale another one."""
    nodes = [
        helper.make_node("Mul", ["a", "a"], ["p"]),
        helper.make_node("Equal", ["p", "z"], ["e"]),
        helper.make_node("Where", ["e", "v", "w"], ["c"]),
        helper.make_node("Mul", ["x", "c"], ["y"]),
    ]
    constants = {"a": np.int32([2**16]), "z": np.int32([0]), "v": f(1), "w": f(1)}
    with pytest.raises(Refused, match="32 bits"):
        read_network(onnx_bytes(nodes, constants, [1]), Floats())


@pytest.mark.parametrize("op", ["ReduceMean", "GlobalAveragePool"])
def test_a_mean_whose_sum_overflows_has_no_bound(op: str) -> None:
    data = onnx_bytes([helper.make_node(op, ["x"], ["y"])], {}, [1, 1, 32, 32])
    x = np.full(2**10, 2.0**119)
    assert by_onnxruntime(data, x[None]).item() == np.inf
    part = Part(x, x, (Clause(np.array([[-1.0]]), np.array([2.0**120])),))
    assert Checker(data, "real").bounds(part, leaf(part)).item() > 0
    assert not Checker(data, "deployed").bounds(part, leaf(part)).item() > 0


# What makes a file another one for readers that mind wire types (field * 8 + type), and how they see it.
WIRES: dict[str, tuple[bytes, bytes]] = {
    "a float as an integer": (b"\x15\x00\x00\x80\x3e", b"\x10\x80\x80\x80\xf4\x03"),  # alpha is not there
    "sizes of eight bytes": (b"\x08\x04", b"\x09" + (4).to_bytes(8, "little")),  # of a scalar
}


@pytest.mark.parametrize("name", WIRES)
def test_fields_of_another_wire_type_do_not_count(name: str) -> None:
    one, other = WIRES[name]
    if name.startswith("a float"):
        node = helper.make_node("LeakyRelu", ["x"], ["y"], alpha=0.25).attribute[0].SerializeToString()
        assert one in node
        read = _ATTRIBUTES[1](Message(node.replace(one, other)))
        assert read == onnx.AttributeProto.FromString(node.replace(one, other)).f == 0
    else:
        tensor = numpy_helper.from_array(f(4), "c").SerializeToString()
        assert tensor.startswith(one)
        changed = tensor.replace(one, other, 1)
        assert list(onnx.TensorProto.FromString(changed).dims) == []
        with pytest.raises(Refused, match="4 values, not 1"):
            read_tensor(Message(changed))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.int32_data.extend([0]),  # four values and a fifth
        lambda t: t.ClearField("int32_data"),
        lambda t: setattr(t, "data_location", TensorProto.EXTERNAL),
        lambda t: t.segment.SetInParent(),
        lambda t: setattr(t, "data_type", TensorProto.UINT8),
        lambda t: t.dims.__setitem__(0, -4),
    ],
)
def test_tensors_that_are_none(change: Callable[[onnx.TensorProto], None]) -> None:
    tensor = helper.make_tensor("c", TensorProto.INT32, [4], [1, -2, 3, 4])
    read = read_tensor(Message(tensor.SerializeToString()))
    np.testing.assert_array_equal(read, [1, -2, 3, 4])
    change(tensor)
    with pytest.raises(Refused):
        read_tensor(Message(tensor.SerializeToString()))


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32, np.int64, np.bool_])
def test_tensors_in_both_ways_of_storing(kind: type) -> None:
    values: Array = (RNG.normal(size=(2, 3)) * 2).astype(kind)
    typed = helper.make_tensor("c", helper.np_dtype_to_tensor_dtype(values.dtype), (2, 3), values.ravel())
    for tensor in (typed, numpy_helper.from_array(values, "c")):
        read = read_tensor(Message(tensor.SerializeToString()))
        np.testing.assert_array_equal(read, values)
        assert read.dtype == (np.int64 if np.issubdtype(kind, np.integer) else kind)


def test_whole_numbers_that_do_not_fit_are_not_read_as_others() -> None:
    tensor = helper.make_tensor("c", TensorProto.INT32, [1], [3]).SerializeToString()
    packed = b"\x2a\x01\x03"
    assert packed in tensor
    with pytest.raises((Refused, OverflowError)):
        read_tensor(Message(tensor.replace(packed, b"\x2a\x05\x83\x80\x80\x80\x10")))


@pytest.mark.parametrize("value", [1e-310, 1e-160, 1e160, np.inf])
def test_float64_numbers_beyond_what_error_accounts_cover(value: float) -> None:
    with pytest.raises(Refused, match="float64"):
        read_network(changed(_weight(np.full((3, 2), value))), Floats())


def test_the_page_names_every_operator() -> None:
    page = (Path(proof.__file__).parent / "PROOF.md").read_text()
    for name in [*OPERATORS, *MOVES, *MORE]:
        assert re.search(rf"\b{name}\b", page, re.IGNORECASE), name


def test_no_other_package_is_loaded() -> None:
    wanted = "{'torch', 'onnx', 'scipy', 'bounds.api'}"
    code = f"import sys, bounds.proof.__main__; print({wanted} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_truncated_and_damaged_networks() -> None:
    data = model_of("residual")
    rng = np.random.default_rng(4)
    for length in range(0, len(data) - 1):
        with pytest.raises(Refused):
            read_network(data[:length], Floats())
    for _ in range(2000):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] = rng.integers(256)
        try:
            read_network(bytes(damaged), Floats())
        except Refused:
            continue


def test_two_graphs_in_a_file_are_refused() -> None:
    """Some readers take the last, some merge them."""
    with pytest.raises(Refused, match="more than once"):
        read_network(model_of("gemm") + model_of("gemm"), Floats())


@pytest.mark.parametrize(
    "file",
    [
        "acasxu/onnx/ACASXU_run2a_1_1_batch_2000.onnx.gz",
        "collins_rul_cnn/onnx/NN_rul_small_window_20.onnx.gz",
        "test/onnx/test_tiny.onnx.gz",
        "tllverifybench/onnx/tllBench_n=2_N=M=8_m=1_instance_0_0.onnx.gz",
        "rl_benchmarks/onnx/lunarlander.onnx.gz",
        "reach_prob_density/onnx/vdp.onnx.gz",
        "safenlp/onnx/medical_perturbations_0.onnx.gz",
        "verivital/onnx/Convnet_maxpool.onnx.gz",
        "linearizenn/onnx/AllInOne_10_10.onnx.gz",
        "dist_shift/onnx/mnist_concat.onnx.gz",
    ],
)
def test_networks_of_the_field(file: str, data_dir: Path) -> None:
    data = model_bytes(data_dir / "vnncomp" / file)
    net = read_network(data, Floats())
    x = np.random.default_rng(5).random((3, net.inputs)).astype(np.float32)
    expected = by_onnxruntime(data, x)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        computed(net, x.astype(np.float64), Floats()), expected, rtol=1e-4, atol=1e-4 * scale
    )
