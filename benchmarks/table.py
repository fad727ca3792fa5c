"""A table with where it comes from, as markdown for people and CSV for programs."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Cell = str | int | float | None
Row = Mapping[str, Cell]


@dataclass(frozen=True)
class Table:
    """Rows under named columns. notes: paragraphs above the markdown table, that say what columns mean.

    shown: the columns of the markdown, which leaves out those that are empty throughout; the CSV has all.
    groups: columns whose values head a part of the page each: its rows, and ``summary`` of them.
    overall: whether a last part sums up all rows.
    """

    title: str
    notes: Sequence[str]
    shown: Sequence[str]
    rows: Sequence[Row]
    groups: Sequence[str] = ()
    summary: Callable[[Sequence[Row]], str] | None = None
    overall: bool = False

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
        parts: dict[tuple[Cell, ...], list[Row]] = {}
        for row in self.rows:
            parts.setdefault(tuple(row[name] for name in self.groups), []).append(row)
        blocks = [f"# {self.title}", *self.notes]
        for key, rows in parts.items():
            blocks += [f"## {_heading(self.groups, key)}"] if key else []
            blocks.append(self._lines(rows))
            blocks += [self.summary(rows)] if self.summary is not None else []
        if self.overall and self.summary is not None:
            blocks += ["## All", self.summary(self.rows)]
        return "\n\n".join(blocks) + "\n"

    def _lines(self, rows: Sequence[Row]) -> str:
        filled = [name for name in self.shown if any(row[name] is not None for row in rows)]
        shown = [name for name in filled if name not in self.groups]
        lines = [_line(shown), _line(["---"] * len(shown))]
        return "\n".join(lines + [_line([_text(row[name]) for name in shown]) for row in rows])


def read(path: Path) -> list[Row]:
    """The rows of a table's CSV; none where there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: _cell(text) for name, text in row.items()} for row in csv.DictReader(file)]


def _cell(text: str) -> Cell:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text or None


def describe(row: Row) -> str:
    """The row's filled cells on one line, for progress."""
    return ", ".join(f"{name} {_text(cell)}" for name, cell in row.items() if cell is not None)


def _heading(names: Sequence[str], values: Sequence[Cell]) -> str:
    """Words speak for themselves, numbers need their name."""
    pairs = zip(names, values, strict=True)
    return ", ".join(value if isinstance(value, str) else f"{name} {value}" for name, value in pairs)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.3g}" if abs(cell) < 1000 else f"{cell:.0f}"
    return str(cell).replace("|", "\\|")


def numbers(rows: Sequence[Row], column: str) -> list[float]:
    """The column's numbers, without the cells that hold none."""
    cells = [row[column] for row in rows]
    return [float(cell) for cell in cells if isinstance(cell, int | float)]


def total(rows: Sequence[Row], column: str) -> int:
    """The sum of a column of counts."""
    return int(sum(numbers(rows, column)))


def largest(rows: Sequence[Row], column: str, name: str) -> str:
    """The column's largest number and which row, by its cell ``name``, has it; "-" where there is none."""
    filled = [row for row in rows if numbers([row], column)]
    if not filled:
        return "-"
    best = max(filled, key=lambda row: numbers([row], column)[0])
    return f"{_text(best[column])} ({best[name]})"
