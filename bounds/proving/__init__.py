"""Proofs of verdicts: the search, with the checker's own chain of bounds as its judge."""

from bounds.proving.prove import Attempted, prove

__all__ = ["Attempted", "prove"]
