"""Certified versus empirical: what is proved and what is attackable, as the threat grows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from certify.errors import UsageError
from certify.rows import Basis
from certify.smoothing.statements import Certificates, most_failures
from certify.verdict import Verdict

CONFIDENCE = 0.95
# The chance that a statement about all samples, or about their population, is wrong.
FAILURE = 0.05


@dataclass(frozen=True)
class Share:
    """``count`` of ``n`` samples, with a two-sided interval for the share of the population.

    The interval is Clopper & Pearson's (1934) at 95%; it speaks of samples drawn at random from one
    population and says nothing about whether each verdict is right.
    """

    count: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share of these samples."""
        return self.count / self.n

    @property
    def at_least(self) -> float:
        """In percent, rounded down to one decimal: what may be said of a lower bound."""
        return (1000 * self.count // self.n) / 10

    @property
    def at_most(self) -> float:
        """In percent, rounded up to one decimal: what may be said of an upper bound."""
        return -(-1000 * self.count // self.n) / 10


@dataclass(frozen=True)
class Point:
    """The counts of the five verdicts under one threat. They sum to ``n``."""

    eps: float
    counts: Mapping[Verdict, int]

    @property
    def n(self) -> int:
        """How many samples were asked about."""
        return sum(self.counts.values())

    @property
    def clean(self) -> Share:
        """Clean accuracy: all that is not misclassified."""
        return share(self.n - self.counts[Verdict.MISCLASSIFIED], self.n)

    @property
    def attacked(self) -> Share:
        """Accuracy under the attacks: an upper bound of robust accuracy."""
        return share(
            self.n - self.counts[Verdict.MISCLASSIFIED] - self.counts[Verdict.FALSIFIED],
            self.n,
        )

    @property
    def verified(self) -> Share:
        """Verified accuracy: a lower bound of robust accuracy."""
        return share(self.counts[Verdict.VERIFIED], self.n)


@dataclass(frozen=True)
class Curve:
    """Points by ascending eps, in input units."""

    points: tuple[Point, ...]

    def csv(self) -> str:
        """One line per eps, with a header."""
        verdicts = [v.value for v in Verdict]
        names = ("clean_accuracy", "attacked_accuracy", "verified_accuracy")
        shares = [name + end for name in names for end in ("", "_low", "_high")]
        lines = [",".join(["eps", "n", *verdicts, *shares])]
        for point in self.points:
            counts = [str(point.counts[v]) for v in Verdict]
            numbers = [
                f"{number:.6f}"
                for s in (point.clean, point.attacked, point.verified)
                for number in (s.value, s.low, s.high)
            ]
            lines.append(",".join([repr(point.eps), str(point.n), *counts, *numbers]))
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class RadiusCurve:
    """Certified accuracy of the smoothed classifier, a step function of the radius.

    steps: ascending radii, beginning with 0, each with the share of samples that are certified with their
    true label at a larger radius. alpha: the probability, separately for each sample, that its certificate
    is wrong. doubtful: more certificates than this are wrong with probability at most ``FAILURE`` (Cohen,
    Rosenfeld & Kolter 2019). abstained, wrong: samples without a label, and certified with another label.
    """

    sigma: float
    alpha: float
    basis: Basis
    certificates: Certificates
    steps: tuple[tuple[float, Share], ...]
    doubtful: int
    abstained: int
    wrong: int

    @property
    def n(self) -> int:
        """How many samples were certified, or tried."""
        return self.steps[0][1].n

    def jointly(self, certified: Share) -> float:
        """The share of these samples that is robust where ``certified`` are, for all radii together."""
        return max(certified.count - self.doubtful, 0) / certified.n

    def at(self, radius: float) -> Share:
        """Certified accuracy at a radius >= 0."""
        return next(s for step, s in reversed(self.steps) if step <= radius)


def radius_csv(curves: Sequence[RadiusCurve]) -> str:
    """One line per step of each curve, with a header."""
    lines = ["sigma,radius,n,certified,certified_low,certified_high,jointly"]
    for each in curves:
        lines += [
            f"{each.sigma!r},{radius!r},{s.n},{s.value:.6f},{s.low:.6f},{s.high:.6f},{each.jointly(s)!r}"
            for radius, s in each.steps
        ]
    return "\n".join(lines) + "\n"


def share(count: int, n: int) -> Share:
    """A share with its interval; raises ``UsageError`` for n = 0."""
    # imported here because it is slow to load
    from statsmodels.stats.proportion import proportion_confint  # noqa: PLC0415

    if n == 0:
        raise UsageError("nothing was evaluated, so there is no share to report")
    low, high = proportion_confint(count, n, alpha=1 - CONFIDENCE, method="beta")
    return Share(count, n, float(low), float(high))


def curve(verdicts: Mapping[float, Sequence[Verdict]]) -> Curve:
    """The curve of the verdicts of all samples at each eps."""
    return Curve(tuple(Point(eps, Counter(verdicts[eps])) for eps in sorted(verdicts)))


def radius_curve(
    sigma: float,
    alpha: float,
    basis: Basis,
    truth: Sequence[int],
    label: Sequence[int],
    radius: Sequence[float],
) -> RadiusCurve:
    """The curve of a smoothed classifier from each sample's true class, label (-1 abstains) and radius."""
    samples = list(zip(truth, label, radius, strict=True))
    right = sorted(r for t, found, r in samples if t == found)
    steps = [(step, share(sum(r > step for r in right), len(samples))) for step in sorted({0.0, *right})]
    abstained = sum(found < 0 for _, found, _ in samples)
    certificates = Certificates(
        np.equal(truth, label), np.array(radius, dtype=np.float64), np.full(len(samples), alpha)
    )
    return RadiusCurve(
        sigma=sigma,
        alpha=alpha,
        basis=basis,
        certificates=certificates,
        steps=tuple(steps),
        doubtful=most_failures(certificates, FAILURE),
        abstained=abstained,
        wrong=len(samples) - len(right) - abstained,
    )
