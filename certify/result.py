"""What an evaluation returns: one verdict per sample, and the figures that follow from them."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from bounds.rounding import ROUNDED, Arithmetic, Level
from certify.contradiction import Reproducer
from certify.diagnosis import UNRELIABLE, Health
from certify.errors import UsageError
from certify.evidence import Evidence
from certify.query import check_ids
from certify.threat import Threat
from certify.verdict import Verdict


@dataclass(frozen=True, eq=False)
class SampleResult:
    """What was found out about one sample.

    predicted: the model's class at the clean input. by: ``repr`` of the decider that settled it, or None.
    margin: the best lower bound of the smallest margin, holding at ``level``; of a verified sample the one
    that proves it. alpha: failure probability of what settled it. witness: the replayed counterexample, of
    the model's input shape, on the CPU, ``x`` the sample that it was made of, and ``adversarial`` the model's
    class there. evidence: all of it, in the
    order of the deciders. contradiction: of a sample that was both proved and attacked, whose verdict is
    ``ERROR``.
    """

    sample: int
    label: int
    predicted: int
    verdict: Verdict
    by: str | None = None
    margin: float | None = None
    level: Level | None = None
    alpha: float = 0.0
    witness: Tensor | None = None
    x: Tensor | None = None
    adversarial: int | None = None
    evidence: tuple[Evidence, ...] = ()
    contradiction: Reproducer | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """The verdicts of one model on some samples under one threat; its print is the summary.

    model, digest: name and digest of the model that all of it speaks of. deciders: their ``repr``. health: of
    the attacks, where ``with_health`` has attached it.
    Raises ``UsageError`` for a sample that occurs twice, or none at all.
    """

    model: str
    digest: str
    threat: Threat
    deciders: tuple[str, ...]
    samples: tuple[SampleResult, ...]
    health: Health | None = None

    def __post_init__(self) -> None:
        check_ids([each.sample for each in self.samples])

    def __len__(self) -> int:
        return len(self.samples)

    def with_health(self, health: Health) -> Result:
        """The same result, whose upper bound is told to be unreliable where a check of the attacks failed.

        Raises ``UsageError`` for the health of attacks on another model.
        """
        if health.model != self.digest:
            raise UsageError(f"the health is that of attacks on another model than {self.model}; ask again")
        return replace(self, health=health)

    @functools.cached_property
    def counts(self) -> Mapping[Verdict, int]:
        """How many samples have each of the five verdicts; they sum to ``len(self)``."""
        found = Counter(each.verdict for each in self.samples)
        return {verdict: found[verdict] for verdict in Verdict}

    @property
    def contradictions(self) -> tuple[Reproducer, ...]:
        """Of the samples that were both proved and attacked."""
        return tuple(each.contradiction for each in self.samples if each.contradiction is not None)

    @property
    def undecided(self) -> int:
        """Samples neither proved nor attacked, for whatever reason."""
        return self.counts[Verdict.UNKNOWN] + self.counts[Verdict.ERROR]

    @property
    def clean_accuracy(self) -> float:
        """Share of samples whose label has strictly the largest logit."""
        return (len(self) - self.counts[Verdict.MISCLASSIFIED]) / len(self)

    @property
    def verified_accuracy(self) -> float:
        """Share of samples that are classified right and verified: a lower bound of the robust accuracy."""
        return self.counts[Verdict.VERIFIED] / len(self)

    @property
    def robust_accuracy(self) -> tuple[float, float]:
        """The interval that holds the robust accuracy on these samples."""
        return self.verified_accuracy, self._attacked / len(self)

    @property
    def arithmetic(self) -> Arithmetic:
        """The weakest arithmetic that any verified sample rests on."""
        levels = [e.level for e in self.samples if e.verdict is Verdict.VERIFIED and e.level is not None]
        return functools.reduce(Arithmetic.meet, (level.arithmetic for level in levels), ROUNDED)

    @property
    def alpha(self) -> float:
        """The largest failure probability of any one verified or falsified sample."""
        return max((e.alpha for e in self.samples), default=0.0)

    @property
    def _attacked(self) -> int:
        """Samples classified right and not falsified."""
        return len(self) - self.counts[Verdict.MISCLASSIFIED] - self.counts[Verdict.FALSIFIED]

    def __str__(self) -> str:
        n = len(self)
        low = 10_000 * self.counts[Verdict.VERIFIED] // n  # integers, so that the interval is rounded outward
        high = -(-10_000 * self._attacked // n)
        text = (
            f"robust accuracy in [{low / 10_000:g}, {high / 10_000:g}]; {self.undecided} of {n} undecided; "
            f"arithmetic {self.arithmetic.value}"
        )
        if self.alpha:
            text = f"{text}; alpha {self.alpha:g} per sample"
        if self.health is not None and not self.health.reliable:
            text = f"{text}; attacks: {UNRELIABLE}"
        return text
