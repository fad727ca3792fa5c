"""Every attack on every certified sample: none may succeed inside the certified region."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import certify as ct
from benchmarks.options import BadRequest, Options, Suite
from benchmarks.table import Row
from certify.attacks import ATTACKS
from certify.deterministic import CROWN
from certify.empirical import attack
from certify.evidence import Decider
from certify.model import Model
from certify.query import Query
from certify.run import Run
from certify.threat import L1, L2, Budgeted, Linf
from certify.verdict import Verdict

SHOWN = ("net", "threat", "certified", "attacks", "attempts", "forwards", "contradictions")
NOTES = (
    "All samples of the recorded files that CROWN certifies at level real, each attacked inside its "
    "certified region by every attack that answers the threat, with its own settings; finds are replayed. "
    "`attempts`: samples times attacks. A contradiction ends the run with an error.",
    "Budgets: the recorded one, for 2 and 1 that of a ball as long as its diagonal, halved until any "
    "sample is certified.",
)


def _rows(options: Options) -> Iterator[Row]:
    torch.set_num_threads(options.threads)
    for path in options.recorded_nets():
        model, x, y, eps = _recorded(path)
        for threat, proved in _certified(model, x, y, eps):
            yield _row(path.stem, model, x[proved], y[proved], threat)


def _recorded(path: Path) -> tuple[Model, Tensor, Tensor, float]:
    """A network in pixels, its images and the budget."""
    with np.load(path.with_suffix(".npz")) as data:
        mean, std = (torch.from_numpy(data[key]).float().flatten().tolist() for key in ("mean", "std"))
        x = torch.from_numpy(data["x"]).float() * torch.from_numpy(data["std"]).float()
        x = (x + torch.from_numpy(data["mean"]).float()).clamp(0, 1)
        y, eps = torch.from_numpy(data["y"]), float(data["eps"])
    return ct.load(path, mean=mean, std=std), x, y, eps


def _certified(model: Model, x: Tensor, y: Tensor, eps: float) -> Iterator[tuple[Budgeted, Tensor]]:
    """Threats, with some samples that are certified under them."""
    side = math.sqrt(x[0].numel())
    for kind, largest in ((Linf, eps), (L2, eps * side), (L1, eps * side * side)):
        for threat in (kind(largest / 2**k) for k in range(8)):
            result = ct.evaluate(model, x, y, threat, [CROWN()])
            found = [s.sample for s in result.samples if s.verdict is Verdict.VERIFIED]
            if found:
                yield threat, torch.tensor(found)
                break


def _row(net: str, model: Model, x: Tensor, y: Tensor, threat: Budgeted) -> Row:
    query = Query(model, x, y, threat, tuple(range(len(x))))
    asked: list[Decider] = [kind() for kind in ATTACKS.values()]
    asked = [each for each in asked if each.supports(query) is None]
    done = attack(model, x, y, threat, asked, run=Run(batch_size=len(x)))
    broken = int(done.trials.found.sum())
    if broken:
        raise BadRequest(f"{net} under {threat!r}: {broken} attacks succeed inside a certified region")
    return {
        "net": net,
        "threat": repr(threat),
        "certified": len(x),
        "attacks": len(asked),
        "attempts": len(x) * len(asked),
        "forwards": int(done.trials.forwards.sum()),
        "contradictions": broken,
    }


SUITE = Suite("Attacks on certified samples", NOTES, SHOWN, _rows)
