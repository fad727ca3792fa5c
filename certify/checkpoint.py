"""Votes of a long sampling kept in a run's ledger, so that an interruption costs seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from certify.ledger import Ledger
from certify.smoothing.intervals import IntArray
from certify.smoothing.votes import InMemory, Piece, check_use


class LedgerVotes:
    """A memory of votes over a ledger: what is there is known, what is new is written every ``seconds``.

    law: names the classifier's noise; votes of other laws are kept apart. Use ``checkpointed``.
    """

    def __init__(self, ledger: Ledger, law: str, seconds: float) -> None:
        self._ledger, self._law, self._seconds = ledger, law, seconds
        self._known = InMemory()
        self._new: list[tuple[Piece, IntArray]] = []
        for piece, votes in ledger.votes(law):
            self._known.put(piece, votes)
        self._written = time.monotonic()

    def claim(self, use: str, inputs: Mapping[int, str]) -> None:
        check_use(self._ledger.claim_votes(self._law, use), use)
        self._known.claim(use, inputs)

    def get(self, sample: int, stream: str, first: int) -> tuple[int, IntArray] | None:
        return self._known.get(sample, stream, first)

    def put(self, piece: Piece, votes: IntArray) -> None:
        self._known.put(piece, votes)
        self._new.append((piece, votes))
        if time.monotonic() - self._written >= self._seconds:
            self.write()

    def write(self) -> None:
        """Put on disk what is new."""
        self._ledger.record_votes(self._law, self._new)
        self._new.clear()
        self._written = time.monotonic()


@contextmanager
def checkpointed(ledger: Ledger, law: str, seconds: float = 30.0) -> Iterator[LedgerVotes]:
    """A memory of votes over the ledger; on leaving, also by an interruption, all of it is on disk."""
    votes = LedgerVotes(ledger, law, seconds)
    try:
        yield votes
    finally:
        votes.write()
