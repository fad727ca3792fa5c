"""ONNX files -> networks."""

from __future__ import annotations

from math import prod

from bounds.proof import protobuf
from bounds.proof.arithmetic import Floats
from bounds.proof.moves import MOVES
from bounds.proof.network import Made, Network, Reader, Value
from bounds.proof.operators import OPERATORS
from bounds.proof.protobuf import Message
from bounds.proof.refused import Refused

_OPSETS = range(7, 24)  # before them, broadcasting was an attribute


def read_network(data: bytes, a: Floats, deployed: bool = False) -> Network:
    """The network in an ONNX file's bytes; raises ``Refused`` for anything outside of what is known here.

    deployed: whether it must be one that executes in float32.
    """
    try:
        return _network(Message(data), a, deployed)
    except (LookupError, ValueError, OverflowError) as error:
        raise Refused("model", "it is no ONNX file, or it is truncated") from error


def _network(model: Message, a: Floats, deployed: bool) -> Network:
    opsets = [m.integer(2) for m in model.messages(8) if m.text(1) in ("", "ai.onnx")]
    if len(set(opsets)) != 1 or opsets[0] not in _OPSETS:
        raise Refused("model", f"it is of opsets {opsets}, not of one from {_OPSETS[0]} to {_OPSETS[-1]}")
    graph = model.message(7)
    if model.every(25) or graph.every(15):
        raise Refused("model", "it has local functions or sparse constants; write them out")
    values: dict[str, Made] = {}
    for constant in graph.messages(5):
        if (name := constant.text(8)) in values:
            raise Refused("model", f"constant {name!r} occurs twice")
        values[name] = protobuf.tensor(constant)
    inputs, outputs = [m for m in graph.messages(11) if m.text(1) not in values], graph.messages(12)
    if len(inputs) != 1 or len(outputs) != 1:
        raise Refused("model", f"it has {len(inputs)} inputs and {len(outputs)} outputs, not one of each")
    shape = _shape(inputs[0], deployed)
    values[inputs[0].text(1)] = Value(0, shape)
    reader = Reader(a, deployed, opsets[0], {**OPERATORS, **MOVES}, values)
    reader.room(shape)
    for node in graph.messages(1):
        reader.visit(protobuf.node(node))
    output = reader.values.get(outputs[0].text(1))
    if not isinstance(output, Value):
        raise Refused("model", "its output does not depend on its input")
    return Network(prod(shape), tuple(reader.steps), output.index)


def _shape(value: Message, deployed: bool) -> tuple[int, ...]:
    """The shape of the input, of which the first size may be open."""
    tensor = value.message(2).message(1)
    kind, sizes = tensor.integer(1), [d.integer(1) for d in tensor.message(2).messages(1)]
    if kind not in (protobuf.FLOAT, protobuf.DOUBLE) or tensor.one(2) is None:
        raise Refused("input", "it is no float tensor of known shape")
    if deployed and kind == protobuf.DOUBLE:
        raise Refused("input", "it is float64; level 'deployed' speaks of float32 executions")
    if min(sizes[1:], default=1) < 1:
        raise Refused("input", f"it has open sizes, {sizes}; only the first may be open")
    return tuple(max(size, 1) for size in sizes)
