"""Attacks and a certifier that share the work: each sample goes only as far as it needs."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bounds.rounding import Level
from certify.attacks import APGD, FromBounds, Square
from certify.attacks.ensemble import joined, stands
from certify.attacks.from_bounds import BOUND
from certify.attacks.settings import check_counts
from certify.decide import proves
from certify.deterministic import CROWN
from certify.evidence import Claim, Decider, Evidence
from certify.query import Query
from certify.run import Run


@dataclass(frozen=True)
class Portfolio:
    """Quick attack, certifier, then dear attacks on what is neither attacked nor certified.

    Auto-PGD on every sample, so that every certified one has been attacked. On those that it leaves, where
    the model has a graph, steps from where CROWN's bounds are taken, and CROWN's proof where these are > 0.
    APGD-T on the three nearest classes and Square on the rest. A sample leaves with its first counterexample
    or proof.
    steps: of the first attack. queries: of Square. The detail "member" of a broken sample names the attack.
    Raises ``UsageError`` for counts below 1.
    """

    steps: int = 50
    queries: int = 300

    def __post_init__(self) -> None:
        check_counts("Portfolio", 1, steps=self.steps, queries=self.queries)

    @property
    def members(self) -> tuple[Decider, ...]:
        """Who is asked, in order; all but the first may be left out."""
        return (
            APGD(self.steps, restarts=1),
            FromBounds(),
            CROWN(),
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
            proving = Claim.ROBUST in member.claims
            asked = _within_reach(left, found) if proving else left
            if len(asked.x) == 0 or member.supports(asked) is not None:
                continue
            waited = time.perf_counter() - began
            answers = member.decide(asked, run)
            for new in answers:
                found[new.sample] = _told(joined(found[new.sample], new, repr(member), waited), new)
            gone = stands(asked, answers, run, repr(self))
            if proving:
                gone |= torch.tensor([proves(e) for e in answers])
            settled = {e.sample for e, each in zip(answers, gone.tolist(), strict=True) if each}
            left = left[_mask(left, [sample not in settled for sample in left.samples])]
        return list(found.values())


def _within_reach(left: Query, found: Mapping[int, Evidence]) -> Query:
    """Those that a certifier may prove: not where a bound that ``FromBounds`` has computed is at most 0."""
    return left[_mask(left, [float(found[s].detail.get(BOUND, math.inf)) > 0 for s in left.samples])]


def _told(both: Evidence, new: Evidence) -> Evidence:
    """With the margin that a member has found; a bound <= 0, which proves nothing, is one, too."""
    if new.margin is not None:
        return replace(both, margin=new.margin, level=new.level, alpha=new.alpha)
    bound = float(new.detail.get(BOUND, math.inf))
    return replace(both, margin=bound, level=Level.FLOAT) if bound <= 0 else both


def _mask(query: Query, keep: list[bool]) -> Tensor:
    return torch.tensor(keep, dtype=torch.bool, device=query.x.device)
