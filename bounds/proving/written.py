"""Proofs as bytes and files, for ``bounds.proof`` to read; its page describes them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from bounds.proof import Proof, Refused
from bounds.proof.basics import Array
from bounds.proof.file import MAGIC, MOST_BYTES, MOST_HEADER, SCHEMA, START, header
from bounds.proof.format import shapes


def write(path: Path, proof: Proof) -> int:
    """Write a proof; returns the file's size in bytes."""
    data = packed(proof)
    path.write_bytes(data)
    return len(data)


def packed(proof: Proof) -> bytes:
    """A proof as bytes; raises ``Refused`` where it is larger than a file may be."""
    body = b"".join(array.tobytes() for array in _arrays(proof))
    head = header(proof, len(body))
    if len(head) > MOST_HEADER or len(body) > MOST_BYTES:
        raise Refused("proof", f"it is larger than a file may be, {MOST_BYTES} bytes")
    return START.pack(MAGIC, SCHEMA, len(head)) + head + zlib.compress(body, 9)


def _arrays(proof: Proof) -> Iterator[Array]:
    for part in proof.statement.parts:
        yield from (part.lower.astype("<f8"), part.upper.astype("<f8"))
        for clause in part.clauses:
            yield from (clause.rows.astype("<f8"), clause.offset.astype("<f8"))
    for forest in (*proof.lemmas, *proof.trees):
        yield from (
            getattr(forest, name).astype(kind) for name, kind, _ in shapes(type(forest), forest.sizes)
        )
    if proof.witness is not None:
        yield proof.witness.point.astype("<f8")
