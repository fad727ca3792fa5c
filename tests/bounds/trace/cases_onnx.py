"""Single nodes for every ONNX importer; the conformance test walks this table."""

from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto, helper

Input = str | np.ndarray | None


@dataclass(frozen=True, eq=False)
class Case:
    """One node. Its inputs are "x", "r" = Relu(x), "p" = Exp(x), conditions
    "b" (x > 0) and "d" (x < 0), constants or None where left out.

    shape: of x, with the batch. outputs: how many it has; the last one is compared, behind ``after``.
    result: its shape where it cannot be inferred.
    """

    shape: tuple[int, ...]
    inputs: tuple[Input, ...]
    attributes: dict[str, object] = field(default_factory=dict)
    opset: int = 17
    outputs: int = 1
    after: tuple[NodeProto, ...] = ()
    result: tuple[int, ...] | None = None


IMAGE, LINE, VECTOR, SOLID = (1, 4, 6, 5), (1, 4, 7), (1, 6), (1, 2, 4, 5, 3)


def _draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def _ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def _number(value: float) -> np.ndarray:
    return np.array(value, dtype=np.float32)


def _floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def _positive(*shape: int) -> np.ndarray:
    return np.abs(_draw(*shape)) + np.float32(0.1)


def _norm(n: int) -> tuple[Input, ...]:
    return ("x", _draw(n), _draw(n), _draw(n), _positive(n))


_RESHAPE_BY_SHAPE = (
    helper.make_node("Constant", [], ["zero"], value_int=0),
    helper.make_node("Gather", ["y", "zero"], ["batch"]),
    helper.make_node("Constant", [], ["axes"], value_ints=[0]),
    helper.make_node("Unsqueeze", ["batch", "axes"], ["first"]),
    helper.make_node("Constant", [], ["rest"], value_ints=[-1]),
    helper.make_node("Concat", ["first", "rest"], ["target"], axis=0),
    helper.make_node("Reshape", ["x", "target"], ["z"]),
)
_RESHAPE_BY_END = (
    helper.make_node("Constant", [], ["one"], value_ints=[1, 5]),
    helper.make_node("Concat", ["one", "y"], ["target"], axis=0),
    helper.make_node("Transpose", ["x"], ["moved"], perm=[0, 3, 1, 2]),
    helper.make_node("Reshape", ["moved", "target"], ["z"]),
)

_AS_NUMBER = [helper.make_node("Cast", ["y"], ["z"], to=1)]
_SCALE_BY_SIZE = (
    helper.make_node("Cast", ["y"], ["s"], to=1),
    helper.make_node("Mul", ["x", "s"], ["z"]),
)

