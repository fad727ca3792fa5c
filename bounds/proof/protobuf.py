"""The part of ONNX files that describes a network, read from its protobuf bytes; nothing is believed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from bounds.proof.format import Array
from bounds.proof.refused import Refused

_FLOAT, _INT32, _INT64, _DOUBLE, _BOOL = 1, 6, 7, 11, 9
_DTYPES = {_FLOAT: "<f4", _INT32: "<i4", _INT64: "<i8", _DOUBLE: "<f8", _BOOL: "?"}
_TYPED = {_FLOAT: 4, _INT32: 5, _INT64: 7, _DOUBLE: 10, _BOOL: 5}  # the field of data of each type
_NOTHING = memoryview(b"")
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, eq=False)
class Node:
    """One operator; attributes by name: numbers, bytes, lists of numbers, arrays."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Model:
    """A graph with one input of some shape (0 for an open size) and one output, and its constants.

    wide: whether there is anything in float64, so that no execution is in float32 alone.
    """

    opset: int
    nodes: tuple[Node, ...]
    constants: dict[str, Array]
    input: str
    shape: tuple[int, ...]
    output: str
    wide: bool


def model(data: bytes) -> Model:
    """The model in a file's bytes; raises ``Refused``."""
    try:
        return _model(_Message(memoryview(data), "model"))
    except (IndexError, struct.error, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise Refused("model", "it is no ONNX file, or it is truncated") from error


class _Message:
    """The fields of one message by number."""

    def __init__(self, data: memoryview, place: str) -> None:
        self.place = place
        self.fields: dict[int, list[int | memoryview]] = {}
        for number, value in _wire(data):
            self.fields.setdefault(number, []).append(value)

    def one(self, number: int, default: Any = None) -> Any:
        """The value of a field that may occur once; others would be merged by some readers."""
        values = self.fields.get(number, [])
        if len(values) > 1:
            raise Refused(self.place, f"field {number} occurs more than once")
        return values[0] if values else default

    def text(self, number: int) -> str:
        """A text, empty where there is none."""
        return bytes(_bytes(self.one(number, _NOTHING))).decode()

    def messages(self, number: int, place: str) -> list[_Message]:
        """Repeated messages."""
        return [_Message(_bytes(value), place) for value in self.fields.get(number, [])]

    def integers(self, number: int) -> list[int]:
        """Repeated signed integers, packed or not."""
        found: list[int] = []
        for value in self.fields.get(number, []):
            if isinstance(value, int):
                found.append(_signed(value))
                continue
            here = 0
            while here < len(value):
                n, here = _varint(value, here)
                found.append(_signed(n))
        return found

    def numbers(self, number: int, dtype: str) -> Array:
        """Repeated floats, packed or not."""
        parts = []
        for value in self.fields.get(number, []):
            raw = (
                value if isinstance(value, memoryview) else value.to_bytes(np.dtype(dtype).itemsize, "little")
            )
            parts.append(np.frombuffer(bytes(raw), dtype))
        return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _wire(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    here = 0
    while here < len(data):
        key, here = _varint(data, here)
        kind = key & 7
        if kind == _VARINT:
            value, here = _varint(data, here)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, here = _varint(data, here)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("unknown wire type")
        if here + size > len(data):
            raise ValueError("truncated")
        chunk = data[here : here + size]
        here += size
        yield key >> 3, chunk if kind == _BYTES else int.from_bytes(chunk, "little")


def _varint(data: memoryview, here: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[here]
        here += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), here
    raise ValueError("a number of more than ten bytes")


def _signed(n: int) -> int:
    return n - 2**64 if n >= 2**63 else n


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message belongs")
    return value


def _model(message: _Message) -> Model:
    if message.fields.get(25):
        raise Refused("model", "it has local functions; write them out")
    sets = [(m.text(1), m.one(2, 0)) for m in message.messages(8, "opset")]
    opsets = {number for domain, number in sets if domain in ("", "ai.onnx")}
    if len(opsets) != 1:
        raise Refused("model", f"it names {len(opsets)} versions of ONNX, not one")
    graph = _Message(_bytes(message.one(7, _NOTHING)), "graph")
    if graph.fields.get(15):
        raise Refused("graph", "it has sparse constants; store them dense")
    constants: dict[str, Array] = {}
    for tensor in graph.messages(5, "constant"):
        if tensor.text(8) in constants:
            raise Refused("graph", f"constant {tensor.text(8)!r} occurs twice")
        constants[tensor.text(8)] = _tensor(tensor)
    inputs = [m for m in graph.messages(11, "input") if m.text(1) not in constants]
    outputs = graph.messages(12, "output")
    if len(inputs) != 1 or len(outputs) != 1:
        raise Refused("graph", f"it has {len(inputs)} inputs and {len(outputs)} outputs, not one of each")
    nodes = tuple(_node(m) for m in graph.messages(1, "node"))
    arrays = [
        *constants.values(),
        *(v for n in nodes for v in n.attributes.values() if isinstance(v, np.ndarray)),
    ]
    name, (shape, wide) = inputs[0].text(1), _shape(inputs[0])
    wide = wide or any(array.dtype == np.float64 for array in arrays)
    return Model(opsets.pop(), nodes, constants, name, shape, outputs[0].text(1), wide)


def _shape(value: _Message) -> tuple[tuple[int, ...], bool]:
    """The shape of an input, and whether it is in float64."""
    place = f"input {value.text(1)!r}"
    kind = _Message(_bytes(value.one(2, _NOTHING)), place)
    tensor = _Message(_bytes(kind.one(1, _NOTHING)), place)
    if tensor.one(1) not in (_FLOAT, _DOUBLE) or tensor.one(2) is None:
        raise Refused(place, "it is no float tensor of known shape")
    sizes = [_signed(d.one(1, 0)) for d in _Message(_bytes(tensor.one(2)), place).messages(1, place)]
    return tuple(max(size, 0) for size in sizes), tensor.one(1) == _DOUBLE


def _node(message: _Message) -> Node:
    op, name = message.text(4), message.text(3)
    place = f"{op} {name!r}"
    if message.text(7) not in ("", "ai.onnx"):
        raise Refused(place, f"unknown domain {message.text(7)!r}")
    attributes: dict[str, Any] = {}
    for attribute in message.messages(5, place):
        if attribute.text(1) in attributes:
            raise Refused(place, f"attribute {attribute.text(1)!r} occurs twice")
        attributes[attribute.text(1)] = _attribute(attribute)
    names = [tuple(bytes(_bytes(v)).decode() for v in message.fields.get(k, [])) for k in (1, 2)]
    return Node(op, name, names[0], names[1], attributes)


def _attribute(message: _Message) -> Any:
    kind = message.one(20, 0)
    if kind == 1:
        return float(np.float32(struct.unpack("<f", message.one(2, 0).to_bytes(4, "little"))[0]))
    if kind == 2:
        return _signed(message.one(3, 0))
    if kind == 3:
        return bytes(_bytes(message.one(4, _NOTHING)))
    if kind == 4:
        return _tensor(_Message(_bytes(message.one(5)), message.place))
    if kind == 6:
        return message.numbers(7, "<f4").tolist()
    if kind == 7:
        return message.integers(8)
    raise Refused(message.place, f"attribute {message.text(1)!r} has a type that is not read")


def _tensor(message: _Message) -> Array:
    """float32 and float64 as they are, integers as int64."""
    place = f"constant {message.text(8)!r}"
    kind, dims = message.one(2, 0), message.integers(1)
    if kind not in _DTYPES or min(dims, default=0) < 0:
        raise Refused(place, f"type {kind} is not read, or a size is negative")
    if message.one(14, 0) or message.fields.get(13):
        raise Refused(place, "it lies in another file; store it in this one")
    raw, dtype = message.one(9), _DTYPES[kind]
    if raw is not None:
        values = np.frombuffer(bytes(_bytes(raw)), "u1" if kind == _BOOL else dtype)
    elif kind in (_FLOAT, _DOUBLE):
        values = message.numbers(_TYPED[kind], dtype)
    else:
        values = np.array(message.integers(_TYPED[kind]), np.int64)
    if values.size != prod(dims):
        raise Refused(place, f"it has {values.size} values, not {prod(dims)}")
    if kind in (_FLOAT, _DOUBLE) and not bool(np.isfinite(values).all()):
        raise Refused(place, "it has NaN or Inf")
    return values.astype(dtype[1:] if kind in (_FLOAT, _DOUBLE) else np.int64).reshape(dims)
