"""Small networks as ONNX files, and trees over them, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from bounds.proof import Clause, Part, Statement, digest
from bounds.proof.basics import Array
from bounds.proof.format import Tree

OPSET = 17


def onnx_bytes(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Array],
    shape: Sequence[int | str],
    output: str = "y",
    opset: int = OPSET,
    out_shape: Sequence[int | str] | None = None,
) -> bytes:
    """A model with the input "x" and one output, both float32."""
    ends = [
        helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape),
        helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, out_shape),
    ]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "net", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return model.SerializeToString()


def mlp(weights: Sequence[Array], biases: Sequence[Array], function: str = "Relu") -> bytes:
    """A perceptron: float32 weights (outputs, inputs), a function between layers."""
    nodes, constants, name = [], {}, "x"
    for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
        constants |= {f"w{k}": w.astype(np.float32), f"b{k}": b.astype(np.float32)}
        last = k == len(weights) - 1
        nodes.append(helper.make_node("Gemm", [name, f"w{k}", f"b{k}"], ["y" if last else f"z{k}"], transB=1))
        if not last:
            nodes.append(helper.make_node(function, [f"z{k}"], [f"a{k}"]))
        name = f"a{k}"
    return onnx_bytes(
        nodes, constants, ["batch", weights[0].shape[1]], out_shape=["batch", weights[-1].shape[0]]
    )


def two_shifts(m: float) -> bytes:
    """b = relu(relu(x + m) - m) for one scalar x."""
    nodes = [
        helper.make_node("Add", ["x", "m"], ["z"]),
        helper.make_node("Relu", ["z"], ["a"]),
        helper.make_node("Sub", ["a", "m"], ["c"]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    return onnx_bytes(nodes, {"m": np.array([m], np.float32)}, [1, 1])


def statement(
    data: bytes, low: Array, high: Array, rows: Array, offset: Array | None = None, level: str = "real"
) -> Statement:
    """Every row of its own is a clause, over one box."""
    offsets = np.zeros(len(rows)) if offset is None else offset
    clauses = tuple(Clause(rows[k : k + 1], offsets[k : k + 1]) for k in range(len(rows)))
    return Statement(digest(data), level, (Part(low, high, clauses),))


def leaf(part: Part, hidden: str = "root", clauses: Sequence[int] | None = None) -> Tree:
    """A tree without splits, with the checker's own slopes and equal weights."""
    which = list(range(len(part.clauses))) if clauses is None else list(clauses)
    alternatives = sum(len(part.clauses[c].rows) for c in which)
    return Tree(
        0,
        np.array(which, np.int32),
        hidden,
        np.ones((1, alternatives), np.float32),
        splits=np.array([False]),
        layer=np.zeros(0, np.int32),
        element=np.zeros(0, np.int32),
        at=np.zeros(0),
        multipliers=np.zeros((0, len(which)), np.float32),
        slopes=np.zeros((0, 0), np.uint8),
        chosen=np.zeros((1, len(which)), np.int32),
    )
