"""Proofs as files: magic and version, a JSON header of stated length, one zlib stream of arrays.

Nothing in a file is believed: all sizes are known, and within limits, before anything is unpacked.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from bounds.proof.format import ARRAYS, SIZES, Array, Clause, Part, Proof, Statement, Tree, Witness, shapes
from bounds.proof.refused import Refused

MAGIC = b"CERTPROOF"
SCHEMA = 1
MOST_BYTES = 2**28  # of a file, and of its arrays
_MOST_HEADER = 2**24
_MOST = 2**31 - 1  # of any number in the header
_START = struct.Struct("<9sHI")  # magic, schema, bytes of the header
_TREE_KEYS = {"hidden", "part", *SIZES}
_KEYS = {"alternatives", "clauses", "hidden", "part", "path", "sets", "slopes", "splits", "steps"}
_KEYS = {"bytes", "inputs", "level", "model", "outputs", "parts", "trees", "witness"}


def model_bytes(path: Path, max_bytes: int = 2**31 - 1) -> bytes:
    """The bytes of an ONNX file, unpacked where it is gzipped; raises ``Refused``."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Refused(str(path), f"it cannot be read: {error}") from error
    if len(data) > max_bytes:
        raise Refused(str(path), f"it has more than {max_bytes} bytes")
    return data


def digest(data: bytes) -> str:
    """The name of a model in a statement: SHA-256 of its bytes, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def write(path: Path, proof: Proof) -> int:
    """Write a proof; returns the file's size in bytes."""
    data = packed(proof)
    path.write_bytes(data)
    return len(data)


