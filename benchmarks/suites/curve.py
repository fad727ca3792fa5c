"""What a curve over eps costs when each answer spares others, beside as many separate evaluations."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.options import Options, Suite
from benchmarks.table import Row
from certify.config import Config, parse_config
from certify.demo import CONFIG
from certify.job import fill, prepare
from certify.ledger import Ledger
from certify.rows import VerdictRow
from certify.verdict import Verdict

POINTS = (5, 10, 20)
SAMPLES = 60
LARGEST = 0.15
SHOWN = ("points", "samples", "questions", "asked", "asked %", "seconds", "separate s", "ratio", "undecided",
         "separate undecided")  # fmt: skip
NOTES = (
    f"The network and the first {SAMPLES} images of `certify demo`, PGD (40 steps, 2 restarts) and CROWN, "
    f"evenly spaced eps up to {LARGEST} (Linf). A question is a sample at an eps; `asked` are those put to "
    "the methods, the others follow from verdicts at other eps: verified at an eps is verified at every "
    "smaller one, a counterexample counts wherever its region holds it.",
    "`separate s` is the time of one evaluation per eps; `undecided` the questions left open in each way.",
)


def _suite_rows(options: Options) -> Iterator[Row]:
    for points in POINTS:
        budgets = [LARGEST * (k + 1) / points for k in range(points)]
        rows, seconds = _run(budgets)
        alone = [_run([eps]) for eps in budgets]
        separate = sum(time for _, time in alone)
        asked = sum("from_eps" not in (row.detail or {}) for row in rows)
        yield {
            "points": points,
            "samples": SAMPLES,
            "questions": len(rows),
            "asked": asked,
            "asked %": round(100 * asked / len(rows), 1),
            "seconds": round(seconds, 2),
            "separate s": round(separate, 2),
            "ratio": round(seconds / separate, 3),
            "undecided": _undecided(rows),
            "separate undecided": sum(_undecided(found) for found, _ in alone),
        }


def _run(budgets: Sequence[float]) -> tuple[list[VerdictRow], float]:
    """The verdicts of a run of its own, and its computing time."""
    with tempfile.TemporaryDirectory() as folder:
        fill(prepare(_config(budgets)), Path(folder), lambda *_: None)
        with Ledger.read(Path(folder)) as ledger:
            return ledger.verdicts(), sum(ledger.seconds().values())


def _config(budgets: Sequence[float]) -> Config:
    table: dict[str, Any] = tomllib.loads(CONFIG.read_text(encoding="utf-8"))
    del table["smoothing"]
    table["threat"]["eps"] = list(budgets)
    table["data"]["limit"] = SAMPLES
    return parse_config(table, CONFIG.parent)


def _undecided(rows: Sequence[VerdictRow]) -> int:
    return sum(row.verdict in (Verdict.UNKNOWN, Verdict.ERROR) for row in rows)


SUITE = Suite("A curve over eps beside separate evaluations", NOTES, SHOWN, _suite_rows)
