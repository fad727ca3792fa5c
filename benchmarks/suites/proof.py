"""Proofs of public instances: found, checked, and what they cost beside the verdict alone."""

from __future__ import annotations

import csv
import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar
from unittest.mock import patch

import torch

import bounds
from benchmarks.options import BadRequest, Options, Suite
from benchmarks.table import Cell, Row, numbers, total
from bounds.proof import Proof, Refused, model_bytes
from bounds.proof.check import Checked, Checker, check
from bounds.proof.file import unpacked
from bounds.proving import prove
from bounds.proving.written import packed
from bounds.vnnlib import read_vnnlib

T = TypeVar("T")
LIMIT = 20.0
_ROUNDS = 5
_SHORT = 2.0  # seconds of a search that is repeated
SHOWN = (
    "benchmark", "net", "property", "read s", "float s", "real s", "prove s", "check s", "leaves",
    "passes", "bytes", "outcome",
)  # fmt: skip
NOTES = (
    "Instances whose property is known to hold. All times are seconds of the processor. `read s`: to read "
    "network and property. `float s`, `real s`: for the verdict alone, by `bounds.verify` at that level, "
    "after that. `prove s`: for a search whose leaves the checker's chain has accepted, from the network's "
    "bytes, without the check of the whole at its end. `check s`: for the checker, from the bytes of both "
    "files; the verdict alone takes `read s` and `real s`. `passes`: `check s` in CROWN passes per leaf: by "
    "the time of one, rows for neurons included, in float64 at level float, of `bounds.bound(..., 'crown')` "
    f"over the first box. Checks, passes and searches below {_SHORT:g} s: medians of {_ROUNDS} in turn, "
    "after one of each. `outcome`: proved, verified (but not proved in the time limit, 20 s unless the "
    "command says another), timeout (no verdict), or what the checker does not know. `--batch`: instances "
    "per benchmark at most, evenly spaced.",
)


def _rows(options: Options) -> Iterator[Row]:
    torch.set_num_threads(options.threads)
    importlib.import_module("bounds.search.integers")  # not in the time of the first search that needs it
    folder = options.data / "vnncomp"
    try:
        with (folder / "manifest.csv").open(newline="") as file:
            instances = [r for r in csv.DictReader(file) if r["expected"] == "unsat"]
    except OSError as error:
        raise BadRequest(f"{error}; point --data at the folder of recorded data") from None
    families = tuple(dict.fromkeys(r["benchmark"] for r in instances))
    asked = options.pick(families, options.nets, "benchmark")
    most = options.batches[0] if options.batches else len(instances)
    for name in asked:
        mine = [r for r in instances if r["benchmark"] == name]
        for r in mine[:: -(-len(mine) // most)]:
            yield _row(r["benchmark"], folder / r["onnx"], folder / r["vnnlib"], options.limit or LIMIT)


def _row(benchmark: str, network: Path, prop: Path, limit: float) -> Row:
    row: dict[str, Cell] = dict.fromkeys(SHOWN)
    row |= {"benchmark": benchmark, "net": _short(network), "property": _short(prop)}
    try:
        return row | _measured(network, prop, limit)
    except (Refused, bounds.BoundsError) as error:
        return row | {"outcome": str(error).splitlines()[0]}


def _measured(network: Path, prop: Path, limit: float) -> dict[str, Cell]:
    model = model_bytes(network)
    Checker(model, "real")  # refuses what it does not know
    reading, (graph, (flat, spec)) = _timed(lambda: (bounds.read_onnx(network), read_vnnlib(prop)))
    row: dict[str, Cell] = {"read s": reading}
    shape = (len(flat), *graph.input_shape)
    region = bounds.Box(flat.lower.view(shape), flat.upper.view(shape))
    for level in ("float", "real"):
        verdict = partial(bounds.verify, graph, region, spec, timeout=limit, level=level, joint=True)
        row[f"{level} s"], found = _timed(verdict)
    if {each.status for each in found} != {bounds.Status.VERIFIED}:
        return row | {"outcome": "timeout"}
    proof, finding = _found(graph, region, spec, model, limit)
    if proof is None:
        return row | {"prove s": finding, "outcome": "verified"}
    data, first = packed(proof), torch.tensor([0])
    one, rows = region[first], spec.expanded(len(region))[first]
    times: list[tuple[float, float, float]] = []
    for _ in range(1 + _ROUNDS):
        again = _found(graph, region, spec, model, limit)[1] if finding < _SHORT else finding
        checking, checked = _timed(lambda: check(unpacked(data), model))
        passing, _ = _timed(lambda: bounds.bound(graph, one, rows, "crown", torch.float64, "float"))
        times.append((again, checking, passing))
    finding, checking, passing = map(median, zip(*times[1:], strict=True))
    row |= {"prove s": finding, "check s": checking, "passes": checking / (checked.leaves * passing)}
    return row | {"leaves": checked.leaves, "bytes": len(data), "outcome": "proved"}


def _timed(call: Callable[[], T]) -> tuple[float, T]:
    """Seconds of the processor for a call, and what it gives."""
    began = time.process_time()
    made = call()
    return time.process_time() - began, made


def _found(
    graph: bounds.Graph, region: bounds.Box, spec: bounds.Spec, model: bytes, limit: float
) -> tuple[Proof | None, float]:
    """A proof, and the seconds of the processor for it without the check of the whole."""
    checks, accept = list[float](), Checker.accept

    def apart(self: Checker, proof: Proof) -> Checked:
        seconds, checked = _timed(lambda: accept(self, proof))
        checks.append(seconds)
        return checked

    with patch.object(Checker, "accept", apart):
        spent, attempted = _timed(lambda: prove(graph, region, spec, model, timeout=limit))
    return attempted.proof, spent - sum(checks)


def _short(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".onnx").removesuffix(".vnnlib")


def _summary(rows: Sequence[Row]) -> str:
    proved = [row for row in rows if row["outcome"] == "proved"]
    verified = len(proved) + sum(row["outcome"] == "verified" for row in rows)
    line = f"{len(rows)} instances: {len(proved)} proved of {verified} verified."
    if not proved:
        return line
    every = ("read", "float", "real", "prove", "check")
    sums = {name: sum(numbers(proved, f"{name} s")) for name in every}
    return (
        f"{line} Of those proved: {sums['read']:.1f} s to read, "
        f"{sums['float']:.1f} s at level float, {sums['real']:.1f} s at level real, "
        f"{sums['prove']:.1f} s to find proofs, {sums['check']:.1f} s to check them, at most "
        f"{max(numbers(proved, 'passes')):.2f} passes per leaf; "
        f"{total(proved, 'leaves')} leaves, {total(proved, 'bytes')} bytes, at most "
        f"{max(numbers(proved, 'bytes')):.0f} for one."
    )


SUITE = Suite(
    "Proofs of public instances",
    NOTES,
    SHOWN,
    _rows,
    ("benchmark",),
    _summary,
    key=("benchmark", "net", "property"),
)
