"""Networks that fool floats, at every level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

import bounds
from benchmarks.deceptive import Deception, boundary, deceptions
from benchmarks.options import Options, Suite
from benchmarks.table import Cell, Row

LEVELS = ("float", "real", "deployed")
SHOWN = ("network", "how", "exact", "executed", "float32", "float64", *LEVELS, "wrong")
NOTES = (
    "One box and one property, `row > 0`, each; the networks and points are built after Jia & Rinard 2021, "
    "Zombori et al. 2021 and the ways in which floats go wrong. `exact`: the row at the point in rational "
    "arithmetic. `executed`: in a float32 execution. One of the two breaks the property. `float32`, "
    "`float64`: the better of interval analysis and CROWN in that arithmetic without account of rounding; a "
    "number > 0 says verified. `float`, `real`, `deployed`: the verdict of `bounds.verify`; at `real` it "
    "speaks of exact arithmetic, at `deployed` of every float32 execution.",
)
_SECONDS = 2.0


def _rows(options: Options) -> Iterator[Row]:
    cases = {case.name: case for case in (*deceptions(), *(boundary(seed) for seed in range(6)))}
    torch.set_num_threads(options.threads)
    for name in options.pick(tuple(cases), options.nets, "network"):
        yield _row(cases[name], options.limit or _SECONDS)


def _row(case: Deception, seconds: float) -> Row:
    exact, executed = float(case.exact()), case.executed()
    row: dict[str, Cell] = {"network": case.name, "how": case.how, "exact": exact, "executed": executed}
    for name, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        lower = [
            bounds.bound(case.graph, case.region, case.spec, m, dtype, "float").lower
            for m in ("ibp", "crown")
        ]
        row[name] = max(map(float, lower))
    for level in LEVELS:
        [found] = bounds.verify(case.graph, case.region, case.spec, level=level, timeout=seconds)
        row[level] = found.status.value
    lies = {"real": exact <= 0, "deployed": exact <= 0 or not executed > 0}
    lied = [level for level, lie in lies.items() if lie and row[level] == "verified"]
    return row | {"wrong": ", ".join(lied) or None}


def _summary(rows: Sequence[Row]) -> str:
    fooled = sum(float(row["float32"] or 0) > 0 or float(row["float64"] or 0) > 0 for row in rows)
    false = sum(float(row["exact"] or 0) <= 0 for row in rows)
    wrong = sum(row["wrong"] is not None for row in rows)
    return (
        f"{len(rows)} networks, {false} of them false in exact arithmetic. Bounds without account of "
        f"rounding say verified of {fooled}; levels `real` and `deployed` wrongly of {wrong}."
    )


SUITE = Suite("Networks that fool floats", NOTES, SHOWN, _rows, (), _summary)
