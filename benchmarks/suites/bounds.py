"""``bounds.bound`` on recorded networks: time, memory and tightness beside auto_LiRPA (Xu et al. 2020).

Tightness is against the margins that the peer gives in the same run, or else against its recorded ones; a
ratio of times is only ever of two programs that ran in turn.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.baselines.worker import Case, Margins
from benchmarks.measure import Result, in_turn, paired_ratio
from benchmarks.options import Options, Suite
from benchmarks.process import Program, WorkerFailed
from benchmarks.table import Cell, Row, largest, numbers, total

NAMES = ("IBP", "CROWN-IBP", "CROWN", "alpha", "alpha-full")
BATCHES = (1, 32)
LIMIT = 600.0
# What two orders of summation in float32 may differ by, relative to the size of what is summed.
NOISE = 1e-5
# Below it, what grows is the code that a first call brings into memory.
LEAST_MB = 16.0
SHOWN = (
    "net", "batch", "method", "dtype", "seconds", "peer s", "ours/peer s", "MB", "peer MB", "ours/peer MB",
    "mean margin", "peer mean", "mean gain", "worst gain", "looser", "tighter", "of",
    "verified", "peer verified", "samples", "problem",
)  # fmt: skip
COLUMNS = (*SHOWN, "runs", "worst relative gain", "recorded s", "live - recorded")
NOTES = (
    "Lower bounds of the margins y_label - y_j over recorded boxes. float32 is no proof (level `float`); "
    "float64 accounts for every rounding error (level `real`). The peer always computes in float32, lower "
    "bounds alone, with its default options and weights that ask for no gradient. `CROWN` of ours adds one "
    "step on the slopes of the margins' own rows where a sample is not proved without. `alpha` optimises the "
    "slopes of the margins' own rows in 20 steps and keeps CROWN's intermediate bounds, on both sides; "
    "`alpha-full` optimises intermediate bounds too, the peer by its default (20 steps on everything).",
    "Seconds are medians over the timed runs after one warm-up, of the bounding call alone (calls shorter "
    "than 0.05 s repeated); `ours/peer s` is the median over rounds in which the two ran in turn, below 1 "
    "when ours is faster. MB is what the first bounding call of a fresh process adds at its peak: libraries, "
    "network and one plain evaluation, resident before, are subtracted on both sides; its ratio is left out "
    f"where both add less than {LEAST_MB:.0f} MB.",
    "A gain is our margin minus the peer's live one (recorded where none is live), above 0 when ours is "
    f"tighter; `looser` and `tighter` count gains beyond {NOISE} times the larger of the sample's largest "
    "logit and the peer's margin. Verified are samples whose margins are all > 0. The CSV adds the number of "
    "runs, the peer's recorded seconds of another time, and how far its live margins are from the recorded.",
)


@dataclass(frozen=True)
class _Recorded:
    """The peer's figures of one case as they came with the network, None where it has none; the logits."""

    margins: Margins | None
    seconds: float | None
    logits: npt.NDArray[np.floating]


def _suite_rows(options: Options) -> Iterator[Row]:
    """One row per method, batch size, network and dtype."""
    nets = options.recorded_nets()
    methods = options.pick(NAMES, options.methods, "method")
    for method, batch, net in product(methods, options.batches or BATCHES, nets):
        yield from _rows(net, batch, method, options)


def _rows(net: Path, batch: int, method: str, options: Options) -> Iterator[Row]:
    """Our rows of one case, timed in one rotation with the peer where its Python is given."""
    ours = Program(sys.executable, "ours")
    limits = (options.threads, options.memory_gb)
    cases = [Case(str(net), method, batch, dtype, *limits) for dtype in options.dtypes]
    sides = [(ours, case) for case in cases]
    if options.peer_python is not None:
        case = Case(str(net), method, batch, "float32", *limits)
        sides.append((Program(options.peer_python, "auto_lirpa"), case))
    results = in_turn(sides, options.repeats, options.limit or LIMIT)
    peer = results[len(cases)] if len(results) > len(cases) else None
    recorded = _recorded(net, batch, method)
    for case, result in zip(cases, results, strict=False):
        yield _row(case, result, peer, recorded)


