"""ONNX files -> networks."""

from __future__ import annotations

from math import prod

from bounds.proof import protobuf
from bounds.proof.arithmetic import Floats
from bounds.proof.basics import Refused, refuse
from bounds.proof.moves import MOVES
from bounds.proof.network import Made, Network, Reader, Value
from bounds.proof.operators import OPERATORS
from bounds.proof.protobuf import Message

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
    known = len(set(opsets)) == 1 and opsets[0] in _OPSETS
    refuse(not known, "model", f"it is of opsets {opsets}, not of one from {_OPSETS[0]} to {_OPSETS[-1]}")
    graph = model.message(7)
    others = model.every(25) or graph.every(15)
    refuse(others, "model", "it has local functions or sparse constants; write them out")
    values: dict[str, Made] = {}
    for constant in graph.messages(5):
        name = constant.text(8)
        refuse(name in values, "model", f"constant {name!r} occurs twice")
        values[name] = protobuf.tensor(constant)
    inputs, outputs = [m for m in graph.messages(11) if m.text(1) not in values], graph.messages(12)
    sizes = len(inputs), len(outputs)
    refuse(sizes != (1, 1), "model", f"it has {sizes[0]} inputs and {sizes[1]} outputs, not one of each")
    stored = sum(x.size for x in values.values() if not isinstance(x, Value))
    shape = _shape(inputs[0], deployed)
    values[inputs[0].text(1)] = entry = Value(0, shape)
    reader = Reader(a, deployed, opsets[0], {**OPERATORS, **MOVES}, values, entry, used=-stored)
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
    known = kind in (protobuf.FLOAT, protobuf.DOUBLE) and tensor.one(2) is not None
    refuse(not known, "input", "it is no float tensor of known shape")
    wide = deployed and kind == protobuf.DOUBLE
    refuse(wide, "input", "it is float64; level 'deployed' speaks of float32 executions")
    refuse(min(sizes[1:], default=1) < 1, "input", f"it has open sizes, {sizes}; only the first may be open")
    return tuple(max(size, 1) for size in sizes)
