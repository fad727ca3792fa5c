"""How near the nearest failures are that attacks find, beside what other libraries' attacks found."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.options import Options, Suite
from benchmarks.suites.attacks import EPS, Record, read_record, recorded_case
from benchmarks.table import Row
from certify.attacks import ALMA, DDN, FMN, CarliniWagner, DeepFool, SuperDeepFool
from certify.attacks.minimal import DistanceAttack
from certify.empirical import distances
from certify.run import Run


@dataclass(frozen=True)
class _Method:
    """Attacks of which the nearest find counts, in a norm, and how the record's rows begin ("": none)."""

    attacks: tuple[DistanceAttack, ...]
    norm: float
    recorded: str


METHODS: Mapping[str, _Method] = {
    "DeepFool": _Method((DeepFool(),), 2, "DeepFool"),
    "SuperDeepFool": _Method((SuperDeepFool(),), 2, "SuperDeepFool"),
    "DDN-100": _Method((DDN(),), 2, "DDN-100"),
    "FMN-100": _Method((FMN(),), 2, "FMN-100"),
    "ALMA-100": _Method((ALMA(),), 2, "ALMA-100"),
    "C&W": _Method((CarliniWagner(),), 2, "C&W"),
    "the nearest of FMN, ALMA and C&W": _Method((FMN(), ALMA(), CarliniWagner()), 2, ""),
    "DeepFool, inf": _Method((DeepFool(),), math.inf, "DeepFool"),
    "FMN-100, inf": _Method((FMN(),), math.inf, "FMN-100"),
}
SHOWN = ("attack", "by", "mean", "median", "success", "seconds", "cpu s", "forwards", "backwards")
NOTES = (
    "CNN-A-Adv for CIFAR-10 and MNIST, the first 100 images of each recorded file in one batch; "
    "distances are of those images that the network gets right. `recorded` rows were measured by the "
    "libraries' own runs elsewhere, on one thread, so their seconds are not to be compared with ours; their "
    "means are of the images on which they succeeded.",
    "mean, median: of the distances, measured again in float64 at the replayed points, a failure counted as "
    "infinite. success: share of the images on which a failure was found. forwards, backwards: passes per "
    "image that is right.",
)


def _rows(options: Options) -> Iterator[Row]:
    folder = options.data / "attacks"
    recorded = read_record(folder)
    torch.set_num_threads(options.threads)
    for net in options.pick(tuple(EPS), options.nets, "network"):
        for name in options.pick(tuple(METHODS), options.methods, "method"):
            yield from _recorded_rows(net, name, recorded)
            yield _our_row(net, name, folder)


def _recorded_rows(net: str, name: str, recorded: Sequence[Record]) -> Iterator[Row]:
    method = METHODS[name]
    for each in recorded:
        same = (each["task"], each["kind"]) == (net, f"min_l{method.norm:g}")
        if not (same and method.recorded and str(each["attack"]).startswith(method.recorded)):
            continue
        yield {
            "net": net,
            "norm": f"{method.norm:g}",
            "attack": str(each["attack"]),
            "by": f"{each['lib']}, recorded",
            "mean": each["mean_norm"],
            "median": each["median_norm"],
            "success": each["success"],
            "seconds": each["seconds"],
            "cpu s": None,
            "forwards": each["fwd_per_sample"],
            "backwards": each["bwd_per_sample"],
        }


def _our_row(net: str, name: str, folder: Path) -> Row:
    method, (model, x, y) = METHODS[name], recorded_case(net, folder)
    wall, cpu = time.perf_counter(), time.process_time()
    found = distances(model, x, y, method.norm, method.attacks, run=Run(batch_size=len(x)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    tried = found.trials
    return {
        "net": net,
        "norm": f"{method.norm:g}",
        "attack": name,
        "by": "ours",
        "mean": found.mean(),
        "median": found.median(),
        "success": found.success_rate(),
        "seconds": wall,
        "cpu s": cpu,
        "forwards": float(tried.forwards[:, tried.right].sum(0).double().mean()),
        "backwards": float(tried.backwards[:, tried.right].sum(0).double().mean()),
    }


SUITE = Suite("The nearest failures beside other libraries'", NOTES, SHOWN, _rows, ("net", "norm"))
