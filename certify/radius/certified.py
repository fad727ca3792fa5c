"""Certified radii: what is asked, and what is told."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.rounding import Level
from certify.attacks import FMN
from certify.attacks.minimal import DistanceAttack
from certify.decide import check_deciders, queries
from certify.deterministic.bounding import supports
from certify.errors import UsageError
from certify.model import Model
from certify.query import check_samples
from certify.radius.bracket import Bracket
from certify.radius.search import Ball, Search
from certify.run import Run
from certify.threat import L1, L2, Linf

_DEFAULT_RUN = Run()
_ATTACKS = (FMN(),)


@dataclass(frozen=True, eq=False)
class CertifiedRadii:
    """Per sample a radius that is proved and one at which the decision fails; its print is a table.

    The distance d of the nearest failure is between them: lower <= d <= upper. lower: (n,) float64, at
    ``level``: no input within that distance changes the decision. upper: (n,) float64, the distance of
    ``points``, replayed failures; inf, and the sample itself, where none is known within ``threat.eps``,
    beyond which nobody looked. Both are 0 where the model is wrong already. tolerance: the search of a sample
    ends where lower >= (1 - tolerance) * upper, or lower is ``threat.eps``. seconds: of the whole call.
    """

    model: str
    digest: str
    threat: Ball
    level: Level
    tolerance: float
    samples: tuple[int, ...]
    right: Tensor
    lower: Tensor
    upper: Tensor
    points: Tensor
    seconds: float

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def settled(self) -> Tensor:
        """Samples whose search ended by the tolerance, not by the time; (n,) booleans."""
        return self.lower >= (1 - self.tolerance) * self.upper.clamp(max=self.threat.eps)

    def __str__(self) -> str:
        lines = [
            f"{self.model}, {self.threat!r}, level {self.level.value}, tolerance {self.tolerance:g}: "
            f"{int(self.settled.sum())} of {len(self)} samples settled",
            "sample   certified      failure",
        ]
        rows = zip(self.samples, self.lower.tolist(), self.upper.tolist(), strict=True)
        return "\n".join(lines + [f"{s:6d} {low:11.6g} {high:12.6g}" for s, low, high in rows])


def certified_radius(
    model: Model,
    x: Tensor,
    threat: Ball,
    *,
    y: Tensor | None = None,
    seconds: float = 10.0,
    tolerance: float = 0.01,
    level: Level = Level.REAL,
    attacks: Sequence[DistanceAttack] = _ATTACKS,
    run: Run = _DEFAULT_RUN,
    samples: Sequence[int] | None = None,
) -> CertifiedRadii:
    """The largest eps at which each decision can be proved, and the smallest at which it is known to fail.

    Bisection between bounds that grow: CROWN from below and minimal-distance attacks from above, then
    ``bounds.verify`` in between, whose counterexamples are measured, too. All samples of a batch are asked
    together; balls that are no boxes one by one.

    x: (n, *input_shape) in input units. threat: its eps is the largest one that is looked at. y: (n,) labels,
    else what the model answers. seconds: per sample, shared by the samples of a batch. tolerance: how near
    the two radii must come, as a share of the larger. attacks: that measure the threat's norm. samples: ids,
    default 0, 1, ...; ``run.progress`` hears of the stage "radius" in samples.
    Raises ``UsageError`` for bad inputs, another threat, and a model without a graph; ``Contradiction`` where
    a failure lies within a proved radius.
    """
    began = time.monotonic()
    _check(threat, seconds, tolerance)
    if y is None:
        check_samples(model, x, torch.zeros(len(x), dtype=torch.long))
        with torch.no_grad():
            y = model(x.to(run.device)).argmax(1).cpu()
    batches = list(queries(model, x, y, threat, run, samples=samples))
    reason = supports(batches[0])
    if reason is not None:
        raise UsageError(reason)
    check_deciders(batches[0], attacks)
    run.progress("radius", 0, len(x))
    found: list[Bracket | None] = []
    for query in batches:
        search = Search.of(query, threat, seconds * len(query.x), tolerance, level, run)
        search.run_through(attacks)
        found += [search.brackets.get(i) for i in range(len(query.x))]
        run.progress("radius", len(found), len(x))
    lower = [0.0 if b is None else b.lower for b in found]
    upper = [0.0 if b is None else b.upper for b in found]
    points = [one if b is None else b.point.cpu() for one, b in zip(x.cpu(), found, strict=True)]
    return CertifiedRadii(
        model.name,
        model.digest,
        threat,
        level,
        tolerance,
        tuple(sample for query in batches for sample in query.samples),
        torch.tensor([b is not None for b in found]),
        torch.tensor(lower, dtype=torch.float64),
        torch.tensor(upper, dtype=torch.float64),
        torch.stack(points),
        time.monotonic() - began,
    )


def _check(threat: Ball, seconds: float, tolerance: float) -> None:
    if not isinstance(threat, Linf | L2 | L1) or threat.eps == 0:
        raise UsageError(f"a radius is searched within Linf, L2 or L1 of an eps > 0, not {threat!r}")
    if not (math.isfinite(seconds) and seconds >= 0):
        raise UsageError(f"seconds is {seconds}; give a number >= 0")
    if not 0 < tolerance < 1:
        raise UsageError(f"tolerance is {tolerance}; give a share in (0, 1), such as 0.01")
