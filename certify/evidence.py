"""What a decider brings back for one sample. Nobody marks his own work: ``certify.decide`` judges it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from torch import Tensor

from bounds.rounding import Level
from certify.query import Query
from certify.run import Run

NONFINITE = "nonfinite"  # the key of the detail of a sample near which the model gave NaN or Inf
FAILED = "error"  # the key of the detail of a decider that failed on a batch, with its message


class Claim(Enum):
    """What a decider is able to claim."""

    ROBUST = "robust"
    FALSIFIED = "falsified"


@dataclass(frozen=True, eq=False)
class Evidence:
    """One decider's finding about one sample.

    A certifier gives ``margin``, a lower bound of the smallest margin over the region, with the ``level``
    it holds at. An attack gives ``witness``, the input that it holds to be a counterexample, of shape
    ``input_shape``, or None where it found nothing. ``alpha`` is the failure probability (0 for
    deterministic methods); of an attack on a model that answers by sampling, the level of its witness's
    test. ``detail`` holds what the audit trail needs: counts, radii, steps. ``seconds``: from the start of
    the batch until the decider was done with this sample; no part of the result. ``proof``: a file that shows
    the claim, checked; see ``certify check``.
    """

    sample: int
    decider: str
    margin: float | None = None
    level: Level | None = None
    witness: Tensor | None = None
    alpha: float = 0.0
    detail: dict[str, int | float | str] = field(default_factory=dict)
    seconds: float = 0.0
    proof: bytes | None = None


def joint_chance(certificate: float, attack: float) -> float:
    """How probable it is, at most, that a certificate and an attack on one sample contradict by chance.

    certificate, attack: their failure probabilities. If the point that the attack found really breaks the
    decision, the certificate is false; if it does not, the attack's test is. Which of them is settled before
    the noise of certificate and test is drawn, and the point does not depend on that noise: so the larger
    probability counts, not their sum.
    """
    return max(certificate, attack)


class Decider(Protocol):
    """Anything that can answer a query: a frozen dataclass, whose ``repr`` is the audit trail."""

    @property
    def claims(self) -> frozenset[Claim]:
        """What this decider may claim."""

    def supports(self, query: Query) -> str | None:
        """None if the query can be answered, else one line that says why not and what to do."""

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        """One piece of evidence per sample of the query, in order."""
