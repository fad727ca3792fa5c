"""The complete decider: branch and bound until each sample is proved or broken."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass, replace

import bounds
from bounds.rounding import Level
from certify.deterministic.bounding import supports
from certify.deterministic.proving import proved
from certify.errors import UsageError
from certify.evidence import Claim, Evidence
from certify.query import Query
from certify.run import Run


@dataclass(frozen=True)
class BranchAndBound:
    """Bounds, and branch and bound where they do not settle a sample (see ``bounds.verify``).

    seconds: per sample, shared by the samples of a batch: those that need less leave the rest to others.
    level: what a margin > 0 claims. A sample that was verified comes with a lower bound of its smallest
    margin, one that was broken with a witness, others with what is missing (``bounds.Gap``), as a detail.
    proofs: whether to search, for as long again, for a proof of each sample that was verified, a file that
    ``certify check`` accepts; for models that are ONNX files by themselves.
    Raises ``UsageError`` for seconds that are no number >= 0.
    """

    seconds: float = 10.0
    level: Level = Level.REAL
    proofs: bool = False

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
            graph,
            query.region,
            query.spec,
            timeout=self.seconds * len(query.samples),
            level=self.level,
            memory=run.memory,
        )
        made = [self._evidence(s, each) for s, each in zip(query.samples, found, strict=True)]
        return [self._proved(query, k, each) for k, each in enumerate(made)] if self.proofs else made

    def _proved(self, query: Query, place: int, evidence: Evidence) -> Evidence:
        """With a proof, or the reason why there is none."""
        if evidence.margin is None:
            return evidence
        found = proved(query, place, self.level, self.seconds)
        if isinstance(found, str):
            return replace(evidence, detail={**evidence.detail, "not_proved": found})
        digest = hashlib.sha256(found.data).hexdigest()
        detail = {**evidence.detail, "proof_sha256": digest, "proof_leaves": found.leaves}
        return replace(evidence, detail=detail, proof=found.data)

    def _evidence(self, sample: int, found: bounds.Decision) -> Evidence:
        verified = found.status is bounds.Status.VERIFIED
        gap = {} if found.gap is None else dataclasses.asdict(found.gap)
        missing = {name: value for name, value in gap.items() if math.isfinite(value)}
        return Evidence(
            sample,
            repr(self),
            found.lower if verified else None,
            found.level if verified else None,
            found.witness,
            detail={"status": found.status.value, "domains": found.domains, **missing},
            seconds=found.seconds,
        )
