"""What is known of the votes over a sample's draws, so that no draw is made twice."""

from __future__ import annotations

from collections.abc import Mapping
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

    def claim(self, use: str, inputs: Mapping[int, str]) -> None:
        """Say what the votes are for, before the first is asked for.

        use: the mode, and all that decides votes besides the inputs. Votes that have been looked at in one
        mode must not be continued in another: the choice to go on would depend on them. inputs: a digest of
        each sample's input. Raises ``UsageError`` where there is another use, or another input of a sample.
        """

    def get(self, sample: int, stream: str, first: int) -> tuple[int, IntArray] | None:
        """The piece that begins at this draw, if one is known: its number of draws, its votes (classes,)."""

    def put(self, piece: Piece, votes: IntArray) -> None:
        """Remember the votes (classes,) of a piece."""


@dataclass(frozen=True)
class InMemory:
    """Votes that last as long as this object."""

    known: dict[tuple[int, str, int], tuple[int, IntArray]] = field(default_factory=dict)
    inputs: dict[int, str] = field(default_factory=dict)
    uses: list[str] = field(default_factory=list)

    def claim(self, use: str, inputs: Mapping[int, str]) -> None:
        check_use(self.uses[0] if self.uses else use, use)
        self.uses[:] = [use]
        for sample, digest in inputs.items():
            if self.inputs.setdefault(sample, digest) != digest:
                raise UsageError(
                    f"sample {sample} has votes of another input; give samples the ids of their data set, "
                    "or take another memory"
                )

    def get(self, sample: int, stream: str, first: int) -> tuple[int, IntArray] | None:
        return self.known.get((sample, stream, first))

    def put(self, piece: Piece, votes: IntArray) -> None:
        self.known[piece.sample, piece.stream, piece.first] = (piece.count, votes)


def check_use(old: str, new: str) -> None:
    """Refuse votes that were drawn for another use."""
    if old != new:
        raise UsageError(
            f"these votes were drawn for {old}; draw others for {new}, by another seed and memory "
            "(only the mode 'anytime' may be continued)"
        )
