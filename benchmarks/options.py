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
    """Empty ``nets``, ``methods`` or ``batches`` mean those that the suite has by itself.

    data: the folder of recorded networks and figures. threads, memory_gb: of each program.
    repeats: how often a case is run. limit: seconds of one run, None for the suite's own.
    peer_python: a Python that can import the peer. done: rows of an earlier run to go on from.
    """

    data: Path
    nets: tuple[str, ...]
    methods: tuple[str, ...]
    batches: tuple[int, ...]
    dtypes: tuple[str, ...]
    threads: int
    memory_gb: float
    repeats: Repeats
    limit: float | None
    peer_python: str | None
    done: Sequence[Row] = ()

    def pick(self, known: tuple[str, ...], asked: tuple[str, ...], what: str) -> tuple[str, ...]:
        """Those asked for, all when none are; ``BadRequest`` for one that is not known."""
        unknown = [each for each in asked if each not in known]
        if unknown:
            raise BadRequest(f"there is no {what} {unknown[0]!r}; there are {', '.join(known)}")
        return asked or known

    def recorded_nets(self) -> tuple[Path, ...]:
        """The recorded networks asked for; ``BadRequest`` where there are none."""
        folder = self.data / "bounds"
        known = tuple(sorted(path.stem for path in folder.glob("*.onnx")))
        if not known:
            raise BadRequest(f"{folder} has no networks; point --data at the folder that holds bounds/")
        return tuple(folder / f"{net}.onnx" for net in self.pick(known, self.nets, "network"))


@dataclass(frozen=True)
class Suite:
    """A table to be: what its columns mean, which of them the page shows, and its rows as they are measured.

    groups: columns whose values head a part of the page each, with ``summary`` of its rows at the end.
    overall: whether the page ends with a summary of all rows. key: columns by which a row takes the place of
    an earlier run's, none where only the same row does.
    rows: raises ``BadRequest`` for options it cannot follow.
    """

    title: str
    notes: Sequence[str]
    shown: Sequence[str]
    rows: Callable[[Options], Iterator[Row]]
    groups: Sequence[str] = ()
    summary: Callable[[Sequence[Row]], str] | None = None
    overall: bool = False
    key: Sequence[str] = ()

    def remaining(self, done: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
        """The rows of an earlier run that none of this one takes the place of."""
        taken = {self._named(row) for row in rows}
        return [row for row in done if self._named(row) not in taken]

    def _named(self, row: Row) -> tuple[object, ...]:
        return tuple(row[name] for name in self.key or row)
