"""All that a report tells, gathered from a ledger; and its machine-readable summary."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bounds.rounding import Level
from certify.contradiction import Reproducer
from certify.curve import CONFIDENCE, FAILURE, Curve, Point, RadiusCurve, Share, curve, radius_curve
from certify.diagnosis import UNRELIABLE, Health
from certify.ledger import FORMAT, Json, Ledger
from certify.reporting.guarantees import grid, guarantees
from certify.result import Result
from certify.rows import Basis, RadiusRow, VerdictRow, verdict_row
from certify.threat import THREATS, named
from certify.verdict import Verdict
from certify.versions import installed


@dataclass(frozen=True, eq=False)
class Findings:
    """The evidence of one run and what it is about.

    about: model, data, threat, deciders and settings as JSON values (see ``certify.job``). versions: of the
    software that computed it. seconds: computing time per stage, no part of the summary. contradictions: of
    samples that were both proved and attacked; their verdicts are errors at every eps. health: of the
    attacks, by the eps that they were examined at.
    """

    about: Json
    versions: Sequence[Mapping[str, str]]
    verdicts: Sequence[VerdictRow]
    radii: Sequence[RadiusRow] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    contradictions: Sequence[Reproducer] = ()
    health: Mapping[float, Health] = field(default_factory=dict)

    @classmethod
    def of(cls, ledger: Ledger) -> Findings:
        """The findings of a run folder, finished or not."""
        contradictions = ledger.contradictions()
        return cls(
            ledger.description,
            ledger.versions,
            _without({each.sample for each in contradictions}, ledger.verdicts()),
            ledger.radii(),
            ledger.seconds(),
            contradictions,
            ledger.health(),
        )

    @classmethod
    def of_result(cls, result: Result) -> Findings:
        """The findings of one evaluation in memory."""
        name, eps = named(result.threat)
        proving = {e.decider for each in result.samples for e in each.evidence if e.margin is not None}
        about = {
            "identity": {"model": result.digest},
            "model": {"name": result.model},
            "data": {"name": "an evaluation in memory", "samples": len(result)},
            "threat": {"norm": name, "eps": [eps]},
            "deciders": list(result.deciders),
            "attacks": [d for d in result.deciders if d not in proving],
            "smoothing": {"certifiers": [], "samples": 0},
            "run": {},
        }
        return cls(
            about,
            [installed()],
            [verdict_row(eps, each) for each in result.samples],
            contradictions=result.contradictions,
            health={} if result.health is None else {eps: result.health},
        )

    @property
    def norm(self) -> str:
        """The threat's name."""
        return str(self.about["threat"]["norm"]).capitalize()

    @property
    def unit(self) -> str:
        """What eps counts."""
        return THREATS[self.about["threat"]["norm"]].unit

    @property
    def curve(self) -> Curve:
        """Counts and accuracies at each eps."""
        verdicts: dict[float, list[Verdict]] = defaultdict(list)
        for row in self.verdicts:
            verdicts[row.eps].append(row.verdict)
        return curve(verdicts)

    @property
    def radius_curves(self) -> list[RadiusCurve]:
        """Certified accuracy of each smoothed classifier."""
        groups: dict[float, list[RadiusRow]] = defaultdict(list)
        for row in self.radii:
            groups[row.sigma].append(row)
        return [
            radius_curve(
                sigma,
                rows[0].alpha,
                Basis.of(rows[0]),
                [row.truth for row in rows],
                [row.label for row in rows],
                [row.radius for row in rows],
            )
            for sigma, rows in groups.items()
        ]

    @property
    def unreliable(self) -> list[Health]:
        """The health of attacks that failed a check."""
        return [each for each in self.health.values() if not each.reliable]

    @property
    def attacked_is(self) -> str:
        """What accuracy under attack is, in words."""
        return UNRELIABLE if self.unreliable else "upper bound"

    @property
    def levels(self) -> list[Level]:
        """The levels at which samples were verified, weakest first."""
        found = {row.level for row in self.verdicts if row.verdict is Verdict.VERIFIED}
        return [level for level in Level if level in found]

    def summary(self) -> Json:
        """The numbers of the run as JSON values; the same run gives the same bytes, so times are left out."""
        radius_curves = self.radius_curves
        radii = grid(radius_curves)
        return {
            **self.about,
            "format": FORMAT,
            "versions": [dict(v) for v in self.versions],
            "confidence": CONFIDENCE,
            "levels": [level.value for level in self.levels],
            "curve": [_point(p) for p in self.curve.points],
            "smoothing": [_radius_curve(c, radii) for c in radius_curves],
            "contradictions": [each.record() for each in self.contradictions],
            "health": [{"eps": eps, **health.record()} for eps, health in self.health.items()],
            "attacked_accuracy_is": self.attacked_is,
        }


def summary_text(findings: Findings) -> str:
    """``summary.json``."""
    return json.dumps(findings.summary(), sort_keys=True, indent=2, allow_nan=False) + "\n"


def _without(samples: Collection[int], rows: Sequence[VerdictRow]) -> list[VerdictRow]:
    """The rows, where neither proof nor attack counts for some samples."""
    settled = (Verdict.VERIFIED, Verdict.FALSIFIED, Verdict.UNKNOWN)
    return [
        VerdictRow(row.eps, row.sample, Verdict.ERROR, detail=row.detail)
        if row.sample in samples and row.verdict in settled
        else row
        for row in rows
    ]


def _point(point: Point) -> dict[str, Any]:
    return {
        "eps": point.eps,
        "n": point.n,
        "counts": {v.value: point.counts[v] for v in Verdict},
        "clean_accuracy": _share(point.clean),
        "attacked_accuracy": _share(point.attacked),
        "verified_accuracy": _share(point.verified),
    }


def _radius_curve(each: RadiusCurve, radii: Sequence[float]) -> dict[str, Any]:
    return {
        "sigma": each.sigma,
        "alpha": each.alpha,
        "joint": False,
        **vars(each.basis),
        "n": each.n,
        "abstained": each.abstained,
        "wrong": each.wrong,
        "certified_accuracy": [{"radius": radius, **_share(s)} for radius, s in each.steps],
        "joint_failure": FAILURE,
        "joint_accuracy": [{"radius": radius, "value": each.jointly(s)} for radius, s in each.steps],
        "statements": [
            {**statement.record(), "sentence": str(statement)}
            for radius in radii
            for statement in guarantees(each, radius)
        ],
    }


def _share(each: Share) -> dict[str, float | int]:
    return {"count": each.count, "value": each.value, "low": each.low, "high": each.high}
