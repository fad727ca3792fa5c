"""Proofs and their checker, which trusts nobody: numpy and the standard library alone. See PROOF.md.

To audit it: the mathematics is in ``arithmetic``, ``steps``, ``functions`` and ``chain``; what is claimed, in
``format``, ``file`` and ``check``; how a network is read, in ``onnx``, ``network``, ``moves`` and
``operators``. That is the core, of about 1,500 lines of code, for piecewise linear networks: affine layers,
convolutions, pooling, batch norm, residuals, (leaky) ReLUs. Other operators are in ``more``, 340 lines that
may be deleted: networks with them are refused then, and all else is checked as before.
"""

from bounds.proof.basics import Refused
from bounds.proof.file import digest, model_bytes, read
from bounds.proof.format import Clause, Part, Proof, Statement, Witness

__all__ = ["Clause", "Part", "Proof", "Refused", "Statement", "Witness", "digest", "model_bytes", "read"]
