"""What is known of the votes over a sample's draws, so that no draw is made twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from certify.smoothing.intervals import IntArray


@dataclass(frozen=True)
class Piece:
    """``count`` draws of one sample's stream, from number ``first`` on."""

    sample: int
    stream: str
    first: int
    count: int


class Votes(Protocol):
    """A memory of votes; it belongs to one classifier, law and seed."""

    def get(self, sample: int, stream: str, first: int) -> tuple[int, IntArray] | None:
        """The piece that begins at this draw, if one is known: its number of draws, its votes (classes,)."""

    def put(self, piece: Piece, votes: IntArray) -> None:
        """Remember the votes (classes,) of a piece."""


@dataclass(frozen=True)
class InMemory:
    """Votes that last as long as this object."""

    known: dict[tuple[int, str, int], tuple[int, IntArray]] = field(default_factory=dict)

    def get(self, sample: int, stream: str, first: int) -> tuple[int, IntArray] | None:
        return self.known.get((sample, stream, first))

    def put(self, piece: Piece, votes: IntArray) -> None:
        self.known[piece.sample, piece.stream, piece.first] = (piece.count, votes)
