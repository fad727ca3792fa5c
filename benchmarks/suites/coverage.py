"""Every network of the data folder: which ones import, and which ones get finite bounds."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.baselines.stages import Subject
from benchmarks.options import BadRequest, Options, Suite
from benchmarks.probing import probe
from benchmarks.process import Program
from benchmarks.table import Cell, Row, numbers

STAGES = ("import", "IBP", "CROWN")
LIMIT = 60.0
SHOWN = ("benchmark", "net", "nodes", "import s", "IBP s", "CROWN s", "missing")
COLUMNS = (*SHOWN, "IBP mean", "CROWN mean")
NOTES = (
    "Every distinct ONNX file: does `bounds.read_onnx` take it, and are interval bounds and CROWN's bounds "
    "of the rows of its first property over that property's first box finite, in float64 with every rounding "
    "error accounted for (level `real`)? A process of its own per network; `missing` is the first stage that "
    "failed, and the first line of its error. Seconds are of one run, with what libraries load on the way.",
)


@dataclass(frozen=True)
class _Net:
    """An ONNX file and, where it comes with one, a property file."""

    benchmark: str
    onnx: Path
    vnnlib: Path | None

    @property
    def name(self) -> str:
        """Without the endings."""
        return self.onnx.name.removesuffix(".gz").removesuffix(".onnx")


def _suite_rows(options: Options) -> Iterator[Row]:
    try:
        nets = tuple(_nets(options.data))
    except OSError as error:
        raise BadRequest(f"{error}; point --data at the folder of recorded data") from None
    asked = options.pick(tuple(dict.fromkeys(each.benchmark for each in nets)), options.nets, "benchmark")
    for net in nets:
        if net.benchmark in asked:
            yield _row(net, options)


def _nets(data: Path) -> Iterator[_Net]:
    """Each file once, with the first of its properties."""
    for folder in ("bounds", "attacks"):
        for path in sorted((data / folder).glob("*.onnx")):
            yield _Net(folder, path, None)
    folder, seen = data / "vnncomp", set()
    with (folder / "manifest.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["onnx"] not in seen:
                seen.add(row["onnx"])
                yield _Net(row["benchmark"], folder / row["onnx"], folder / row["vnnlib"])


def _row(net: _Net, options: Options) -> Row:
    subject = Subject(
        str(net.onnx), options.memory_gb, options.threads, "" if net.vnnlib is None else str(net.vnnlib)
    )
    found = probe(Program(sys.executable, "coverage"), subject, STAGES[1:], options.limit or LIMIT)
    row: dict[str, Cell] = dict.fromkeys(COLUMNS)
    row |= {"benchmark": net.benchmark, "net": net.name}
    for name, finding in zip(STAGES, found, strict=False):
        if finding.error is None:
            row[f"{name} s"] = finding.seconds
            row["nodes" if name == "import" else f"{name} mean"] = finding.value
        elif row["missing"] is None:
            row["missing"] = f"{name}: {finding.error}"
    return row


def _summary(rows: Sequence[Row]) -> str:
    """How many networks pass each stage, and which fail."""
    counts = [f"{name} {len(numbers(rows, f'{name} s'))} of {len(rows)}" for name in STAGES]
    missing = [f"- {row['benchmark']}/{row['net']}: {row['missing']}" for row in rows if row["missing"]]
    return "\n".join([f"Summary: {', '.join(counts)}." + (" Missing:\n" if missing else ""), *missing])


SUITE = Suite("Networks that import and get bounds", NOTES, SHOWN, _suite_rows, (), _summary)
