"""One small module per operator: does it trace, are its bounds finite and true, and how wide are they."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Sequence

from benchmarks.baselines.probes import SAMPLES
from benchmarks.baselines.stages import Finding, Subject
from benchmarks.baselines.zoo import ZOO
from benchmarks.options import Options, Suite
from benchmarks.probing import probe
from benchmarks.process import Program
from benchmarks.table import Cell, Row, largest, numbers

METHODS = ("IBP", "CROWN", "alpha")
OURS = (*METHODS, "real")
LIMIT = 60.0
SHOWN = (
    "operator", *OURS, *(f"peer {name}" for name in METHODS), *(f"ratio {name}" for name in METHODS),
    "problem", "peer problem",
)  # fmt: skip
NOTES = (
    "A module of a few layers around each operator, two boxes of radius 0.2. A number is the mean width of "
    "the output bounds in float32, and says that they are finite and contain the outputs of "
    f"{SAMPLES} samples of each box, half of them corners; `-` says that the method failed. `real` is CROWN "
    "in float64 with every rounding error accounted for. `alpha` optimises intermediate bounds too, on both "
    "sides. `ratio` is our width over the peer's, below 1 when ours is tighter.",
    "A problem is the first stage that failed, and the first line of its error. Each operator and side has "
    "a process of its own. The peer runs with its default options on the torch named above; auto_LiRPA 0.7.1 "
    "asks for a torch before 2.9.",
)


def _suite_rows(options: Options) -> Iterator[Row]:
    for name in options.pick(tuple(ZOO), options.nets, "operator"):
        yield _row(name, options)


def _row(name: str, options: Options) -> Row:
    row: dict[str, Cell] = dict.fromkeys(SHOWN)
    subject, limit = Subject(name, options.memory_gb, options.threads), options.limit or LIMIT
    row["operator"] = name
    row |= _cells("", OURS, probe(Program(sys.executable, "operators_ours"), subject, OURS, limit))
    if options.peer_python is not None:
        peer = Program(options.peer_python, "operators_auto_lirpa")
        row |= _cells("peer ", METHODS, probe(peer, subject, METHODS, limit))
    for method in METHODS:
        pair = numbers([row], method) + numbers([row], f"peer {method}")
        row[f"ratio {method}"] = pair[0] / pair[1] if len(pair) == 2 and pair[1] > 0 else None
    return row


def _cells(side: str, methods: Sequence[str], found: Sequence[Finding]) -> dict[str, Cell]:
    """Widths by column, and the first problem."""
    named = list(zip(("import", *methods), found, strict=False))
    cells: dict[str, Cell] = {f"{side}{name}": each.value for name, each in named[1:]}
    wrong = [f"{name}: {each.error}" for name, each in named if each.error is not None]
    return cells | {f"{side}problem": wrong[0] if wrong else None}


def _summary(rows: Sequence[Row]) -> str:
    """Who passes how many, by method and whole, and how widths compare where both pass."""
    sides = {"ours": ("", OURS), "peer": ("peer ", METHODS)}
    lines = []
    for who, (side, methods) in sides.items():
        if who == "ours" or any(_passes(row, side, methods[:1]) or row["peer problem"] for row in rows):
            whole = sum(_passes(row, side, METHODS) for row in rows)
            counts = [f"{name} {sum(_passes(row, side, (name,)) for row in rows)}" for name in methods]
            lines.append(f"{who} {whole} of {len(rows)} whole ({', '.join(counts)})")
    for method in METHODS:
        ratios = numbers(rows, f"ratio {method}")
        if ratios:
            middle = statistics.median(ratios)
            worst = largest(rows, f"ratio {method}", "operator")
            lines.append(f"{method} width ours/peer {middle:.3g} in the median, at most {worst}")
    missing = [str(row["operator"]) for row in rows if not _passes(row, "", OURS)]
    return f"Summary: {'; '.join(lines)}." + (f" Missing: {', '.join(missing)}." if missing else "")


def _passes(row: Row, side: str, methods: Sequence[str]) -> bool:
    return all(row[f"{side}{name}"] is not None for name in methods)


SUITE = Suite("Operators", NOTES, SHOWN, _suite_rows, (), _summary)
