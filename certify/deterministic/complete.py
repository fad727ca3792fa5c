"""The complete decider: branch and bound until each sample is proved or broken."""

from __future__ import annotations

import math
from dataclasses import dataclass

import bounds
from bounds.rounding import Level
from certify.deterministic.bounding import supports
from certify.errors import UsageError
from certify.evidence import Claim, Evidence
from certify.query import Query
from certify.run import Run


@dataclass(frozen=True)
class BranchAndBound:
    """Bounds, and branch and bound where they do not settle a sample (see ``bounds.verify``).

    seconds: per sample, shared by the samples of a batch: those that need less leave the rest to others.
    level: what a margin > 0 claims. A sample that was verified comes with a lower bound of its smallest
    margin, one that was broken with a witness, others with neither.
    Raises ``UsageError`` for seconds that are no number >= 0.
    """

    seconds: float = 10.0
    level: Level = Level.REAL

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise UsageError(f"seconds of BranchAndBound is {self.seconds}; give a number >= 0")

    @property
    def claims(self) -> frozenset[Claim]:
        """A complete decider claims both."""
        return frozenset({Claim.ROBUST, Claim.FALSIFIED})

    def supports(self, query: Query) -> str | None:
        """None if the model has a graph whose every operator can be bounded, else the reason."""
        return supports(query)

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        """Verified with a margin, falsified with a witness, or the word for why not.

        Raises ``UsageError`` for a model without a graph, ``bounds.BoundsError`` where bounding fails.
        """
        graph = query.model.graph
        if graph is None:
            raise UsageError(self.supports(query) or "no graph")
        found = bounds.verify(
            graph.to(query.x.dtype),
            query.region,
            query.spec,
            timeout=self.seconds * len(query.samples),
            level=self.level,
            memory=run.memory,
        )
        return [self._evidence(s, each) for s, each in zip(query.samples, found, strict=True)]

    def _evidence(self, sample: int, found: bounds.Decision) -> Evidence:
        verified = found.status is bounds.Status.VERIFIED
        return Evidence(
            sample,
            repr(self),
            found.lower if verified else None,
            found.level if verified else None,
            found.witness,
            detail={"status": found.status.value, "domains": found.domains},
            seconds=found.seconds,
        )