def _row(
    case: Case, ours: Result | WorkerFailed, peer: Result | WorkerFailed | None, recorded: _Recorded
) -> dict[str, Cell]:
    row: dict[str, Cell] = dict.fromkeys(COLUMNS)
    row |= {"net": Path(case.net).stem, "batch": case.batch, "method": case.method, "dtype": case.dtype}
    row |= {"recorded s": recorded.seconds, "samples": case.batch}
    pair = {"ours": ours, "peer": peer}
    failures = [f"{who}: {each.reason}" for who, each in pair.items() if isinstance(each, WorkerFailed)]
    row["problem"] = "; ".join(failures) or None
    reference = recorded.margins
    if isinstance(peer, Result):
        row |= {"peer s": peer.median, "peer MB": peer.grown_mb}
        if reference is not None:
            row["live - recorded"] = float(np.abs(peer.margins - reference).max())
        reference = peer.margins
    if isinstance(ours, Result):
        row |= {"runs": len(ours.seconds), "seconds": ours.median, "MB": ours.grown_mb}
        row |= {"mean margin": float(ours.margins.mean()), "verified": _verified(ours.margins)}
        if reference is not None:
            row |= _tightness(ours.margins, reference, recorded.logits)
    if isinstance(ours, Result) and isinstance(peer, Result):
        row["ours/peer s"] = paired_ratio(ours, peer)
        if max(ours.grown_mb, peer.grown_mb) >= LEAST_MB:
            row["ours/peer MB"] = ours.grown_mb / peer.grown_mb
    return row


def _tightness(ours: Margins, peer: Margins, logits: npt.NDArray[np.floating]) -> dict[str, Cell]:
    """logits: (batch, classes), of the samples themselves; they give what an error is relative to."""
    gain = ours - peer
    scale = np.maximum(np.abs(peer), np.abs(logits).max(axis=1, keepdims=True))
    return {
        "peer mean": float(peer.mean()),
        "peer verified": _verified(peer),
        "mean gain": float(gain.mean()),
        "worst gain": float(gain.min()),
        "worst relative gain": float((gain / scale).min()),
        # So that NaN counts.
        "looser": int((~(gain >= -NOISE * scale)).sum()),
        "tighter": int((gain > NOISE * scale).sum()),
        "of": gain.size,
    }


def _verified(margins: Margins) -> int:
    return int((margins > 0).all(axis=1).sum())


def _recorded(net: Path, batch: int, method: str) -> _Recorded:
    with np.load(net.with_suffix(".npz")) as arrays:
        margins = arrays.get(f"{method}_b{batch}")
        logits = arrays["logits"][np.arange(batch) % len(arrays["logits"])]
    with (net.parent / "peer.csv").open(newline="") as file:
        seconds = {
            (row["net"], row["batch"], row["method"]): float(row["seconds"]) for row in csv.DictReader(file)
        }
    return _Recorded(margins, seconds.get((net.stem, str(batch), method)), logits)


def _summary(rows: Sequence[Row]) -> str:
    """One group's rows in a line: the worst ratios, where ours is tighter in the mean, margins looser."""
    compared = [row for row in rows if row["of"] is not None]
    tighter = sum(1 for row in compared if row["tighter"] and numbers([row], "mean gain")[0] > 0)
    parts = [
        f"time ours/peer at most {largest(rows, 'ours/peer s', 'net')}",
        f"memory at most {largest(rows, 'ours/peer MB', 'net')}",
        f"tighter in the mean on {tighter} of {len(compared)} nets",
        f"{total(rows, 'looser')} of {total(rows, 'of')} margins looser, {total(rows, 'tighter')} tighter",
        f"verified {total(compared, 'verified')} of {total(compared, 'samples')}, "
        f"the peer {total(compared, 'peer verified')}",
    ]
    return f"Summary: {'; '.join(parts)}."


SUITE = Suite(
    "Bounds of recorded networks", NOTES, SHOWN, _suite_rows, ("method", "batch", "dtype"), _summary
)
