"""What a curve over eps costs when each answer spares others, beside as many separate evaluations."""

from __future__ import annotations

import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.options import Options, Suite
from benchmarks.table import Row
from certify.budgets import Resolved
from certify.config import parse_config
from certify.demo import CONFIG
from certify.job import fill, prepare
from certify.ledger import Ledger
from certify.monotone import is_asked
from certify.rows import VerdictRow
from certify.verdict import Verdict

SHOWN = (
    "net",
    "points",
    "resolution",
    "samples",
    "questions",
    "asked",
    "asked %",
    "CPU s",
    "separate CPU s",
    "ratio",
    "undecided",
    "separate undecided",
)
NOTES = (
    "PGD (40 steps, 2 restarts) and CROWN on the first samples, at evenly spaced eps (Linf). A question is a "
    "sample at an eps; `asked` are those put to the methods, the others follow from verdicts at other eps: "
    "verified at an eps is verified at every smaller one, a counterexample counts wherever its region holds "
    "it.",
    "Rows with a resolution bisect for each sample: what is open at two eps counts as open between, so that "
    "each of the two ends of what is open costs some log2(points) questions. Separate evaluations of so many "
    "eps would take minutes and are left out.",
    "`separate CPU s`: one evaluation per eps. `undecided`: the questions left open in each way. In a small "
    "network a batch of few samples takes as long as one of many, so that time is spared only where samples "
    "cost something.",
)


@dataclass(frozen=True)
class _Case:
    """A network and how much is asked about it; paths of the demo where ``net`` is "demo"."""

    net: str
    samples: int
    largest: float
    points: tuple[int, ...] = ()
    resolutions: tuple[float, ...] = ()

    def config(self, data: Path) -> dict[str, Any]:
        table: dict[str, Any] = tomllib.loads(CONFIG.read_text(encoding="utf-8"))
        del table["smoothing"]
        if self.net != "demo":
            paths = {kind: str(data / "attacks" / f"{self.net}.{kind}") for kind in ("onnx", "npz")}
            table["model"]["path"], table["data"]["path"] = paths["onnx"], paths["npz"]
        table["data"]["limit"] = self.samples
        return table


CASES = (
    _Case("demo", 60, 0.15, (5, 10, 20), (0.005, 0.001)),
    _Case("cifar_cnn_a_adv", 48, 0.01, (10,), (0.001, 0.0001)),
)


def _suite_rows(options: Options) -> Iterator[Row]:
    names = options.pick(tuple(case.net for case in CASES), options.nets, "network")
    for case in CASES:
        if case.net in names:
            yield from (_row(case, points, options.data) for points in case.points)
            yield from (_bisected(case, resolution, options.data) for resolution in case.resolutions)


def _row(case: _Case, points: int, data: Path) -> Row:
    budgets = [case.largest * (k + 1) / points for k in range(points)]
    _run(case, budgets[:1], data)  # loads what is loaded once
    rows, seconds = _run(case, budgets, data)
    alone = [_run(case, [eps], data) for eps in budgets]
    separate = sum(spent for _, spent in alone)
    asked = sum(map(is_asked, rows))
    return {
        "net": case.net,
        "points": points,
        "resolution": None,
        "samples": case.samples,
        "questions": len(rows),
        "asked": asked,
        "asked %": round(100 * asked / len(rows), 1),
        "CPU s": round(seconds, 2),
        "separate CPU s": round(separate, 2),
        "ratio": round(seconds / separate, 3),
        "undecided": _undecided(rows),
        "separate undecided": sum(_undecided(found) for found, _ in alone),
    }


def _bisected(case: _Case, resolution: float, data: Path) -> Row:
    budgets = Resolved(0.0, case.largest, resolution).listed()
    _run(case, budgets[-1:], data)
    rows, seconds = _run(case, budgets, data, resolution)
    asked = sum(map(is_asked, rows))
    return {
        "net": case.net,
        "points": len(budgets),
        "resolution": resolution,
        "samples": case.samples,
        "questions": len(rows),
        "asked": asked,
        "asked %": round(100 * asked / len(rows), 1),
        "CPU s": round(seconds, 2),
        "separate CPU s": None,
        "ratio": None,
        "undecided": _undecided(rows),
        "separate undecided": None,
    }


def _run(
    case: _Case, budgets: Sequence[float], data: Path, resolution: float | None = None
) -> tuple[list[VerdictRow], float]:
    """The verdicts of a run of its own, and the CPU time that it takes once all is loaded."""
    table = case.config(data)
    table["threat"]["eps"] = list(budgets)
    if resolution is not None:
        table["threat"]["resolution"] = resolution
    job = prepare(parse_config(table, CONFIG.parent))
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        fill(job, Path(folder), lambda *_: None)
        spent = time.process_time() - start
        with Ledger.read(Path(folder)) as ledger:
            return ledger.verdicts(), spent


def _undecided(rows: Sequence[VerdictRow]) -> int:
    return sum(row.verdict in (Verdict.UNKNOWN, Verdict.ERROR) for row in rows)


SUITE = Suite("A curve over eps beside separate evaluations", NOTES, SHOWN, _suite_rows)
