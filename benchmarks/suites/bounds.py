"""``bounds.bound`` on recorded networks: how tight and how fast, beside auto_LiRPA (Xu et al. 2020).

Tightness is against the peer's recorded margins and, in the same run, against those it gives live; a ratio
of times is only ever of two programs that ran in turn.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.baselines.worker import Case, Margins
from benchmarks.measure import Program, Result, WorkerFailed, in_turn, paired_ratio
from benchmarks.options import BadRequest, Options, Suite
from benchmarks.table import Cell, Row
from bounds import METHODS

NAMES = ("IBP", "CROWN-IBP", "CROWN")
# Differences below this, relative to max(1, |margin|), are float32 noise of two orders of summation.
NOISE = 1e-4
SHOWN = (
    "net", "batch", "method", "dtype", "runs", "seconds", "peer s", "ours/peer s",
    "recorded s", "MB", "peer MB", "mean margin", "peer mean", "mean gain", "worst gain", "looser", "of",
    "problem",
)  # fmt: skip
COLUMNS = (*SHOWN, "worst relative gain", "live - recorded")
NOTES = (
    "Lower bounds of the margins y_label - y_j over recorded boxes. float32 is no proof (level `float`); "
    "float64 accounts for every rounding error (level `real`). The peer always computes in float32, lower "
    "bounds alone, with its default options. Our CROWN takes "
    f"{METHODS['crown'][-1].steps} gradient steps on the slopes of the margins' own rows, the peer's none.",
    "Seconds are medians over `runs` after one warm-up, of the bounding call alone; `ours/peer s` is the "
    "median over rounds in which the two ran in turn, below 1 when ours is faster. MB is the largest "
    "resident size of a process that does this one case, libraries included. A gain is our margin minus "
    "the peer's recorded one (live where none is recorded), above 0 when ours is tighter; `looser` counts "
    "gains below -1e-4 * max(1, |peer's margin|). `recorded s` are the peer's seconds of another time, for "
    "orientation. The CSV adds the largest difference between the peer's live and recorded margins.",
)


@dataclass(frozen=True)
class _Recorded:
    """The peer's figures of one case as they came with the network; None where it has none."""

    margins: Margins | None
    seconds: float | None


def _suite_rows(options: Options) -> Iterator[Row]:
    """One row per network, batch size, method and dtype."""
    folder = options.data / "bounds"
    known = tuple(sorted(path.stem for path in folder.glob("*.onnx")))
    if not known:
        raise BadRequest(f"{folder} has no networks; point --data at the folder that holds bounds/")
    nets = options.pick(known, options.nets, "network")
    methods = options.pick(NAMES, options.methods, "method")
    for net, batch, method in product(nets, options.batches, methods):
        yield from _rows(folder / f"{net}.onnx", batch, method, options)


def _rows(net: Path, batch: int, method: str, options: Options) -> Iterator[Row]:
    """Our rows of one case, timed in one rotation with the peer where its Python is given."""
    ours = Program(sys.executable, "ours")
    limits = (options.threads, options.memory_gb)
    cases = [Case(str(net), method, batch, dtype, *limits) for dtype in ("float32", "float64")]
    sides = [(ours, case) for case in cases]
    if options.peer_python is not None:
        sides.append((Program(options.peer_python, "auto_lirpa"), cases[0]))
    results = in_turn(sides, options.repeats)
    peer = results[2] if len(results) > 2 else None
    recorded = _recorded(net, batch, method)
    for case, result in zip(cases, results, strict=False):
        yield _row(case, result, peer, recorded)


def _row(
    case: Case, ours: Result | WorkerFailed, peer: Result | WorkerFailed | None, recorded: _Recorded
) -> dict[str, Cell]:
    row: dict[str, Cell] = dict.fromkeys(COLUMNS)
    row |= {"net": Path(case.net).stem, "batch": case.batch, "method": case.method, "dtype": case.dtype}
    row["recorded s"] = recorded.seconds
    pair = {"ours": ours, "peer": peer}
    failures = [f"{who}: {each.reason}" for who, each in pair.items() if isinstance(each, WorkerFailed)]
    row["problem"] = "; ".join(failures) or None
    reference = recorded.margins
    if isinstance(peer, Result):
        row |= {"peer s": peer.median, "peer MB": peer.peak_mb}
        if reference is None:
            reference = peer.margins
        else:
            row["live - recorded"] = float(np.abs(peer.margins - reference).max())
    if isinstance(ours, Result):
        row |= {"runs": len(ours.seconds), "seconds": ours.median, "MB": ours.peak_mb}
        row["mean margin"] = float(ours.margins.mean())
        if reference is not None:
            row |= _tightness(ours.margins, reference)
    if isinstance(ours, Result) and isinstance(peer, Result):
        row["ours/peer s"] = paired_ratio(ours, peer)
    return row


def _tightness(ours: Margins, peer: Margins) -> dict[str, Cell]:
    gain = ours - peer
    allowed = NOISE * np.maximum(1, np.abs(peer))
    return {
        "peer mean": float(peer.mean()),
        "mean gain": float(gain.mean()),
        "worst gain": float(gain.min()),
        "worst relative gain": float((gain / np.maximum(1, np.abs(peer))).min()),
        # So that NaN counts.
        "looser": int((~(gain >= -allowed)).sum()),
        "of": gain.size,
    }


def _recorded(net: Path, batch: int, method: str) -> _Recorded:
    with np.load(net.with_suffix(".npz")) as arrays:
        margins = arrays.get(f"{method}_b{batch}")
    with (net.parent / "peer.csv").open(newline="") as file:
        seconds = {
            (row["net"], row["batch"], row["method"]): float(row["seconds"]) for row in csv.DictReader(file)
        }
    return _Recorded(margins, seconds.get((net.stem, str(batch), method)))


SUITE = Suite("Bounds of recorded networks", NOTES, SHOWN, _suite_rows)
