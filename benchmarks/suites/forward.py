"""What a bound costs beside what it bounds: intervals beside a plain forward pass, proofs beside floats."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.baselines.worker import Case
from benchmarks.measure import Result, in_turn, paired_ratio
from benchmarks.options import Options, Suite
from benchmarks.process import Program, WorkerFailed
from benchmarks.table import Cell, Row, largest

BATCHES = (1, 32, 128)
LIMIT = 120.0
SHOWN = ("comparison", "batch", "net", "base s", "seconds", "ratio", "base MB", "MB", "problem")
COLUMNS = (*SHOWN, "runs")
NOTES = (
    "`IBP / forward`: interval bounds of the outputs over the recorded boxes beside the network evaluated at "
    "their centres, both in float32, same batch (beyond 32 the recorded samples repeat). `IBP real / float` "
    "and `CROWN real / float`: margins in float64 with every rounding error accounted for (level `real`), "
    "beside the same in float64 without (level `float`).",
    "Seconds are medians over the timed runs after one warm-up (calls shorter than 0.05 s repeated), `ratio` "
    "is the median over rounds in which the two ran in turn. MB is what the first call of a fresh process "
    "adds at its peak.",
)


@dataclass(frozen=True)
class _Side:
    """A method in a dtype, with what it is to claim."""

    method: str
    dtype: str
    level: str | None = None


@dataclass(frozen=True)
class _Comparison:
    """The ratio of two sides' times, at batches up to ``largest``."""

    name: str
    base: _Side
    side: _Side
    largest: int = 10**6


COMPARISONS = (
    _Comparison("IBP / forward", _Side("forward", "float32"), _Side("IBP of outputs", "float32")),
    _Comparison("IBP real / float", _Side("IBP", "float64", "float"), _Side("IBP", "float64", "real")),
    # A larger batch says nothing new here and takes minutes.
    _Comparison(
        "CROWN real / float", _Side("CROWN", "float64", "float"), _Side("CROWN", "float64", "real"), 32
    ),
)


def _suite_rows(options: Options) -> Iterator[Row]:
    nets = options.recorded_nets()
    names = options.pick(tuple(each.name for each in COMPARISONS), options.methods, "comparison")
    for comparison in COMPARISONS:
        for batch in options.batches or BATCHES:
            if comparison.name in names and batch <= comparison.largest:
                yield from (_row(net, batch, comparison, options) for net in nets)


def _row(net: Path, batch: int, comparison: _Comparison, options: Options) -> Row:
    ours = Program(sys.executable, "ours")
    sides = [
        (ours, Case(str(net), each.method, batch, each.dtype, options.threads, options.memory_gb, each.level))
        for each in (comparison.base, comparison.side)
    ]
    base, side = in_turn(sides, options.repeats, options.limit or LIMIT)
    row: dict[str, Cell] = dict.fromkeys(COLUMNS)
    row |= {"comparison": comparison.name, "batch": batch, "net": net.stem}
    failures = [each.reason for each in (base, side) if isinstance(each, WorkerFailed)]
    row["problem"] = "; ".join(failures) or None
    if isinstance(base, Result):
        row |= {"base s": base.median, "base MB": base.grown_mb, "runs": len(base.seconds)}
    if isinstance(side, Result):
        row |= {"seconds": side.median, "MB": side.grown_mb}
    if isinstance(base, Result) and isinstance(side, Result):
        row["ratio"] = paired_ratio(side, base)
    return row


def _summary(rows: Sequence[Row]) -> str:
    return f"Summary: ratio at most {largest(rows, 'ratio', 'net')}."


SUITE = Suite("Bounds beside forward passes", NOTES, SHOWN, _suite_rows, ("comparison", "batch"), _summary)
