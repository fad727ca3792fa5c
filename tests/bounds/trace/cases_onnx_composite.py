"""Single nodes for the ONNX importers of products of branches and of composites; see ``cases_onnx``."""

import numpy as np
from onnx import helper

from .cases_onnx import IMAGE, LINE, SOLID, VECTOR, Case, _draw, _ints, _number


def _recurrent(gates: int, hidden: int, directions: int = 1) -> tuple[np.ndarray, ...]:
    """Weights of a layer of two inputs."""
    d, n = directions, gates * hidden
    return 0.5 * _draw(d, n, 2), 0.5 * _draw(d, n, hidden), 0.5 * _draw(d, 2 * n)


_SOFTMAX = (helper.make_node("Softmax", ["y"], ["z"], axis=2),)
_TWO_WAYS = {"hidden_size": 5, "direction": "bidirectional"}
_STATES = _draw(1, 1, 5), 2 * _draw(1, 1, 5)
_BATCH_FIRST = (helper.make_node("Transpose", ["y"], ["z"], perm=[2, 0, 1, 3]),)

CASES: dict[str, list[Case]] = {
    "Mul": [Case(IMAGE, ("x", "r")), Case(IMAGE, ("r", "x"))],
    "MatMul": [Case((1, 4, 4), ("x", "r")), Case((1, 2, 3, 3), ("x", "r"))],
    "Gemm": [Case((4, 7), ("x", "r", _draw(7)), {"transA": 1, "alpha": 0.5})],
    "Einsum": [Case(LINE, ("x", "r"), {"equation": "bij,bkj->bik"})],
    "Max": [
        Case(VECTOR, ("x", "r", _draw(6))),
        Case(LINE, ("x", _number(0.2))),
        Case(VECTOR, ("x",)),
        Case((1, 4, 1), (_draw(7), "x", _draw(4, 1))),
    ],
    "Min": [Case(VECTOR, ("x", "r")), Case(LINE, ("x", _draw(7), _number(0.2)))],
    "ReduceMax": [
        Case(IMAGE, ("x",), {"axes": [1, -1]}),
        Case(IMAGE, ("x", _ints(2)), {"keepdims": 0}, opset=18),
        Case(IMAGE, ("x",), {"noop_with_empty_axes": 1}, opset=18),
    ],
    "ReduceMin": [Case(LINE, ("x",), {"axes": [1], "keepdims": 0})],
    "GlobalMaxPool": [Case(IMAGE, ("x",)), Case(SOLID, ("x",))],
    "MaxPool": [
        Case(IMAGE, ("x",), {"kernel_shape": [2, 2], "strides": [2, 2]}),
        Case(IMAGE, ("x",), {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 2, 1]}),
        Case(IMAGE, ("x",), {"kernel_shape": [2, 2], "dilations": [2, 3]}),
        Case(IMAGE, ("x",), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
        Case(IMAGE, ("x",), {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        Case(LINE, ("x",), {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
        Case(SOLID, ("x",), {"kernel_shape": [2, 2, 2]}),
    ],
    "Softmax": [
        Case(IMAGE, ("x",)),
        Case(IMAGE, ("x",), {"axis": 1}),
        Case(IMAGE, ("x",), {"axis": 2}, opset=11),
        Case(LINE, ("x",), opset=11),
    ],
    "Add": [Case(LINE, ("x", np.where(_draw(7) > 0.5, -np.inf, 0.3).astype(np.float32)), after=_SOFTMAX)],
    "Where": [Case(LINE, (_draw(4, 7) > 0, "x", _number(-np.inf)), after=_SOFTMAX)],
    "LogSoftmax": [Case(VECTOR, ("x",)), Case(LINE, ("x",), {"axis": 1})],
    "ReduceLogSumExp": [
        Case(IMAGE, ("x",), {"axes": [1, -1]}),
        Case(LINE, ("x", _ints(2)), {"keepdims": 0}, opset=18),
    ],
    "LayerNormalization": [
        Case(LINE, ("x", _draw(7), _draw(7))),
        Case(IMAGE, ("x", _draw(6, 5)), {"axis": 2, "epsilon": 0.1}),
    ],
    "InstanceNormalization": [Case(IMAGE, ("x", _draw(4), _draw(4))), Case(LINE, ("x", _draw(4), _draw(4)))],
    "GroupNormalization": [
        Case(IMAGE, ("x", _draw(4), _draw(4)), {"num_groups": 2}, opset=21, result=IMAGE),
    ],
    "RMSNormalization": [Case(LINE, ("x", _draw(7)), opset=23)],
    "ReduceL2": [Case(IMAGE, ("x",), {"axes": [1, -1]}), Case(LINE, ("x",), {"axes": [2], "keepdims": 0})],
    "ReduceSumSquare": [Case(LINE, ("x",), {"axes": [1]})],
    "LpNormalization": [Case(LINE, ("x",), {"axis": 1})],
    "LSTM": [
        Case((3, 1, 2), ("x", *_recurrent(4, 5)), {"hidden_size": 5}, after=_BATCH_FIRST),
        Case((3, 1, 2), ("x", *_recurrent(4, 5, 2)), _TWO_WAYS, after=_BATCH_FIRST),
        Case((3, 1, 2), ("x", *_recurrent(4, 5, 2)), _TWO_WAYS, outputs=3),
        Case((3, 1, 2), ("x", *_recurrent(4, 5), None, *_STATES), {"hidden_size": 5}, outputs=2),
    ],
    "GRU": [
        Case((3, 1, 2), ("x", *_recurrent(3, 5)), {"hidden_size": 5}, outputs=2),
        Case((3, 1, 2), ("x", *_recurrent(3, 5)), {"hidden_size": 5, "linear_before_reset": 1}, outputs=2),
        Case((3, 1, 2), ("x", *_recurrent(3, 5)[:2]), {"hidden_size": 5, "direction": "reverse"}, outputs=2),
    ],
    "RNN": [
        Case(
            (3, 1, 2), ("x", *_recurrent(1, 5), np.array([3], dtype=np.int32)), {"hidden_size": 5}, outputs=2
        ),
        Case((3, 1, 2), ("x", *_recurrent(1, 5, 2)), {**_TWO_WAYS, "activations": ["Relu"] * 2}, outputs=2),
    ],
}
