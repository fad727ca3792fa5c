"""Errors that a user can cause, each with the exit code that the command line returns for it."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from certify.result import Result


class Exit(IntEnum):
    """Documented exit codes of every command."""

    PASS = 0
    FAILED = 1
    USAGE = 2
    INTERNAL = 3
    INCONCLUSIVE = 4
    NOTHING_EVALUATED = 5
    SOUNDNESS_VIOLATION = 6
    ARTEFACT_REJECTED = 7
    HASH_MISMATCH = 8
    INTERRUPTED = 130


class CertifyError(Exception):
    """Base of the errors below; the message is one clear line that names the thing and the remedy."""

    exit_code: Exit = Exit.INTERNAL


class UsageError(CertifyError):
    """Bad input: values outside their domain, wrong shapes, unknown options."""

    exit_code = Exit.USAGE


class NothingEvaluated(UsageError):
    """A run folder without a single finished sample."""

    exit_code = Exit.NOTHING_EVALUATED


class ArtefactRejected(CertifyError):
    """A model or data file that cannot be read, is not supported, or would run code."""

    exit_code = Exit.ARTEFACT_REJECTED


class RunMismatch(CertifyError):
    """A run folder that belongs to another model, other data or another configuration."""

    exit_code = Exit.HASH_MISMATCH


class SignatureFailed(CertifyError):
    """A signature that is not the key's, or a hash that is not that of what it speaks of."""

    exit_code = Exit.HASH_MISMATCH


class Unsound(CertifyError):
    """A report with verdicts that contradict each other."""

    exit_code = Exit.SOUNDNESS_VIOLATION


class Contradiction(CertifyError):
    """One sample was proved robust and attacked: the certifier, the attack or the set-up is wrong.

    The reproducer is attached: the sample's id, its input ``x`` and label ``y``, and the ``witness``.
    result: of an evaluation, all that it has found, where contradicted samples count as errors.
    """

    exit_code = Exit.SOUNDNESS_VIOLATION
    result: Result | None = None

    def __init__(self, message: str, sample: int, x: Tensor, y: int, witness: Tensor) -> None:
        """Tensors have the model's input shape, without a batch axis."""
        super().__init__(message)
        self.sample = sample
        self.x = x
        self.y = y
        self.witness = witness


class StatisticalContradiction(Contradiction):
    """A contradiction of statements that were sampled: chance alone may be the cause.

    chance: an upper bound of the probability that sampling alone makes such a contradiction, with nothing
    wrong in certifier, attack or set-up.
    """

    def __init__(self, message: str, sample: int, x: Tensor, y: int, witness: Tensor, chance: float) -> None:
        super().__init__(message, sample, x, y, witness)
        self.chance = chance