CASES: dict[str, list[Case]] = {
    "Add": [
        Case(IMAGE, ("x", "r")),
        Case((1, 4, 1), ("x", _draw(7))),
        Case((1, 4, 1), (_draw(1, 3, 1, 2), "x")),
        Case(IMAGE, (_draw(4, 1, 1), "x")),
        Case(VECTOR, ("x", _draw(1, 6))),
        Case(VECTOR, ("x", _number(2))),
    ],
    "Sub": [Case(IMAGE, ("x", "r")), Case(VECTOR, (_draw(6), "x")), Case(VECTOR, ("x", _draw(1)))],
    "Mul": [Case(IMAGE, ("x", _draw(1, 4, 1, 1))), Case(VECTOR, (_draw(6), "x"))],
    "Div": [Case(IMAGE, ("x", _positive(4, 1, 1))), Case(VECTOR, ("x", _number(0.3)))],
    "Where": [
        Case(LINE, (_draw(4, 7) > 0, "x", "r")),
        Case(LINE, (_draw(7) > 0, "x", _number(0.5))),
        Case(LINE, (_draw(1, 4, 1) > 0, _draw(7), "x")),
        Case((1, 4, 1), (_draw(4, 7) > 0, "x", _number(2))),
    ],
    **{
        name: [
            Case(VECTOR, ("x", "r"), after=_AS_NUMBER),
            Case(VECTOR, ("x", _number(0.2)), after=_AS_NUMBER),
        ]
        for name in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")
    },
    "Not": [Case(VECTOR, ("b",), after=_AS_NUMBER)],
    "And": [Case(VECTOR, ("b", "d"), after=_AS_NUMBER)],
    "Or": [Case(VECTOR, ("b", "d"), after=_AS_NUMBER)],
    "Neg": [Case(VECTOR, ("x",))],
    "MatMul": [
        Case(VECTOR, ("x", _draw(6, 3))),
        Case(LINE, ("x", _draw(7, 2))),
        Case(LINE, (_draw(3, 4), "x")),
        Case(IMAGE, ("x", _draw(4, 5, 2))),
        Case(IMAGE, ("x", _draw(1, 4, 5, 2))),
        Case(IMAGE, (_draw(3, 6), "x")),
        Case(IMAGE, (_draw(4, 3, 6), "x")),
        Case(LINE, ("x", _draw(1, 3, 7, 2))),
        Case(LINE, ("x", _draw(7))),
        Case(LINE, (_draw(4), "x")),
        Case((5,), ("x", _draw(5, 3))),
        Case((5,), (_draw(3, 5), "x")),
    ],
    "Gemm": [
        Case(VECTOR, ("x", _draw(6, 3), _draw(3))),
        Case(VECTOR, ("x", _draw(3, 6), _draw(1, 3)), {"transB": 1}),
        Case(VECTOR, ("x", _draw(3, 6)), {"transB": 1}),
        Case(VECTOR, ("x", _draw(3, 6), _number(0.3)), {"transB": 1}),
        Case(VECTOR, ("x", _draw(3, 6), _draw(3)), {"transB": 1, "alpha": 0.3, "beta": -1.7}),
        Case(VECTOR, ("x", _draw(3, 6), _draw(3)), {"transB": 1, "alpha": -1.0, "beta": 0.0}),
        Case(VECTOR, ("x", _draw(6, 6), "x"), {"alpha": 0.5, "beta": 2.0}),
    ],
    "Conv": [
        Case(IMAGE, ("x", _draw(3, 4, 3, 2), _draw(3))),
        Case(IMAGE, ("x", _draw(6, 2, 3, 3)), {"group": 2, "pads": [1, 0, 2, 1], "strides": [2, 1]}),
        Case(IMAGE, ("x", _draw(3, 4, 2, 2)), {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
        Case(IMAGE, ("x", _draw(3, 4, 2, 3)), {"auto_pad": "SAME_LOWER", "strides": [3, 1]}),
        Case(IMAGE, ("x", _draw(3, 4, 2, 3)), {"auto_pad": "VALID"}),
        Case(LINE, ("x", _draw(3, 4, 3), _draw(3)), {"pads": [2, 0]}),
        Case(SOLID, ("x", _draw(4, 1, 2, 3, 2), _draw(4)), {"group": 2, "pads": [1, 0, 1, 0, 2, 1]}),
    ],
    "ConvTranspose": [
        Case(IMAGE, ("x", _draw(4, 3, 3, 2), _draw(3))),
        Case(IMAGE, ("x", _draw(4, 3, 3, 4)), {"strides": [2, 3], "pads": [1, 2, 1, 2]}),
        Case(IMAGE, ("x", _draw(4, 3, 3, 3), _draw(3)), {"strides": [2, 2], "pads": [0, 1, 2, 0]}),
        Case(
            IMAGE,
            ("x", _draw(4, 1, 3, 3), _draw(2)),
            {"group": 2, "strides": [2, 2], "output_padding": [1, 1], "pads": [1, 1, 1, 1]},
        ),
        Case(
            IMAGE,
            ("x", _draw(4, 2, 2, 3), _draw(2)),
            {"strides": [3, 2], "output_padding": [2, 1], "dilations": [2, 1]},
        ),
        Case(IMAGE, ("x", _draw(4, 2, 3, 3), _draw(2)), {"strides": [2, 2], "output_shape": [12, 10]}),
        Case(IMAGE, ("x", _draw(4, 2, 2, 2), _draw(2)), {"strides": [3, 2], "output_shape": [18, 11]}),
        Case(IMAGE, ("x", _draw(4, 2, 4, 3)), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        Case(IMAGE, ("x", _draw(4, 2, 4, 3)), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
        Case(LINE, ("x", _draw(4, 3, 3), _draw(3)), {"strides": [2], "pads": [0, 1]}),
        Case(SOLID, ("x", _draw(2, 2, 2, 3, 2), _draw(2)), {"strides": [1, 2, 1]}),
    ],
    "Einsum": [
        Case(LINE, ("x", _draw(7, 3)), {"equation": "bij,jk->bik"}),
        Case(LINE, (_draw(3, 7), "x"), {"equation": "kj, b i j -> b k i"}),
        Case(LINE, ("x", _draw(3, 7)), {"equation": "...j,kj->...k"}),
        Case(IMAGE, ("x",), {"equation": "bchw->bhw"}),
    ],
    "CumSum": [
        Case(LINE, ("x", np.array(1, dtype=np.int64))),
        Case(LINE, ("x", np.array(-1, dtype=np.int64)), {"exclusive": 1}),
        Case(LINE, ("x", np.array(2, dtype=np.int64)), {"exclusive": 1, "reverse": 1}),
        Case(IMAGE, ("x", np.array(1, dtype=np.int64)), {"reverse": 1}),
    ],
    "Expand": [
        Case((1, 4, 1), ("x", _ints(4, 7))),
        Case((1, 4, 1), ("x", _ints(1, 1, 3))),
        Case((1, 1, 6), ("x", _ints(1, 3, 1))),
    ],
    "Tile": [Case(LINE, ("x", _ints(1, 2, 3))), Case(VECTOR, ("x", _ints(1, 3)))],
    "Trilu": [
        Case(LINE, ("x",)),
        Case(LINE, ("x", np.array(1, dtype=np.int64)), {"upper": 0}),
    ],
    "GatherElements": [
        Case(LINE, ("x", _ints(*range(14)).reshape(1, 2, 7) % 4), {"axis": 1}),
        Case(LINE, ("x", -1 - _ints(*range(12)).reshape(1, 4, 3) % 7), {"axis": -1}),
    ],
    "GatherND": [
        Case(LINE, ("x", _ints(3, 0, 0, 3).reshape(1, 4, 1)), {"batch_dims": 1}),
        Case(LINE, ("x", _ints(3, 0, 1, 6).reshape(1, 2, 2)), {"batch_dims": 1}),
        Case(LINE, ("x", _ints(0, 3, 0, -1).reshape(1, 2, 2))),
    ],
    "ScatterElements": [
        Case(LINE, ("x", _ints(0, 3, 5).reshape(1, 1, 3), _draw(1, 1, 3)), {"axis": 2}),
        Case(VECTOR, ("x", _ints(-1, 0).reshape(1, 2), _draw(1, 2)), {"axis": 1}, opset=18),
    ],
    "ScatterND": [
        Case(LINE, ("x", _ints(0, 1, 0, 3).reshape(1, 2, 2), _draw(1, 2, 7))),
        Case(LINE, (_draw(1, 5, 7), _ints(0, 1, 0, 4, 0, 0, 0, -2).reshape(1, 4, 2), "x")),
    ],
    "Sum": [Case(LINE, ("x", "r", "x")), Case(LINE, (_draw(1, 4, 1), _draw(7), "x")), Case(VECTOR, ("x",))],
    "Mean": [Case(LINE, ("x", _draw(1, 4, 7), "r"))],
    "CastLike": [Case(VECTOR, ("x", _draw(1)), opset=19), Case(VECTOR, ("x", "r"), opset=19)],
    "Compress": [Case(LINE, ("x", np.array([True, False, True])), {"axis": 2})],
    "DepthToSpace": [
        Case((1, 8, 2, 3), ("x",), {"blocksize": 2}),
        Case((1, 8, 2, 3), ("x",), {"blocksize": 2, "mode": "CRD"}),
    ],
    "SpaceToDepth": [Case((1, 2, 4, 6), ("x",), {"blocksize": 2})],
    "Size": [Case(LINE, ("x",), after=_SCALE_BY_SIZE)],
    "Upsample": [
        Case(IMAGE, ("x", _floats(1, 1, 2, 3)), opset=9),
        Case(IMAGE, ("x",), {"scales": [1.0, 1.0, 2.0, 2.0]}, opset=7),
        Case(IMAGE, ("x", _floats(1, 1, 2, 2)), {"mode": "linear"}, opset=9),
    ],
    "Resize": [
        Case(IMAGE, ("x", _floats(1, 1, 2, 1.5)), opset=10),
        Case(IMAGE, ("x", None, _floats(1, 1, 2, 2)), {"coordinate_transformation_mode": "asymmetric"}),
        *(
            Case(
                IMAGE,
                ("x", None, None, _ints(1, 4, *size)),
                {"coordinate_transformation_mode": where, "nearest_mode": nearest},
            )
            for size in ((9, 7), (4, 3), (12, 1))
            for where in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
            for nearest in ("round_prefer_floor", "floor")
        ),
        *(
            Case(
                IMAGE,
                ("x", None, None, _ints(1, 4, *size)),
                {"coordinate_transformation_mode": where, "mode": mode},
            )
            for size in ((9, 7), (4, 3), (12, 1))
            for where in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
            for mode in ("linear", "cubic")
        ),
        Case(
            LINE,
            ("x", None, _floats(1, 1, 1.7)),
            {"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"},
            opset=19,
        ),
        Case(IMAGE, ("x", None, _floats(2, 2)), {"axes": [2, 3], "nearest_mode": "ceil"}, opset=18),
        Case(IMAGE, ("x", None, _floats(1, 1, 1.6, 0.7)), {"nearest_mode": "round_prefer_ceil"}, opset=13),
        Case(SOLID, ("x", None, _floats(1, 1, 2, 2, 2)), {"mode": "linear"}),
    ],
    "BatchNormalization": [
        Case(IMAGE, _norm(4)),
        Case(IMAGE, _norm(4), {"epsilon": 0.1}, opset=9),
        Case(VECTOR, _norm(6), opset=14),
    ],
    "Relu": [Case(IMAGE, ("x",))],
    "LeakyRelu": [Case(VECTOR, ("x",)), Case(VECTOR, ("x",), {"alpha": 0.3})],
    **{
        name: [Case(VECTOR, ("x",))]
        for name in (
            *(
                "Abs",
                "Asinh",
                "Atan",
                "Ceil",
                "Cos",
                "Cosh",
                "Erf",
                "Exp",
                "Floor",
                "HardSwish",
                "Reciprocal",
            ),
            *("Reciprocal", "Round", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Tan"),
        )
    },
    "Mish": [Case(VECTOR, ("x",), opset=18)],
    "Gelu": [Case(VECTOR, ("x",), opset=20), Case(VECTOR, ("x",), {"approximate": "tanh"}, opset=20)],
    "Sqrt": [Case(VECTOR, ("r",))],
    "Log": [Case(VECTOR, ("p",))],
    "Pow": [
        Case(VECTOR, ("x", _number(2))),
        Case(VECTOR, ("x", _ints(3))),
        Case(VECTOR, ("r", _number(0.5))),
        Case(VECTOR, ("p", _number(-1.5))),
        Case(VECTOR, ("x", np.full((1, 6), 2, dtype=np.float32))),
        Case(VECTOR, (_number(1.7), "x")),
    ],
    "Elu": [Case(VECTOR, ("x",)), Case(VECTOR, ("x",), {"alpha": 2.5})],
    "Celu": [Case(VECTOR, ("x",)), Case(VECTOR, ("x",), {"alpha": 0.7})],
    "Selu": [Case(VECTOR, ("x",)), Case(VECTOR, ("x",), {"alpha": 2.0, "gamma": 0.7})],
    "ThresholdedRelu": [Case(VECTOR, ("x",), {"alpha": 0.3}), Case(VECTOR, ("x",))],
    "Shrink": [Case(VECTOR, ("x",), {"lambd": 0.3, "bias": 0.2}), Case(VECTOR, ("x",))],
    "HardSigmoid": [Case(VECTOR, ("x",)), Case(VECTOR, ("x",), {"alpha": 0.7, "beta": 0.2})],
    "PRelu": [
        Case(IMAGE, ("x", _draw(4, 1, 1))),
        Case(VECTOR, ("x", _draw(6))),
        Case(VECTOR, ("x", _number(0.3))),
        Case(VECTOR, ("x", _draw(1, 6))),
    ],
    "Tanh": [Case(VECTOR, ("x",))],
    "Clip": [
        Case(VECTOR, ("x",), {"min": -0.3, "max": 0.5}, opset=9),
        Case(VECTOR, ("x", _number(-0.3), _number(0.5))),
        Case(VECTOR, ("x", None, _number(0.5))),
        Case(VECTOR, ("x", _number(-0.3))),
        Case(VECTOR, ("x",)),
    ],
    "Identity": [Case(VECTOR, ("x",))],
    "Dropout": [
        Case(VECTOR, ("x",), {"ratio": 0.3}, opset=9),
        Case(VECTOR, ("x", _number(0.3), np.array(False))),
    ],
    "Cast": [Case(VECTOR, ("x",), {"to": 1})],
    "Shape": [
        Case(IMAGE, ("x",), after=_RESHAPE_BY_SHAPE),
        Case(IMAGE, ("x",), {"start": 1, "end": -1}, after=_RESHAPE_BY_END),
    ],
    "Reshape": [
        Case(IMAGE, ("x", _ints(1, -1))),
        Case(IMAGE, ("x", _ints(-1, 8, 15))),
        Case(IMAGE, ("x", _ints(0, -1, 0))),
        Case(VECTOR, ("x", _ints(0, 2, 3))),
        Case((6,), ("x", _ints(2, 3))),
    ],
    "Flatten": [Case(IMAGE, ("x",)), Case(IMAGE, ("x",), {"axis": 0}), Case(VECTOR, ("x",), {"axis": -1})],
    "Squeeze": [
        Case((1, 3, 1, 1), ("x", _ints(2, -1))),
        Case((1, 3, 1, 2), ("x",), {"axes": [2]}, opset=11),
    ],
    "Unsqueeze": [
        Case(VECTOR, ("x", _ints(1, -1))),
        Case(VECTOR, ("x",), {"axes": [2]}, opset=11),
        Case((6,), ("x", _ints(0))),
    ],
    "Transpose": [
        Case(IMAGE, ("x",), {"perm": [0, 2, 3, 1]}),
        Case(IMAGE, ("x",), {"perm": [0, 3, 1, 2]}),
    ],
    "Concat": [
        Case(IMAGE, ("x", "r", "x"), {"axis": 1}),
        Case(IMAGE, ("r", "x"), {"axis": -1}),
        Case(VECTOR, (_draw(1, 2), "x", _draw(1, 1), _draw(1, 3), "r", _draw(1, 2)), {"axis": 1}),
        Case((1, 2, 3), ("x", _draw(1, 1, 3)), {"axis": 1}),
        Case((3,), ("x", _draw(2), "r"), {"axis": 0}),
    ],
    "Slice": [
        Case(IMAGE, ("x",), {"starts": [1, -2], "ends": [3, 100], "axes": [1, 3]}, opset=9),
        Case(IMAGE, ("x", _ints(0, 1), _ints(1, 6), _ints(0, 2), _ints(1, 2))),
        Case(IMAGE, ("x", _ints(-1), _ints(-(2**63)), _ints(2), _ints(-2))),
        Case(VECTOR, ("x", _ints(0, 1), _ints(2**31, 4))),
    ],
    "Gather": [
        Case(IMAGE, ("x", _ints(2, 0, 3)), {"axis": 1}),
        Case(IMAGE, ("x", _ints(1, 2)), {"axis": -1}),
        Case(IMAGE, ("x", np.array(-1)), {"axis": 2}),
        Case(VECTOR, ("x", _ints(5, 4, 1, 0).reshape(2, 2)), {"axis": 1}),
        Case(LINE, ("x", _ints(1, 1, 3, 1)), {"axis": 1}),
    ],
    "Split": [
        Case(VECTOR, ("x",), {"axis": 1, "split": [2, 1, 3]}, opset=11, outputs=3),
        Case(VECTOR, ("x", _ints(4, 2)), {"axis": -1}, outputs=2),
        Case(VECTOR, ("x",), {"axis": 1}, opset=11, outputs=3),
        Case(LINE, ("x",), {"axis": 2, "num_outputs": 2}, opset=18, outputs=2),
    ],
    "Pad": [
        Case(IMAGE, ("x",), {"pads": [0, 0, 1, 2, 0, 0, 0, 1], "value": 0.5}, opset=9),
        Case(IMAGE, ("x", _ints(0, 1, 0, 2, 0, 0, 1, 0))),
        Case(IMAGE, ("x", _ints(0, 0, -1, 2, 0, 0, 1, -2), _number(-0.5))),
        Case(IMAGE, ("x", _ints(2, 1), _number(1), _ints(-2)), opset=18),
        Case(IMAGE, ("x", _ints(0, 0, 2, 1, 0, 0, 1, 3)), {"mode": "reflect"}),
        Case(IMAGE, ("x", _ints(0, 2, 0, 1, 0, 0, 3, 0)), {"mode": "edge"}),
        Case(LINE, ("x", _ints(0, 0, 2, 0, 1, 3)), {"mode": "wrap"}, opset=19),
        Case(IMAGE, ("x", _ints(0, 0, -1, 1, 0, 0, 2, 0)), {"mode": "edge"}),
    ],
    "AveragePool": [
        Case(IMAGE, ("x",), {"kernel_shape": [2, 3]}),
        Case(IMAGE, ("x",), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        Case(IMAGE, ("x",), {"kernel_shape": [3, 3], "pads": [1, 0, 2, 1], "count_include_pad": 1}),
        Case(IMAGE, ("x",), {"kernel_shape": [2, 2], "strides": [4, 3], "ceil_mode": 1}),
        Case(IMAGE, ("x",), {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1}),
        Case(IMAGE, ("x",), {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER"}),
        Case(LINE, ("x",), {"kernel_shape": [3], "strides": [2]}),
        Case(IMAGE, ("x",), {"kernel_shape": [2, 3], "auto_pad": "SAME_UPPER"}),
        Case(IMAGE, ("x",), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 2, 0]}),
        *(
            Case(
                IMAGE,
                ("x",),
                {
                    "kernel_shape": [3, 2],
                    "strides": [2, 3],
                    "pads": p,
                    "ceil_mode": 1,
                    "count_include_pad": c,
                },
                opset=19,
            )
            for p in ([1, 1, 1, 1], [1, 0, 0, 1])
            for c in (0, 1)
        ),
        Case(IMAGE, ("x",), {"kernel_shape": [2, 2], "dilations": [2, 3], "pads": [1, 1, 1, 1]}, opset=19),
        Case(SOLID, ("x",), {"kernel_shape": [2, 2, 2], "pads": [1, 0, 1, 1, 0, 1]}),
    ],
    "GlobalAveragePool": [Case(IMAGE, ("x",)), Case(LINE, ("x",))],
    "ReduceMean": [
        Case(IMAGE, ("x",), {"axes": [2, 3]}),
        Case(IMAGE, ("x",), {"axes": [-1], "keepdims": 0}),
        Case(IMAGE, ("x", _ints(1, 2)), {"keepdims": 0}, opset=18),
    ],
    "ReduceSum": [
        Case(IMAGE, ("x",), {"axes": [1], "keepdims": 0}, opset=11),
        Case(IMAGE, ("x", _ints(2, 3)), {"keepdims": 1}),
        Case(VECTOR, ("x",), {"noop_with_empty_axes": 1}),
    ],
}
