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

from bounds.proof.format import SIZES, Array, Clause, Part, Proof, Statement, Tree, Witness, shapes
from bounds.proof.refused import Refused

MAGIC = b"CERTPROOF"
SCHEMA = 2
START = struct.Struct("<9sHI")  # magic, schema, bytes of the header
MOST_BYTES = 2**28  # of a file, and of its arrays
MOST_HEADER = 2**24
_MOST = 2**31 - 1  # of any number in the header
_KEYS = {"bytes", "inputs", "level", "model", "outputs", "parts", "trees", "witness"}
_TREE_KEYS = {"hidden", "part", *SIZES}


def digest(data: bytes) -> str:
    """The name of a model in a statement: SHA-256 of its bytes, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def model_bytes(path: Path, max_bytes: int = 2**31 - 1) -> bytes:
    """The bytes of a file, of ONNX or a proof, unpacked where it is gzipped; raises ``Refused``."""
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


def read(path: Path) -> Proof:
    """The proof in a file; raises ``Refused`` for anything that is not a well-formed one of this schema."""
    return unpacked(model_bytes(path, MOST_BYTES))


def unpacked(data: bytes, max_bytes: int = MOST_BYTES) -> Proof:
    """The proof in some bytes; see ``read``."""
    if len(data) > max_bytes:
        raise Refused("file", f"it has more than {max_bytes} bytes")
    if len(data) < START.size or not data.startswith(MAGIC):
        raise Refused("file", "it is not a proof, or it is truncated")
    _, schema, size = START.unpack_from(data)
    if schema != SCHEMA:
        raise Refused("file", f"it has schema {schema}; this checker reads schema {SCHEMA}")
    if size > min(MOST_HEADER, len(data) - START.size):
        raise Refused("file", "its header is oversized, or it is truncated")
    header = _header(data[START.size : START.size + size])
    expected = sum(np.dtype(kind).itemsize * prod(shape) for kind, shape in layout(header))
    if header["bytes"] > max_bytes or header["bytes"] != expected:
        raise Refused("header", "the stated size of the arrays is too large or not that of the arrays")
    stream = zlib.decompressobj()
    try:
        body = stream.decompress(data[START.size + size :], expected + 1)
    except zlib.error as error:
        raise Refused("file", f"its arrays are damaged: {error}") from error
    if len(body) != expected or not stream.eof or stream.unused_data:
        raise Refused("file", "its arrays do not have the stated size; it may be truncated")
    return _proof(header, _arrays(header, body))


def layout(header: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The type and shape of every array, in the order of the file."""
    box, outputs = ("<f8", (header["inputs"],)), header["outputs"]
    for counts in header["parts"]:
        yield from (box, box)
        for n in counts:
            yield from (("<f8", (n, outputs)), ("<f8", (n,)))
    for head in header["trees"]:
        yield from shapes(head).values()
    if header["witness"] is not None:
        yield box


def _arrays(header: dict[str, Any], body: bytes) -> Iterator[Array]:
    """All arrays, one by one."""
    here = 0
    for kind, shape in layout(header):
        end = here + prod(shape) * np.dtype(kind).itemsize
        raw = np.frombuffer(body[here:end], "u1" if kind == "?" else kind)
        if kind == "?" and bool((raw > 1).any()):
            raise Refused("tree", "splits are marked by 0 and 1")
        yield raw.astype(np.dtype(kind).newbyteorder("=")).reshape(shape)
        here = end


def _proof(header: dict[str, Any], arrays: Iterator[Array]) -> Proof:
    parts = []
    for counts in header["parts"]:
        lower, upper = next(arrays), next(arrays)
        parts.append(Part(lower, upper, tuple(Clause(next(arrays), next(arrays)) for _ in counts)))
    trees = []
    for head in header["trees"]:
        values = {name: next(arrays) for name in shapes(head)}
        trees.append(Tree(part=head["part"], hidden=head["hidden"], **values))
    witness = None if header["witness"] is None else Witness(header["witness"], next(arrays))
    return Proof(Statement(header["model"], header["level"], tuple(parts)), tuple(trees), witness)


def canonical(header: dict[str, Any]) -> bytes:
    """The one way to write a header."""
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode("ascii")


def _header(data: bytes) -> dict[str, Any]:
    """A header with exactly the keys of the schema and natural numbers within limits."""
    try:
        header = json.loads(data)
        if not isinstance(header, dict) or set(header) != _KEYS or canonical(header) != data:
            raise Refused("header", "it is not the canonical JSON of this schema")
        lists = [header["trees"], header["parts"], *header["parts"]]
        numbers = [header[key] for key in ("bytes", "inputs", "outputs")]
        numbers += [] if header["witness"] is None else [header["witness"]]
        numbers += [count for counts in header["parts"] for count in counts]
        for head in header["trees"]:
            if set(head) != _TREE_KEYS:
                raise Refused("header", "a tree has other keys than those of this schema")
            numbers += [head[key] for key in ("part", *SIZES)]
        texts = [header["model"], header["level"], *(head["hidden"] for head in header["trees"])]
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise Refused("header", "it is not JSON, or not of this schema") from error
    if not all(type(n) is int and 0 <= n <= _MOST for n in numbers):
        raise Refused("header", "a size is no natural number within the limits")
    if not all(isinstance(x, list) for x in lists) or not all(isinstance(text, str) for text in texts):
        raise Refused("header", "there is something else where a list or a text belongs")
    return header
