"""Proofs as files: magic and version, a JSON header of stated length, one zlib stream of arrays.

Nothing in a file is believed: all sizes are known, and within limits, before anything is unpacked.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
import zlib
from functools import partial
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from bounds.proof.basics import Array, Refused, refuse
from bounds.proof.format import Clause, Forest, Lemma, Part, Proof, Statement, Tree, Witness, shapes

MAGIC = b"CERTPROOF"
SCHEMA = 4
START = struct.Struct("<9sHI")  # magic, schema, bytes of the header
MOST_BYTES = 2**28  # of a file, and of its arrays
MOST_HEADER = 2**20  # what it lists takes 500 times as much memory


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
    refuse(len(data) > max_bytes, str(path), f"it has more than {max_bytes} bytes")
    return data


def read(path: Path) -> Proof:
    """The proof in a file; raises ``Refused`` for anything that is not a well-formed one of this schema."""
    return unpacked(model_bytes(path, MOST_BYTES))


def unpacked(data: bytes) -> Proof:
    """The proof in some bytes; see ``read``."""
    other = len(data) < START.size or not data.startswith(MAGIC)
    refuse(other, "file", "it is not a proof, or it is truncated")
    _, schema, size = START.unpack_from(data)
    refuse(schema != SCHEMA, "file", f"it has schema {schema}; this checker reads schema {SCHEMA}")
    head, packed = data[START.size :][:size], data[START.size + size :]
    refuse(size > MOST_HEADER or len(head) < size, "file", "its header is oversized, or it is truncated")
    try:
        stated = json.loads(head)
        body = BytesIO(_body(packed, stated["bytes"]))
        proof = _proof(stated, body)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise Refused("header", "it is not JSON of this schema, or not that of the arrays") from error
    # Whatever was misread, or not read at all, is missing here.
    misread = body.read(1) or header(proof, body.tell()) != head
    refuse(misread, "header", "it is not the canonical JSON for these arrays")
    return proof


def header(proof: Proof, size: int) -> bytes:
    """The one way to write the header of a proof whose arrays have so many bytes."""
    statement, witness = proof.statement, proof.witness
    first = statement.parts[0]
    fields = {
        "bytes": size,
        "inputs": first.lower.size,
        "lemmas": [{"of": lemma.of, "part": lemma.part, **lemma.sizes} for lemma in proof.lemmas],
        "level": statement.level,
        "model": statement.model,
        "outputs": first.clauses[0].rows.shape[1],
        "parts": [[len(clause.rows) for clause in part.clauses] for part in statement.parts],
        "trees": [{"hidden": tree.hidden, "part": tree.part, **tree.sizes} for tree in proof.trees],
        "witness": None if witness is None else witness.part,
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")


def _body(packed: bytes, size: Any) -> bytes:
    """The stated number of bytes from a zlib stream; no more are ever unpacked."""
    fits = type(size) is int and 0 <= size <= MOST_BYTES
    refuse(not fits, "header", f"its arrays do not have 0 to {MOST_BYTES} bytes")
    stream = zlib.decompressobj()
    try:
        body = stream.decompress(packed, size + 1)
    except zlib.error as error:
        raise Refused("file", f"its arrays are damaged: {error}") from error
    other = len(body) != size or not stream.eof or stream.unused_data
    refuse(other, "file", "its arrays do not have the stated size; it may be truncated")
    return body


def _taken(body: BytesIO, kind: str, *shape: int) -> Array:
    """The next array; raises ``ArithmeticError`` or ``ValueError`` where so much is not left."""
    natural = all(type(n) is int and n >= 0 for n in shape)  # a text would be repeated
    refuse(not natural, "header", "a size is no natural number")
    data = body.read(np.dtype(kind).itemsize * prod(shape))
    raw = np.frombuffer(data, "u1" if kind == "?" else kind).reshape(shape)
    refuse(kind == "?" and (raw > 1).any(), "tree", "splits and rows are marked by 0 and 1")
    return raw.astype(np.dtype(kind).newbyteorder("="))


def _proof(stated: dict[str, Any], body: BytesIO) -> Proof:
    """The proof that a header and the arrays make; the header may be anything that JSON can be."""
    take, inputs, outputs = partial(_taken, body), stated["inputs"], stated["outputs"]

    def several(of: type[Forest], sizes: dict[str, int]) -> dict[str, Array]:
        return {name: take(kind, *shape) for name, kind, shape in shapes(of, sizes)}

    parts = []
    for counts in stated["parts"]:
        lower, upper = take("<f8", inputs), take("<f8", inputs)
        clauses = [Clause(take("<f8", n, outputs), take("<f8", n)) for n in counts]
        parts.append(Part(lower, upper, tuple(clauses)))
    lemmas = [Lemma(part=x["part"], of=x["of"], **several(Lemma, x)) for x in stated["lemmas"]]
    trees = [Tree(part=x["part"], hidden=x["hidden"], **several(Tree, x)) for x in stated["trees"]]
    part = stated["witness"]
    witness = None if part is None else Witness(part, take("<f8", inputs))
    claim = Statement(stated["model"], stated["level"], tuple(parts))
    return Proof(claim, tuple(trees), witness, tuple(lemmas))
