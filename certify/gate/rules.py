"""The kinds of rules. Each judges one report by a confidence bound, never by a bare share of its samples."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from bounds.rounding import Level
from certify.attacks import ATTACKS
from certify.attacks.minimal import DistanceAttack
from certify.gate.ruling import Case, Outcome, Ruling, at_least, at_most, lower, upper, verified_share
from certify.reporting.schema import Point, Report, SampleVerdict, SmoothedModel
from certify.smoothing.statements import Certificates, population
from certify.verdict import Verdict

__all__ = ["RULES", "Case", "Outcome", "Rule", "Ruling"]

# A rule that nothing can break is a slip of the pen.
Least = Annotated[float, Field(gt=0, le=1)]
Most = Annotated[float, Field(ge=0, lt=1)]
Radius = Annotated[float, Field(ge=0)]
_LEVELS = list(Level)  # weakest first
# Attacks that look for the nearest counterexample, not for any one.
_NEAREST = {kind.__name__ for kind in ATTACKS.values() if issubclass(kind, DistanceAttack)}
# From the best to the worst that may be known of a sample.
_RANK = {
    Verdict.VERIFIED: 3,
    Verdict.UNKNOWN: 2,
    Verdict.ERROR: 2,
    Verdict.FALSIFIED: 1,
    Verdict.MISCLASSIFIED: 0,
}


class _Base(BaseModel):
    """Base of all rules. id: what waivers and reports call it; unique in a policy."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(min_length=1)]

    def not_evaluated(self, what: str) -> Ruling:
        """The run did not ask what the rule is about."""
        return Ruling(self.id, Outcome.INCONCLUSIVE, f"the run did not evaluate {what}")


class _AtBudget(_Base):
    """A rule about the network under a threat of one budget."""

    norm: str
    eps: Radius

    @property
    def threat(self) -> str:
        """The threat in words."""
        return f"{self.norm} eps {self.eps:g}"

    def point(self, report: Report) -> Point | None:
        """The counts at just this budget, if there are any."""
        if report.threat.perturbation.name != self.norm:
            return None
        return next((p for p in report.curve if p.eps == self.eps), None)


class VerifiedAccuracy(_AtBudget):
    """``verified-accuracy``: the lower bound of the share that is verified, at ``level`` or a stronger one.

    What is verified for a larger budget is for this one, so the next larger budget stands in where this one
    was not asked for. Certificates with a chance of failure alpha count; the bound takes alpha off.
    """

    kind: Literal["verified-accuracy"]
    at_least: Least
    level: Level = Level.REAL

    def judge(self, case: Case) -> Ruling:
        """See the class."""
        report = case.report
        named = report.threat.perturbation.name == self.norm
        eps = min((p.eps for p in report.curve if named and p.eps >= self.eps), default=None)
        if eps is None:
            return self.not_evaluated(f"{self.threat} or a larger budget")
        rows = [row for row in report.samples if row.eps == eps]
        counted = [row for row in rows if self._counts(row)]
        alpha = max((row.alpha for row in counted), default=0.0)
        count, n = len(counted), len(rows)
        low = verified_share(count, n, case.failure, alpha)
        what = f"verified accuracy at {self.norm} eps {eps:g}, level {self.level.value} or stronger"
        return at_least(self.id, what, self.at_least, (count, n), low, upper(count, n, case.failure))

    def _counts(self, row: SampleVerdict) -> bool:
        if row.verdict is not Verdict.VERIFIED:
            return False
        if row.level is None:
            return 0 < row.alpha < 1
        return _LEVELS.index(row.level) >= _LEVELS.index(self.level)


class CleanAccuracy(_Base):
    """``clean-accuracy``: the lower bound of the share that is right without any attack."""

    kind: Literal["clean-accuracy"]
    at_least: Least

    def judge(self, case: Case) -> Ruling:
        """See the class."""
        if not case.report.curve:
            return self.not_evaluated("clean accuracy")
        share = case.report.curve[0].clean_accuracy
        low, high = (bound(share.count, share.n, case.failure) for bound in (lower, upper))
        return at_least(self.id, "clean accuracy", self.at_least, (share.count, share.n), low, high)


