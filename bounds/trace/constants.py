"""ONNX nodes on constants alone, evaluated when a file is read."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx
from onnx import (
    AttributeProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    TypeProto,
    defs,
    helper,
    numpy_helper,
    shape_inference,
)
from onnx.reference import ReferenceEvaluator

from bounds.errors import Unsupported
from bounds.trace.onnxfile import first_line

MOST_ELEMENTS = 2**28  # of one value, for one sample: 1 GiB of float32
_ALLOWANCE = 2**22  # elements of constants that even the smallest file may compute
_SHAPE_LIKE = 64  # elements of constants whose values may decide a shape
# Their results have a size that depends on values and never many more elements than their inputs.
_SELECTING = frozenset(
    ("NonZero", "Compress", "Unique", "Reshape", "Squeeze", "Unsqueeze", "Slice", "TopK", "Split")
)
_RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)


@dataclass
class Folder:
    """Evaluates nodes by ONNX's reference implementation, up to a number of elements in all.

    A file of a few bytes can ask for any amount: a constant of a given shape, a tensor joined to itself over
    and over. The sizes of results are inferred before anything is computed.
    """

    opsets: list[OperatorSetIdProto]
    limit: int
    spent: int = 0

    @classmethod
    def of(cls, model: ModelProto) -> Folder:
        """With a limit of eight times what the model itself may hold, were it all float32."""
        return cls(list(model.opset_import), _ALLOWANCE + 2 * model.ByteSize())

    def evaluate(self, node: NodeProto, values: Mapping[str, np.ndarray], where: str) -> list[np.ndarray]:
        """One array per output. Raises ``Unsupported`` for what is random, too large or not computable."""
        if node.op_type in _RANDOM:
            raise Unsupported(f"operator {node.op_type} at {where} is random; a graph is a fixed function")
        if any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute):
            raise Unsupported(f"operator {node.op_type} at {where} is control flow; export it unrolled")
        self.spent += self._expected(node, values, where)
        if self.spent > self.limit:
            raise Unsupported(
                f"operator {node.op_type} at {where} makes a constant of too many elements; "
                f"the limit is {self.limit} for all constants of a file"
            )
        function = helper.make_function(
            "constant", "constant", list(values), list(node.output), [node], self.opsets
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                results = ReferenceEvaluator(function).run(None, dict(values), attributes={})
        # The evaluator raises whatever its numpy code raises; all of it means the same.
        except Exception as error:
            raise _failed(node, where, error) from error
        return [np.asarray(result) for result in results]

    def _expected(self, node: NodeProto, values: Mapping[str, np.ndarray], where: str) -> int:
        """Elements of the outputs, as shape inference tells, or a bound by those of the inputs."""
        domain = "" if node.domain == "ai.onnx" else node.domain
        tensors = {name: numpy_helper.from_array(v) for name, v in values.items() if v.size <= _SHAPE_LIKE}
        types = {
            name: helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for name, v in values.items()
        }
        try:
            version = max(o.version for o in self.opsets if o.domain in {domain, node.domain})
            schema = defs.get_schema(node.op_type, version, domain)
            found = shape_inference.infer_node_outputs(
                schema, node, types, tensors, opset_imports=self.opsets, ir_version=onnx.IR_VERSION
            )
        # Unknown operators and arguments that do not fit, in whatever way the inference puts it.
        except Exception as error:
            raise _failed(node, where, error) from error
        results = [t.tensor_type for t in found.values()]
        if results and all(_is_known(each) for each in results):
            return sum(prod(d.dim_value for d in each.shape.dim) for each in results)
        if node.op_type not in _SELECTING:
            raise Unsupported(
                f"operator {node.op_type} at {where} on constants has a result of unknown size; "
                "store the result as an initialiser"
            )
        return 8 * sum(value.size for value in values.values())


def _is_known(kind: TypeProto.Tensor) -> bool:
    return kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim)


def _failed(node: NodeProto, where: str, error: Exception) -> Unsupported:
    return Unsupported(
        f"operator {node.op_type} at {where} on constants cannot be evaluated: {first_line(error)}"
    )
