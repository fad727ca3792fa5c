"""Errors that a user can cause, each with the exit code that the command line returns for it."""

from __future__ import annotations

from enum import IntEnum


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


class ArtefactRejected(CertifyError):
    """A model or data file that cannot be read, is not supported, or would run code."""

    exit_code = Exit.ARTEFACT_REJECTED


class RunMismatch(CertifyError):
    """A run folder that belongs to another model, other data or another configuration."""

    exit_code = Exit.HASH_MISMATCH


class Contradiction(CertifyError):
    """One sample was proved robust and attacked: the certifier, the attack or the set-up is wrong."""

    exit_code = Exit.SOUNDNESS_VIOLATION