class CertifiedAccuracy(_Base):
    """``certified-accuracy``: the lower bound, on the population, of a smoothed classifier's accuracy.

    Needed is ``sigma`` where there are several. The bound covers the draws, too (see
    ``certify.smoothing.statements.population``).
    """

    kind: Literal["certified-accuracy"]
    norm: str
    radius: Radius
    at_least: Least
    sigma: Radius | None = None

    def judge(self, case: Case) -> Ruling:
        """See the class."""
        models = [m for m in case.report.smoothing if m.norm.lower() == self.norm]
        models = [m for m in models if self.sigma in (None, m.sigma)]
        if not models:
            return self.not_evaluated(f"a smoothed classifier with {self.norm} radii and this sigma")
        if len(models) > 1:
            return Ruling(
                self.id, Outcome.INCONCLUSIVE, "there are several smoothed classifiers; name one by sigma"
            )
        (model,) = models
        found = population(_certificates(model), self.radius, case.failure)
        what = (
            f"certified accuracy of the smoothed classifier (sigma {model.sigma:g}) at radius {self.radius:g}"
        )
        high = upper(found.certified, found.samples, case.failure)
        share = (found.certified, found.samples)
        return at_least(self.id, what, self.at_least, share, found.accuracy, high)


class Gap(_AtBudget):
    """``gap``: the upper bound of the share between verified and attacked accuracy, errors included."""

    kind: Literal["gap"]
    at_most: Most

    def judge(self, case: Case) -> Ruling:
        """See the class."""
        point = self.point(case.report)
        if point is None:
            return self.not_evaluated(self.threat)
        count = point.counts.unknown + point.counts.error
        return _share_at_most(self, f"gap at {self.threat}", count, point.n, case)


class UnknownRate(_AtBudget):
    """``unknown-rate``: the upper bound of the share that was neither proved nor attacked."""

    kind: Literal["unknown-rate"]
    at_most: Most

    def judge(self, case: Case) -> Ruling:
        """See the class."""
        point = self.point(case.report)
        if point is None:
            return self.not_evaluated(self.threat)
        return _share_at_most(self, f"unknown rate at {self.threat}", point.counts.unknown, point.n, case)


class AccuracyDrop(_AtBudget):
    """``accuracy-drop``: the upper bound of what an accuracy lost against the baseline, sample by sample.

    With b samples that only the baseline counts and c that only this run counts, the drop is (b - c) / n; its
    bound takes Clopper-Pearson's for b from above and for c from below, each at half the chance of failure.
    """

    kind: Literal["accuracy-drop"]
    at_most: Most
    accuracy: Literal["clean", "attacked", "verified"] = "verified"

    def judge(self, case: Case) -> Ruling:
        """See the class."""
        baseline = case.before(self.id)
        if self.point(case.report) is None or self.point(baseline) is None:
            return self.not_evaluated(f"{self.threat} in both runs")
        now, then = (self._counted(report) for report in (case.report, baseline))
        both = now.keys() & then.keys()
        lost = sum(then[sample] and not now[sample] for sample in both)
        won = sum(now[sample] and not then[sample] for sample in both)
        n, half = len(both), case.failure / 2
        if n == 0:
            return self.not_evaluated("any sample that the baseline evaluated")
        high = upper(lost, n, half) - lower(won, n, half)
        low = lower(lost, n, half) - upper(won, n, half)
        what = f"drop of {self.accuracy} accuracy at {self.threat} ({lost} lost, {won} won)"
        return at_most(self.id, what, self.at_most, (max(lost - won, 0), n), low, high)

    def _counted(self, report: Report) -> dict[int, bool]:
        counted = {
            "clean": set(Verdict) - {Verdict.MISCLASSIFIED},
            "attacked": {Verdict.VERIFIED, Verdict.UNKNOWN, Verdict.ERROR},
            "verified": {Verdict.VERIFIED},
        }[self.accuracy]
        return {row.sample: row.verdict in counted for row in _at(report, self.eps)}


