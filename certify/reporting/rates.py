"""Rates and their intervals: what the counts of verdicts and certificates say of all samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from certify.errors import UsageError
from certify.reporting.guarantees import grid, guarantees
from certify.reporting.schema import (
    Counts,
    Interval,
    Point,
    RadiusStep,
    SampleRadius,
    Share,
    SmoothedModel,
)
from certify.rows import Basis, RadiusRow
from certify.smoothing.statements import Certificates, most_failures
from certify.verdict import Verdict

CONFIDENCE = 0.95
# The chance that a statement about all samples, or about their population, is wrong.
FAILURE = 0.05

INTERVAL = Interval(
    method="Clopper & Pearson (1934), two-sided",
    confidence=CONFIDENCE,
    sentence=(
        "The interval of the population's share, for samples drawn from it independently; it says nothing "
        "about whether each verdict is right."
    ),
)


def share(count: int, n: int) -> Share:
    """A share with its interval; raises ``UsageError`` for n = 0."""
    # imported here because it is slow to load
    from statsmodels.stats.proportion import proportion_confint

    if n == 0:
        raise UsageError("nothing was evaluated, so there is no share to report")
    low, high = proportion_confint(count, n, alpha=1 - CONFIDENCE, method="beta")
    value = count / n
    # the ends enclose the share in exact arithmetic, and so they do here
    return Share(count=count, n=n, value=value, low=min(float(low), value), high=max(float(high), value))


def counts(verdicts: Sequence[Verdict]) -> Counts:
    """How many samples have each verdict."""
    found = Counter(verdicts)
    return Counts(**{verdict.value: found[verdict] for verdict in Verdict})


def points(verdicts: Mapping[float, Sequence[Verdict]]) -> tuple[Point, ...]:
    """The counts and accuracies at each eps, ascending, from the verdicts of all samples."""
    return tuple(point(eps, counts(verdicts[eps])) for eps in sorted(verdicts))


def point(eps: float, found: Counts) -> Point:
    """The accuracies that follow from the counts at one eps; raises ``UsageError`` for no samples."""
    n = found.n
    right = n - found.misclassified
    return Point(
        eps=eps,
        n=n,
        counts=found,
        clean_accuracy=share(right, n),
        attacked_accuracy=share(right - found.falsified, n),
        verified_accuracy=share(found.verified, n),
        undecided=share(found.unknown + found.error, n),
    )


def smoothed(rows: Mapping[float, Sequence[RadiusRow]]) -> tuple[SmoothedModel, ...]:
    """The smoothed classifiers, by ascending sigma, from the rows of all samples."""
    certificates = {sigma: _certificates(rows[sigma]) for sigma in sorted(rows)}
    radii = grid([_largest(each) for each in certificates.values()])
    return tuple(_smoothed(sigma, rows[sigma], each, radii) for sigma, each in certificates.items())


def _smoothed(
    sigma: float, rows: Sequence[RadiusRow], certificates: Certificates, radii: Sequence[float]
) -> SmoothedModel:
    doubtful, n = most_failures(certificates, FAILURE), len(rows)
    steps = sorted({0.0, *certificates.radius[certificates.correct].tolist()})
    certified = {radius: share(certificates.count(radius), n) for radius in steps}
    abstained, basis = sum(row.label < 0 for row in rows), Basis.of(rows[0])
    return SmoothedModel(
        sigma=sigma,
        **vars(basis),
        alpha=rows[0].alpha,
        n=n,
        abstained=abstained,
        wrong=n - abstained - int(certificates.correct.sum()),
        joint_failure=FAILURE,
        steps=tuple(
            RadiusStep(radius=radius, certified_accuracy=s, jointly=max(s.count - doubtful, 0) / n)
            for radius, s in certified.items()
        ),
        guarantees=tuple(each for radius in radii for each in guarantees(certificates, radius, FAILURE)),
        samples=tuple(_sample(row, basis) for row in rows),
    )


def _certificates(rows: Sequence[RadiusRow]) -> Certificates:
    correct = np.array([row.truth == row.label for row in rows])
    radius = np.array([row.radius for row in rows], dtype=np.float64)
    return Certificates(correct, radius, np.array([row.alpha for row in rows]))


def _largest(certificates: Certificates) -> float:
    return float(certificates.radius[certificates.correct].max(initial=0.0))


def _sample(row: RadiusRow, basis: Basis) -> SampleRadius:
    """The row without what is said once for all rows."""
    detail = {name: value for name, value in row.detail.items() if name not in vars(basis)}
    return SampleRadius(
        sample=row.sample,
        truth=row.truth,
        label=row.label,
        radius=row.radius,
        alpha=row.alpha,
        detail=detail,
    )