def read(path: Path, max_bytes: int = MOST_BYTES) -> Proof:
    """The proof in a file; raises ``Refused`` for anything that is not a well-formed one of this schema."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise Refused(str(path), f"it cannot be read: {error.strerror or error}") from error
    return unpacked(data, max_bytes)


def packed(proof: Proof) -> bytes:
    """A proof as bytes."""
    statement, witness = proof.statement, proof.witness
    arrays = [*_statement_arrays(statement)]
    for tree in proof.trees:
        arrays += [getattr(tree, name).astype(kind) for name, (kind, _) in ARRAYS.items()]
    if witness is not None:
        arrays.append(witness.point.astype("<f8"))
    body = b"".join(array.tobytes() for array in arrays)
    header = {
        "bytes": len(body),
        "inputs": statement.parts[0].lower.size,
        "level": statement.level,
        "model": statement.model,
        "outputs": statement.parts[0].clauses[0].rows.shape[1],
        "parts": [[len(clause.rows) for clause in part.clauses] for part in statement.parts],
        "trees": [{"hidden": tree.hidden, "part": tree.part, **tree.sizes} for tree in proof.trees],
        "witness": None if witness is None else witness.part,
    }
    head = _canonical(header)
    if len(head) > _MOST_HEADER or len(body) > MOST_BYTES:
        raise Refused("proof", f"it is larger than a file may be, {MOST_BYTES} bytes")
    return _START.pack(MAGIC, SCHEMA, len(head)) + head + zlib.compress(body, 9)


def unpacked(data: bytes, max_bytes: int = MOST_BYTES) -> Proof:
    """The proof in some bytes; see ``read``."""
    if len(data) > max_bytes:
        raise Refused("file", f"it has more than {max_bytes} bytes")
    if len(data) < _START.size or not data.startswith(MAGIC):
        raise Refused("file", "it is not a proof, or it is truncated")
    _, schema, size = _START.unpack_from(data)
    if schema != SCHEMA:
        raise Refused("file", f"it has schema {schema}; this checker reads schema {SCHEMA}")
    if size > min(_MOST_HEADER, len(data) - _START.size):
        raise Refused("file", "its header is oversized, or it is truncated")
    header = _header(data[_START.size : _START.size + size])
    if header["bytes"] > max_bytes or header["bytes"] != sum(_sizes(header)):
        raise Refused("header", "the stated size of the arrays is too large or not that of the arrays")
    stream = zlib.decompressobj()
    try:
        body = stream.decompress(data[_START.size + size :], header["bytes"] + 1)
    except zlib.error as error:
        raise Refused("file", f"its arrays are damaged: {error}") from error
    if len(body) != header["bytes"] or not stream.eof or stream.unused_data:
        raise Refused("file", "its arrays do not have the stated size; it may be truncated")
    return _proof(header, _Arrays(body))


class _Arrays:
    """Arrays taken one by one from bytes."""

    def __init__(self, body: bytes) -> None:
        self._body, self._here = body, 0

    def take(self, dtype: str, *shape: int) -> Array:
        """The next one."""
        kind, count = np.dtype(dtype), prod(shape)
        end = self._here + count * kind.itemsize
        raw = np.frombuffer(self._body[self._here : end], "u1" if dtype == "?" else kind)
        self._here = end
        if dtype == "?" and bool((raw > 1).any()):
            raise Refused("tree", "splits are marked by 0 and 1")
        return raw.astype(kind.newbyteorder("=")).reshape(shape)


def _proof(header: dict[str, Any], arrays: _Arrays) -> Proof:
    inputs, outputs = header["inputs"], header["outputs"]
    parts = []
    for counts in header["parts"]:
        lower, upper = arrays.take("<f8", inputs), arrays.take("<f8", inputs)
        clauses = tuple(Clause(arrays.take("<f8", n, outputs), arrays.take("<f8", n)) for n in counts)
        parts.append(Part(lower, upper, clauses))
    trees = []
    for head in header["trees"]:
        values = {name: arrays.take(kind, *shape) for name, (kind, shape) in shapes(head).items()}
        trees.append(Tree(part=head["part"], hidden=head["hidden"], **values))
    witness = None
    if header["witness"] is not None:
        witness = Witness(header["witness"], arrays.take("<f8", inputs))
    return Proof(Statement(header["model"], header["level"], tuple(parts)), tuple(trees), witness)


def _statement_arrays(statement: Statement) -> Iterator[Array]:
    for part in statement.parts:
        yield from (part.lower.astype("<f8"), part.upper.astype("<f8"))
        for clause in part.clauses:
            yield from (clause.rows.astype("<f8"), clause.offset.astype("<f8"))


def _sizes(header: dict[str, Any]) -> Iterator[int]:
    """The bytes of all arrays, part by part."""
    for counts in header["parts"]:
        yield 8 * (2 * header["inputs"] + sum(counts) * (header["outputs"] + 1))
    for head in header["trees"]:
        yield sum(np.dtype(kind).itemsize * prod(shape) for kind, shape in shapes(head).values())
    if header["witness"] is not None:
        yield 8 * header["inputs"]


def _canonical(header: dict[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode("ascii")


def _header(data: bytes) -> dict[str, Any]:
    """A header with exactly the keys of the schema and natural numbers within limits."""
    try:
        header: dict[str, Any] = json.loads(data)
        exact = isinstance(header, dict) and _canonical(header) == data
    except (ValueError, RecursionError) as error:
        raise Refused("header", "it is not JSON") from error
    if not exact or set(header) != _KEYS:
        raise Refused("header", "it is not the canonical JSON of this schema")
    naturals = [header["bytes"], header["inputs"], header["outputs"]]
    naturals += [] if header["witness"] is None else [header["witness"]]
    for counts in _list(header["parts"]):
        naturals += _list(counts)
    for head in _list(header["trees"]):
        if not isinstance(head, dict) or set(head) != _TREE_KEYS or not isinstance(head["hidden"], str):
            raise Refused("header", "a tree has other keys than those of this schema")
        naturals += [value for key, value in head.items() if key != "hidden"]
    if not all(type(n) is int and 0 <= n <= _MOST for n in naturals):
        raise Refused("header", "a size is no natural number within the limits")
    if not isinstance(header["model"], str) or not isinstance(header["level"], str):
        raise Refused("header", "model and level are no text")
    return header


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise Refused("header", "there is something else where a list belongs")
    return value
