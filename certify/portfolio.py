"""Attacks and a certifier that share the work: each sample goes only as far as it needs."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch

from certify.attacks import APGD, PGD, FromBounds, Square
from certify.attacks.ensemble import joined, stands
from certify.attacks.settings import check_counts
from certify.decide import proves
from certify.deterministic import CROWN
from certify.evidence import Claim, Decider, Evidence
from certify.query import Query
from certify.run import Run


@dataclass(frozen=True)
class Portfolio:
    """Quick attack, certifier, then dear attacks on what is neither attacked nor certified.

    PGD on every sample, so that every certified one has been attacked; CROWN on those that it leaves, and
    steps from where its bounds are taken, where the model has a graph; PGD on the margin, APGD-T on the three
    nearest classes and Square on the rest. A sample leaves with its first counterexample or proof.
    steps: of the first PGD. queries: of Square. The detail "member" of a broken sample names the attack.
    Raises ``UsageError`` for counts below 1.
    """

    steps: int = 40
    queries: int = 500

    def __post_init__(self) -> None:
        check_counts("Portfolio", 1, steps=self.steps, queries=self.queries)

    @property
    def members(self) -> tuple[Decider, ...]:
        """Who is asked, in order; all but the first may be left out."""
        return (
            PGD(self.steps),
            CROWN(),
            FromBounds(),
            PGD(100, restarts=3, loss="margin"),
            APGD(loss="dlr", targets=3),
            Square(queries=self.queries),
        )

    @property
    def claims(self) -> frozenset[Claim]:
        """It finds counterexamples and proofs."""
        return frozenset({Claim.FALSIFIED, Claim.ROBUST})

    def supports(self, query: Query) -> str | None:
        """None where the first attack can answer, else the reason."""
        return self.members[0].supports(query)

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        """What the members have found together; costs add up."""
        found = {sample: Evidence(sample, repr(self)) for sample in query.samples}
        left, began = query, time.perf_counter()
        for member in self.members:
            if len(left.x) == 0:
                break
            if member.supports(left) is not None:
                continue
            waited = time.perf_counter() - began
            answers = member.decide(left, run)
            for new in answers:
                both = joined(found[new.sample], new, repr(member), waited)
                if new.margin is not None:
                    both = replace(both, margin=new.margin, level=new.level, alpha=new.alpha)
                found[new.sample] = both
            settled = stands(left, answers, run, repr(self)) | torch.tensor([proves(e) for e in answers])
            left = left[~settled.to(left.x.device)]
        return list(found.values())
