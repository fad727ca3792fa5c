"""What is known of the votes over a sample's draws, so that no draw is made twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from certify.errors import UsageError
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

    def claim(self, mode: str) -> None:
        """Say what the votes are for, before the first is asked for.

        Votes that have been looked at in one mode must not be continued in another: the choice to go on would
        depend on them. Raises ``UsageError`` where another mode was here.
        """

    def get(self, sample: int, stream: str, first: int) -> tuple[int, IntArray] | None:
        """The piece that begins at this draw, if one is known: its number of draws, its votes (classes,)."""

    def put(self, piece: Piece, votes: IntArray) -> None:
        """Remember the votes (classes,) of a piece."""


@dataclass(frozen=True)
class InMemory:
    """Votes that last as long as this object."""

    known: dict[tuple[int, str, int], tuple[int, IntArray]] = field(default_factory=dict)
    modes: set[str] = field(default_factory=set)

    def claim(self, mode: str) -> None:
        self.modes.add(mode)
        if len(self.modes) > 1:
            raise UsageError(
                f"these votes were drawn for {min(self.modes - {mode})}; draw others for {mode}, by another "
                "seed and memory (only the mode 'anytime' may be continued)"
            )

    def get(self, sample: int, stream: str, first: int) -> tuple[int, IntArray] | None:
        return self.known.get((sample, stream, first))

    def put(self, piece: Piece, votes: IntArray) -> None:
        self.known[piece.sample, piece.stream, piece.first] = (piece.count, votes)
