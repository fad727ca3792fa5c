"""What the command line says to every suite, and what a suite is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Repeats
from benchmarks.table import Row


class BadRequest(Exception):
    """The command cannot be carried out as given; the message says what to change."""


@dataclass(frozen=True)
class Options:
    """Empty ``nets`` or ``methods`` mean all that the suite has.

    data: the folder of recorded networks and figures. threads, memory_gb: of each program.
    peer_python: a Python that can import the peer.
    """

    data: Path
    nets: tuple[str, ...]
    methods: tuple[str, ...]
    batches: tuple[int, ...]
    threads: int
    memory_gb: float
    repeats: Repeats
    peer_python: str | None

    def pick(self, known: tuple[str, ...], asked: tuple[str, ...], what: str) -> tuple[str, ...]:
        """Those asked for, all when none are; ``BadRequest`` for one that is not known."""
        unknown = [each for each in asked if each not in known]
        if unknown:
            raise BadRequest(f"there is no {what} {unknown[0]!r}; there are {', '.join(known)}")
        return asked or known


@dataclass(frozen=True)
class Suite:
    """A table to be: what its columns mean, which of them the page shows, and its rows as they are measured.

    rows: raises ``BadRequest`` for options it cannot follow.
    """

    title: str
    notes: Sequence[str]
    shown: Sequence[str]
    rows: Callable[[Options], Iterator[Row]]
