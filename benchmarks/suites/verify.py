"""``certify verify`` beside a recorded run of a competition's winner, on the same instances."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.options import BadRequest, Options, Suite
from benchmarks.process import ROOT
from benchmarks.table import Cell, Row

LIMIT = 60.0
SHOWN = ("benchmark", "net", "property", "known", "verdict", "s", "cpu s", "peer", "peer s", "wrong")
NOTES = (
    "One process per instance: start-up, loading, attack, proof. `known`: the verdict of the competitions' "
    "reliable tools, sat replayed. `peer`: alpha-beta-CROWN as recorded on two cores, its attack and "
    "configuration per benchmark included; `certify verify` has one setting. `s`: wall-clock seconds, "
    "`cpu s`: of the processor. Verdicts are at level `real`. A time limit of 60 s, unless the command says "
    "another. PAR-2 counts an instance without a verdict as twice the limit. `--resume` goes on with an "
    "earlier table.",
)
_COMMAND = "import sys; from certify.cli import main; sys.exit(main(sys.argv[1:]))"
_SOLVED = ("sat", "unsat")


@dataclass(frozen=True)
class _Instance:
    """A recorded run: names of the files, the known verdict, and what the peer did with it."""

    benchmark: str
    onnx: str
    vnnlib: str
    known: str
    peer: str
    peer_seconds: float


def _rows(options: Options) -> Iterator[Row]:
    instances = tuple(_instances(options.data))
    families = tuple(dict.fromkeys(each.benchmark for each in instances))
    asked = options.pick(families, options.nets, "benchmark")
    limit = options.limit or LIMIT
    done = {(row["benchmark"], row["net"], row["property"]): row for row in options.done}
    for each in sorted(instances, key=lambda i: families.index(i.benchmark)):
        if each.benchmark in asked:
            names = each.benchmark, _short(each.onnx), _short(each.vnnlib)
            yield done.get(names) or _row(each, options, limit)


def _instances(data: Path) -> Iterator[_Instance]:
    """Every recorded run; the known verdicts are those of the manifest."""
    try:
        with (data / "vnncomp" / "manifest.csv").open(newline="") as file:
            known = {(r["onnx"], r["vnnlib"]): r["expected"] for r in csv.DictReader(file)}
        recorded: list[dict[str, Any]] = json.loads((data / "verify" / "abcrown_2cores.json").read_text())
    except OSError as error:
        raise BadRequest(f"{error}; point --data at the folder of recorded data") from None
    for r in recorded:
        files = r["onnx"], r["vnnlib"]
        yield _Instance(r["benchmark"], *files, known[files], r["verdict"], r["wall"])


def _row(each: _Instance, options: Options, limit: float) -> Row:
    folder = options.data / "vnncomp"
    command = [sys.executable, "-c", _COMMAND, "verify", str(folder / each.onnx), str(folder / each.vnnlib)]
    began, spent = time.monotonic(), _children()
    done = subprocess.run(
        [*command, "--timeout", str(limit)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": str(options.threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines() or [f"error: {(done.stderr.strip().splitlines() or [''])[-1]}"]
    wrong = {"sat": "unsat", "unsat": "sat"}.get(lines[0]) == each.known
    row: dict[str, Cell] = {
        "benchmark": each.benchmark,
        "net": _short(each.onnx),
        "property": _short(each.vnnlib),
        "known": each.known,
        "verdict": lines[0],
        "s": time.monotonic() - began,
        "cpu s": _children() - spent,
        "peer": each.peer,
        "peer s": each.peer_seconds,
        "wrong": "WRONG" if wrong else None,
        "limit": limit,
    }
    return row


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _short(path: str) -> str:
    """A file's name without its endings."""
    return Path(path).name.removesuffix(".gz").removesuffix(".onnx").removesuffix(".vnnlib")


def _summary(rows: Sequence[Row]) -> str:
    """Solved counts, PAR-2, and total times where both have a verdict."""
    both = [r for r in rows if r["verdict"] in _SOLVED and r["peer"] in _SOLVED]
    mine, theirs = (sum(float(r[name] or 0) for r in both) for name in ("s", "peer s"))
    share = f"{mine / theirs:.2f}" if theirs else "-"
    return (
        f"Solved {_solved(rows, 'verdict')} of {len(rows)}, the peer {_solved(rows, 'peer')}; wrong "
        f"{sum(r['wrong'] is not None for r in rows)}. PAR-2 {_par2(rows, 'verdict', 's'):.1f} s, the peer "
        f"{_par2(rows, 'peer', 'peer s'):.1f} s. Where both have a verdict: {mine:.1f} s to {theirs:.1f} s, "
        f"a share of {share}."
    )


def _solved(rows: Sequence[Row], column: str) -> int:
    return sum(r[column] in _SOLVED for r in rows)


def _par2(rows: Sequence[Mapping[str, Cell]], verdict: str, seconds: str) -> float:
    times = [float(r[seconds] or 0) if r[verdict] in _SOLVED else 2 * float(r["limit"] or 0) for r in rows]
    return sum(times) / len(times)


SUITE = Suite(
    "Verification beside a competition's winner", NOTES, SHOWN, _rows, ("benchmark",), _summary, overall=True
)
