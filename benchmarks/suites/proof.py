"""Proofs of public instances: found, checked, and what they cost beside the verdict alone."""

from __future__ import annotations

import csv
import importlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
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

LIMIT = 20.0
SHOWN = (
    "benchmark", "net", "property", "read s", "float s", "real s", "prove s", "check s", "leaves",
    "passes", "bytes", "outcome",
)  # fmt: skip
NOTES = (
    "Instances whose property is known to hold. All times are seconds of the processor. `read s`: to read "
    "network and property. `float s`, `real s`: for the verdict alone, by `bounds.verify` at that level, "
    "after that. `prove s`: for a search whose leaves the checker's chain has accepted, from the network's "
    "bytes, without the check of the whole at its end. `check s`: for the checker, from the bytes of both "
    "files, the median of three; the verdict alone takes `read s` and `real s`. `passes`: `check s` in CROWN "
    "passes per leaf: over the time of one, rows for neurons included, in float64 at level float, of "
    "`bounds.bound(..., 'crown')` over "
    "the first box, the median of five. `outcome`: proved, verified (but not proved in the time limit, 20 s "
    "unless the command says another), timeout (no verdict), or what the checker does not know. `--batch`: "
    "instances per benchmark at most, evenly spaced.",
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


def _measured(network: Path, prop: Path, limit: float) -> Row:
    model = model_bytes(network)
    Checker(model, "real")  # refuses what it does not know
    began = time.process_time()
    graph = bounds.read_onnx(network)
    flat, spec = read_vnnlib(prop)
    row: dict[str, Cell] = {"read s": time.process_time() - began}
    shape = (len(flat), *graph.input_shape)
    region = bounds.Box(flat.lower.view(shape), flat.upper.view(shape))
    for level in ("float", "real"):
        began = time.process_time()
        found = bounds.verify(graph, region, spec, timeout=limit, level=level, joint=True)
        row[f"{level} s"] = time.process_time() - began
    if {each.status for each in found} != {bounds.Status.VERIFIED}:
        return row | {"outcome": "timeout"}
    began = time.process_time()
    with _accepting() as seconds:
        attempted = prove(graph, region, spec, model, timeout=limit)
    spent = time.process_time() - began - sum(seconds)
    if attempted.proof is None:
        return row | {"prove s": spent, "outcome": "verified"}
    data, times = packed(attempted.proof), list[float]()
    for _ in range(3):
        began = time.process_time()
        checked = check(unpacked(data), model)
        times.append(time.process_time() - began)
    checking = median(times)
    row |= {"prove s": spent, "check s": checking}
    row["passes"] = checking / (checked.leaves * _one_pass(graph, region, spec))
    return row | {"leaves": checked.leaves, "bytes": len(data), "outcome": "proved"}


@contextmanager
def _accepting() -> Iterator[list[float]]:
    """Seconds of the processor that checks of whole proofs take meanwhile."""
    seconds, accept = list[float](), Checker.accept

    def timed(self: Checker, proof: Proof) -> Checked:
        began = time.process_time()
        try:
            return accept(self, proof)
        finally:
            seconds.append(time.process_time() - began)

    with patch.object(Checker, "accept", timed):
        yield seconds


def _one_pass(graph: bounds.Graph, region: bounds.Box, spec: bounds.Spec) -> float:
    """Seconds of the processor for CROWN on the first box of a region."""
    first = torch.tensor([0])
    one, rows = region[first], spec.expanded(len(region))[first]
    seconds = []
    for _ in range(6):
        began = time.process_time()
        bounds.bound(graph, one, rows, "crown", torch.float64, "float")
        seconds.append(time.process_time() - began)
    return median(seconds[1:])


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


SUITE = Suite("Proofs of public instances", NOTES, SHOWN, _rows, ("benchmark",), _summary)
