"""What a rule concludes, and the one-sided bounds that it concludes from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from certify.errors import UsageError
from certify.reporting.schema import Report
from certify.smoothing.intervals import lower_bounds


class Outcome(Enum):
    """What a rule says of a report."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    WAIVED = "waived"  # failed or inconclusive, and let through by a waiver that is in force


@dataclass(frozen=True)
class Ruling:
    """One rule's outcome with its reason in one sentence; ``count`` of ``n`` is what it was judged by."""

    rule: str
    outcome: Outcome
    sentence: str
    count: int | None = None
    n: int | None = None
    bound: float | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """What rules are judged on. confidence: of each bound, separately for each rule."""

    report: Report
    baseline: Report | None
    confidence: float

    @property
    def failure(self) -> float:
        """The chance that one bound may be wrong."""
        return 1 - self.confidence

    def before(self, rule: str) -> Report:
        """The baseline, of the same data; raises ``UsageError`` where there is none."""
        if self.baseline is None:
            raise UsageError(f"rule {rule} compares with a baseline; give one with --baseline RUN")
        ours, theirs = self.report.identity.data, self.baseline.identity.data
        if ours is None or ours != theirs:
            raise UsageError(
                f"rule {rule}: the baseline was evaluated on other samples ({(theirs or 'unknown')[:12]}, "
                f"here {(ours or 'unknown')[:12]}); compare runs on the same data"
            )
        return self.baseline


def lower(count: int, n: int, failure: float) -> float:
    """The least share of the population behind ``count`` of ``n``: Clopper & Pearson (1934), one-sided."""
    return float(lower_bounds(np.array([count]), n, failure)[0])


def verified_share(count: int, n: int, failure: float, alpha: float) -> float:
    """The same for verdicts that may each be wrong with a chance of at most alpha."""
    return max(0.0, (lower(count, n, failure) - alpha) / (1 - alpha))


def upper(count: int, n: int, failure: float) -> float:
    """The largest share of the population behind ``count`` of ``n``."""
    return min(math.nextafter(1.0 - lower(n - count, n, failure), 2.0), 1.0)


def at_least(
    rule: str, what: str, threshold: float, share: tuple[int, int], low: float, high: float
) -> Ruling:
    """A rate with its bounds against a threshold that it has to reach."""
    count, n = share
    if low >= threshold:
        outcome, why = Outcome.PASSED, f"at least {low:.4f}"
    elif high < threshold:
        outcome, why = Outcome.FAILED, f"at most {high:.4f}"
    else:
        outcome, why = Outcome.INCONCLUSIVE, f"in [{low:.4f}, {high:.4f}]; more samples would tell"
    sentence = f"{what}: {count} of {n}, {why}; required is at least {threshold:g}"
    return Ruling(rule, outcome, sentence, count, n, low)


def at_most(
    rule: str, what: str, threshold: float, share: tuple[int, int], low: float, high: float
) -> Ruling:
    """A rate with its bounds against a threshold that it must not exceed."""
    count, n = share
    if high <= threshold:
        outcome, why = Outcome.PASSED, f"at most {high:.4f}"
    elif low > threshold:
        outcome, why = Outcome.FAILED, f"at least {low:.4f}"
    else:
        outcome, why = Outcome.INCONCLUSIVE, f"in [{low:.4f}, {high:.4f}]; more samples would tell"
    sentence = f"{what}: {count} of {n}, {why}; allowed is at most {threshold:g}"
    return Ruling(rule, outcome, sentence, count, n, high)
