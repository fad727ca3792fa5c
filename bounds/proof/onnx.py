"""ONNX files -> networks."""

from __future__ import annotations

from math import prod

from bounds.proof import protobuf
from bounds.proof.arithmetic import Floats
from bounds.proof.format import Array
from bounds.proof.moves import MOVES
from bounds.proof.network import Network, Reader, Value
from bounds.proof.operators import OPERATORS
from bounds.proof.refused import Refused

_OPSETS = range(7, 24)  # before them, broadcasting was an attribute


def read_network(data: bytes, a: Floats, deployed: bool = False) -> Network:
    """The network in an ONNX file's bytes; raises ``Refused`` for anything outside of what is known here.

    deployed: whether it must be one that executes in float32.
    """
    model = protobuf.model(data)
    if deployed and model.double:
        raise Refused("model", "its input is float64; level 'deployed' speaks of float32 executions")
    if model.opset not in _OPSETS:
        raise Refused("model", f"opset {model.opset} is not from {_OPSETS[0]} to {_OPSETS[-1]}")
    shape = (model.shape[0] or 1, *model.shape[1:]) if model.shape else ()
    if 0 in shape:
        raise Refused("model", f"its input has open sizes, {model.shape}; only the first may be open")
    values: dict[str, Value | Array] = {**model.constants, model.input: Value(0, shape)}
    reader = Reader(a, deployed, model.opset, {**OPERATORS, **MOVES}, values)
    reader.room(shape)
    for node in model.nodes:
        reader.visit(node)
    output = reader.values.get(model.output)
    if not isinstance(output, Value):
        raise Refused("model", "its output does not depend on its input")
    return Network(prod(shape), tuple(reader.steps), output.index)
