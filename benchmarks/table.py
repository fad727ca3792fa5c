"""A table with where it comes from, as markdown for people and CSV for programs."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Cell = str | int | float | None
Row = Mapping[str, Cell]


@dataclass(frozen=True)
class Table:
    """Rows under named columns. notes: paragraphs above the markdown table, that say what columns mean.

    shown: the columns of the markdown, which leaves out those that are empty throughout; the CSV has all.
    """

    title: str
    notes: Sequence[str]
    shown: Sequence[str]
    rows: Sequence[Row]

    def write(self, folder: Path, name: str) -> None:
        """NAME.md and NAME.csv in ``folder``, which is made where missing."""
        folder.mkdir(parents=True, exist_ok=True)
        markdown, data = folder / f"{name}.md", folder / f"{name}.csv"
        markdown.write_text(self.markdown(), encoding="utf-8")
        with data.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)

    def markdown(self) -> str:
        """The whole page."""
        shown = [name for name in self.shown if any(row[name] is not None for row in self.rows)]
        lines = [_line(shown), _line(["---"] * len(shown))]
        lines += [_line([_text(row[name]) for name in shown]) for row in self.rows]
        return "\n\n".join([f"# {self.title}", *self.notes, "\n".join(lines)]) + "\n"


def describe(row: Row) -> str:
    """The row's filled cells on one line, for progress."""
    return ", ".join(f"{name} {_text(cell)}" for name, cell in row.items() if cell is not None)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.3g}" if abs(cell) < 1000 else f"{cell:.0f}"
    return str(cell).replace("|", "\\|")
