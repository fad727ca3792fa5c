"""ONNX files -> networks: messages of protobuf, and the graph that they make. Nothing is believed."""

from __future__ import annotations

import struct
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from bounds.proof.arithmetic import Floats
from bounds.proof.basics import Array, Refused, refuse
from bounds.proof.moves import MOVES
from bounds.proof.network import Made, Network, Node, Reader, Value
from bounds.proof.operators import OPERATORS

try:  # the one place that speaks of operators beyond the core, which may be left out
    from bounds.proof.more import MORE
except ModuleNotFoundError:
    MORE = {}

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_SIZES = {_FIXED64: 8, _FIXED32: 4}
_OPSETS = range(7, 24)  # before them, broadcasting was an attribute
_FLOAT, _DOUBLE = 1, 11
# Of each element type that is read: how raw data look, and the field of others.
_TYPES = {_FLOAT: ("<f4", 4), _DOUBLE: ("<f8", 10), 6: ("<i4", 5), 7: ("<i8", 7), 9: ("?", 5)}
_FAR = 2.0**500  # float64 is read between this and its inverse: quotients and products are no denormals then


class Message:
    """The fields of one message: by number, their wire types and bytes in the order of the file.

    A field with a wire type that is not its own is unknown to all readers, and left alone here, too.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self._fields: dict[int, list[tuple[int, memoryview]]] = {}
        data, here, last = memoryview(data), 0, len(data)
        while here < last:
            key, here = _varint(data, here)
            if not 8 <= key < 2**32:
                raise ValueError("no number of a field")
            kind = key & 7
            if kind == _VARINT:
                _, end = _varint(data, here)
            elif kind == _BYTES:
                size, here = _varint(data, here)
                end = here + size
            else:
                end = here + _SIZES[kind]
            if not here <= end <= last:
                raise ValueError("truncated")
            self._fields.setdefault(key >> 3, []).append((kind, data[here:end]))
            here = end

    def every(self, number: int, *kinds: int) -> list[memoryview]:
        """All values of a field, of these wire types: bytes, unless said otherwise."""
        return [value for kind, value in self._fields.get(number, ()) if kind in (kinds or (_BYTES,))]

    def one(self, number: int, kind: int = _BYTES) -> memoryview | None:
        """The value of a field that may occur once, or None; others would be merged by some readers."""
        values = self.every(number, kind)
        refuse(len(values) > 1, "model", f"field {number} of a message occurs more than once")
        return values[0] if values else None

    def integer(self, number: int) -> int:
        """A signed integer, 0 where there is none."""
        value = self.one(number, _VARINT)
        return 0 if value is None else _varint(value, 0)[0]

    def text(self, number: int) -> str:
        """A text, empty where there is none."""
        return bytes(self.one(number) or b"").decode()

    def texts(self, number: int) -> tuple[str, ...]:
        """Repeated texts."""
        return tuple(bytes(value).decode() for value in self.every(number))

    def message(self, number: int) -> Message:
        """A message, empty where there is none."""
        return Message(self.one(number) or b"")

    def messages(self, number: int) -> list[Message]:
        """Repeated messages."""
        return [Message(value) for value in self.every(number)]

    def integers(self, number: int) -> list[int]:
        """Repeated signed integers, one by one or packed."""
        found: list[int] = []
        for value in self.every(number, _VARINT, _BYTES):
            here = 0
            while here < len(value):
                n, here = _varint(value, here)
                found.append(n)
        return found

    def floats(self, number: int, dtype: str) -> Array:
        """Repeated floats, one by one or packed."""
        raw = self.every(number, _FIXED32 if dtype == "<f4" else _FIXED64, _BYTES)
        return np.frombuffer(b"".join(raw), dtype)


def _varint(data: memoryview, here: int) -> tuple[int, int]:
    """A signed integer of 64 bits, and where it ends."""
    if (value := data[here]) < 0x80:  # nearly all of them
        return value, here + 1
    value = 0
    for shift in range(0, 70, 7):
        byte = data[here]
        here += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            value &= 2**64 - 1
            return value - (value >> 63 << 64), here
    raise ValueError("a number of more than ten bytes")


def _node(message: Message) -> Node:
    """An operator."""
    op, domain, attributes = message.text(4), message.text(7), dict[str, Any]()
    place = f"{op} {message.text(3)!r}"
    refuse(domain not in ("", "ai.onnx"), place, f"unknown domain {domain!r}")
    for attribute in message.messages(5):
        key = attribute.text(1)
        refuse(key in attributes, place, f"attribute {key!r} occurs twice")
        kind = attribute.integer(20)
        refuse(kind not in _ATTRIBUTES, place, f"attribute {key!r} has a type that is not read")
        attributes[key] = _ATTRIBUTES[kind](attribute)
    return op, place, message.texts(1), message.texts(2), attributes


_ATTRIBUTES: dict[int, Callable[[Message], Any]] = {  # by type: floats, ints, bytes, arrays, lists of ints
    1: lambda m: struct.unpack("<f", m.one(2, _FIXED32) or bytes(4))[0],
    2: lambda m: m.integer(3),
    3: lambda m: bytes(m.one(4) or b""),
    4: lambda m: tensor(m.message(5)),
    7: lambda m: m.integers(8),
}


def tensor(message: Message) -> Array:
    """float32, float64 and bool as they are, integers as int64."""
    place = f"constant {message.text(8)!r}"
    dims, kind = message.integers(1), message.integer(2)
    wrong = kind not in _TYPES or min(dims, default=0) < 0
    refuse(wrong, place, f"type {kind} is not read, or a size is negative")
    elsewhere = message.integer(14) or message.every(13) or message.every(3)
    refuse(elsewhere, place, "it lies in another file, or in pieces; store it in this one")
    (dtype, field), raw = _TYPES[kind], message.one(9)
    if raw is not None:
        values = np.frombuffer(raw, "u1" if dtype == "?" else dtype)
    elif dtype.startswith("<f"):
        values = message.floats(field, dtype)
    else:
        values = np.array(message.integers(field), dtype)  # what does not fit is refused
    refuse(values.size != prod(dims), place, f"it has {values.size} values, not {prod(dims)}")
    # Of float32 there will be copies when they are widened.
    values = values.astype({"<i4": "<i8"}.get(dtype, dtype), copy=dtype != "<f4").reshape(dims)
    far = dtype.startswith("<f") and not _near(values)
    refuse(far, place, "it has NaN, Inf or a float64 number beyond 2^500 or its inverse")
    return values


def _near(values: Array) -> bool:
    """Whether floats are finite and not beyond 2^500 or its inverse, which float32 cannot be."""
    if values.dtype == np.float32:
        return bool(np.isfinite(values).all())
    size = np.abs(values)
    return bool(((size == 0) | ((size > 1 / _FAR) & (size < _FAR))).all())


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
        values[name] = tensor(constant)
    inputs, outputs = [m for m in graph.messages(11) if m.text(1) not in values], graph.messages(12)
    sizes = len(inputs), len(outputs)
    refuse(sizes != (1, 1), "model", f"it has {sizes[0]} inputs and {sizes[1]} outputs, not one of each")
    stored = sum(x.size for x in values.values() if not isinstance(x, Value))
    shape = _shape(inputs[0], deployed)
    values[inputs[0].text(1)] = entry = Value(0, shape)
    reader = Reader(a, deployed, opsets[0], {**OPERATORS, **MOVES, **MORE}, values, entry, used=-stored)
    reader.room(shape)
    for node in graph.messages(1):
        reader.visit(_node(node))
    output = reader.values.get(outputs[0].text(1))
    if not isinstance(output, Value):
        raise Refused("model", "its output does not depend on its input")
    return Network(prod(shape), tuple(reader.steps), output.index)


def _shape(value: Message, deployed: bool) -> tuple[int, ...]:
    """The shape of the input, of which the first size may be open."""
    tensor = value.message(2).message(1)
    kind, sizes = tensor.integer(1), [d.integer(1) for d in tensor.message(2).messages(1)]
    known = kind in (_FLOAT, _DOUBLE) and tensor.one(2) is not None
    refuse(not known, "input", "it is no float tensor of known shape")
    wide = deployed and kind == _DOUBLE
    refuse(wide, "input", "it is float64; level 'deployed' speaks of float32 executions")
    refuse(min(sizes[1:], default=1) < 1, "input", f"it has open sizes, {sizes}; only the first may be open")
    return tuple(max(size, 1) for size in sizes)
