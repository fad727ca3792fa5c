"""Proofs of properties as files: written from verdicts, and checked by whoever trusts nobody."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import bounds
from bounds.proof import Proof, Refused, Statement, Witness, digest, model_bytes
from bounds.proof.check import check
from bounds.proving import prove
from bounds.proving.statements import statement
from bounds.proving.written import packed
from bounds.rounding import Level
from bounds.vnnlib import read_vnnlib
from certify.errors import UsageError
from certify.property import Answer, Status, shaped


@dataclass(frozen=True)
class Written:
    """What became of a proof. size: of its file in bytes, None where there is none; sentence: for people."""

    size: int | None
    sentence: str


def write(
    network: Path,
    graph: bounds.Graph,
    region: bounds.Box,
    spec: bounds.Spec,
    found: Answer,
    seconds: float,
    out: Path,
    level: Level = Level.REAL,
) -> Written:
    """Write a file that shows an answer to a property: a checked proof, or the counterexample.

    region, spec: as ``bounds.read_vnnlib`` gives them. seconds: for the search for a proof.
    level: of the claim, real or deployed.
    Raises ``UsageError`` where the file cannot be written.
    """
    if found.status not in (Status.SAT, Status.UNSAT):
        return Written(None, f"no proof: the property is {found.status.value}")
    try:
        model = model_bytes(network)
        claim = statement(digest(model), level, region, spec)
        if found.status is Status.SAT:
            return _written(out, *_refuted(claim, model, found))
        attempted = prove(graph, shaped(graph, region, spec), spec, model, level=level, timeout=seconds)
        if attempted.proof is not None and attempted.checked is not None:
            return _written(out, attempted.proof, f"proved and checked, {attempted.checked.leaves} leaves")
    except Refused as refusal:
        kind = "the counterexample has no file" if found.status is Status.SAT else "verified, not proved"
        return Written(None, f"{kind}: the checker refuses; {refusal}")
    left = sum(status is not bounds.Status.VERIFIED for status in attempted.statuses)
    return Written(
        None, f"verified, not proved: {left} of {len(region)} parts in {seconds:g} s; give more time"
    )


def _refuted(claim: Statement, model: bytes, found: Answer) -> tuple[Proof, str]:
    """The counterexample as a witness; raises ``Refused`` where no box of the statement holds it."""
    point = torch.zeros(0) if found.x is None else found.x
    x = point.double().numpy()
    inside = [k for k, part in enumerate(claim.parts) if bool(((part.lower <= x) & (x <= part.upper)).all())]
    last = Refused("witness", "it is next to the region, where an input is pinned to what is no float32")
    for part in inside:
        proof = Proof(claim, witness=Witness(part, x))
        try:
            check(proof, model)
        except Refused as refusal:
            last = refusal
            continue
        return proof, "the counterexample, which fails in exact arithmetic, too"
    if not inside:
        raise last
    return Proof(claim, witness=Witness(inside[0], x)), f"the counterexample, in floats alone; {last}"


def _written(out: Path, proof: Proof, what: str) -> Written:
    data = packed(proof)
    try:
        out.write_bytes(data)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from error
    return Written(len(data), f"{what}, {len(data)} bytes in {out}")


def same_property(claim: Statement, prop: Path) -> bool:
    """Whether a statement is about exactly the boxes and rows of a VNN-LIB property."""
    region, spec = read_vnnlib(prop)
    return same_statement(claim, statement(claim.model, Level(claim.level), region, spec))


def same_statement(claim: Statement, asked: Statement) -> bool:
    """Whether two statements are the same to the last bit."""
    if (claim.model, claim.level) != (asked.model, asked.level) or len(asked.parts) != len(claim.parts):
        return False
    for a, b in zip(asked.parts, claim.parts, strict=True):
        ends = np.array_equal(a.lower, b.lower) and np.array_equal(a.upper, b.upper)
        if not ends or len(a.clauses) != len(b.clauses):
            return False
        for mine, theirs in zip(a.clauses, b.clauses, strict=True):
            if not (np.array_equal(mine.rows, theirs.rows) and np.array_equal(mine.offset, theirs.offset)):
                return False
    return True
