"""Proofs and their checker, which trusts nobody: numpy and the standard library alone. See PROOF.md."""

from bounds.proof.file import digest, model_bytes, read
from bounds.proof.format import Clause, Lemma, Part, Proof, Statement, Tree, Witness
from bounds.proof.refused import Refused

__all__ = [
    "Clause",
    "Lemma",
    "Part",
    "Proof",
    "Refused",
    "Statement",
    "Tree",
    "Witness",
    "digest",
    "model_bytes",
    "read",
]