class NoRegression(_AtBudget):
    """``no-regression``: no sample is worse than in the baseline, but for ``allowed`` of them.

    From best to worst: verified; unknown or error; falsified; misclassified. A fact about these samples.
    """

    kind: Literal["no-regression"]
    allowed: Annotated[int, Field(ge=0)] = 0

    def judge(self, case: Case) -> Ruling:
        """See the class."""
        baseline = case.before(self.id)
        if self.point(case.report) is None or self.point(baseline) is None:
            return self.not_evaluated(f"{self.threat} in both runs")
        then = {row.sample: _RANK[row.verdict] for row in _at(baseline, self.eps)}
        now = {row.sample: _RANK[row.verdict] for row in _at(case.report, self.eps)}
        worse = sorted(sample for sample in then.keys() & now.keys() if now[sample] < then[sample])
        missing = len(then.keys() - now.keys())
        if missing:
            return self.not_evaluated(f"{missing} of the baseline's samples")
        outcome = Outcome.PASSED if len(worse) <= self.allowed else Outcome.FAILED
        some = ", ".join(map(str, worse[:10])) + (", ..." if len(worse) > 10 else "")
        sentence = f"regressions at {self.threat}: {len(worse)} of {len(then)} samples ({some or 'none'})"
        return Ruling(self.id, outcome, f"{sentence}; allowed are {self.allowed}", len(worse), len(then))


class AttackDistance(_Base):
    """``attack-distance``: the lower bound of the share with no counterexample nearer than ``distance``.

    It is about what the attacks found, so it proves nothing. A sample counts if it withstood a budget of at
    least ``distance``, or fell only to an attack that looks for the nearest counterexample, which is further
    away. Inconclusive where no attack was asked at such a distance, or where a health check says that the
    attacks are not to be believed.
    """

    kind: Literal["attack-distance"]
    norm: str
    distance: Annotated[float, Field(gt=0)]
    at_least: Least

    def judge(self, case: Case) -> Ruling:
        """See the class."""
        report = case.report
        tried = [a.eps for a in report.attacks if a.eps >= self.distance]
        if report.threat.perturbation.name != self.norm or not tried:
            return self.not_evaluated(f"an attack at {self.norm} distance {self.distance:g} or more")
        if not all(health.reliable for health in report.health):
            return Ruling(
                self.id, Outcome.INCONCLUSIVE, "the attacks failed a health check, so distances are not known"
            )
        failed = {row.sample for row in report.samples if row.verdict is Verdict.ERROR}
        tested = {row.sample for row in report.samples if self._is_tested(row)} - failed
        n = len(report.brackets)
        count = sum(
            b.sample in tested and (math.inf if b.attacked is None else b.attacked) >= self.distance
            for b in report.brackets
        )
        what = f"no counterexample found nearer than {self.norm} distance {self.distance:g}"
        low, high = (bound(count, n, case.failure) for bound in (lower, upper))
        return at_least(self.id, what, self.at_least, (count, n), low, high)

    def _is_tested(self, row: SampleVerdict) -> bool:
        """Whether this row says anything about counterexamples nearer than the distance."""
        withstood = row.verdict in (Verdict.VERIFIED, Verdict.UNKNOWN)
        nearest = row.verdict is Verdict.FALSIFIED and (row.by or "").partition("(")[0] in _NEAREST
        return row.eps >= self.distance and (withstood or nearest)


Rule = Annotated[
    VerifiedAccuracy
    | CleanAccuracy
    | CertifiedAccuracy
    | Gap
    | UnknownRate
    | AccuracyDrop
    | NoRegression
    | AttackDistance,
    Field(discriminator="kind"),
]
_KINDS: tuple[type[_Base], ...] = (
    VerifiedAccuracy,
    CleanAccuracy,
    CertifiedAccuracy,
    Gap,
    UnknownRate,
    AccuracyDrop,
    NoRegression,
    AttackDistance,
)
RULES: dict[str, type[_Base]] = {kind.__doc__.split("``")[1]: kind for kind in _KINDS if kind.__doc__}


def _share_at_most(rule: Gap | UnknownRate, what: str, count: int, n: int, case: Case) -> Ruling:
    low, high = (bound(count, n, case.failure) for bound in (lower, upper))
    return at_most(rule.id, what, rule.at_most, (count, n), low, high)


def _at(report: Report, eps: float) -> Iterable[SampleVerdict]:
    return (row for row in report.samples if row.eps == eps)


def _certificates(model: SmoothedModel) -> Certificates:
    return Certificates(
        np.array([s.label == s.truth for s in model.samples]),
        np.array([s.radius for s in model.samples], dtype=np.float64),
        np.array([s.alpha for s in model.samples], dtype=np.float64),
    )
