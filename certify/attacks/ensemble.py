"""AutoAttack: complementary attacks with fixed settings, one after the other."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from certify.attacks.apgd import APGD
from certify.attacks.eot import EoT
from certify.attacks.fab import FAB
from certify.attacks.square import Square
from certify.errors import UsageError
from certify.evidence import Claim, Decider, Evidence
from certify.query import Query
from certify.run import Run


def _published(restarts: int = 1, loss: str = "cross-entropy", targets: int = 0) -> APGD:
    """Auto-PGD with its authors' constants."""
    return APGD(100, restarts, loss, targets, probes=0)


# Croce & Hein 2020, section 6 and the settings that its authors publish as "plus" and "rand".
VERSIONS: Mapping[str, tuple[Decider, ...]] = {
    "standard": (_published(), _published(loss="dlr", targets=9), FAB(targets=9), Square()),
    "plus": (
        _published(restarts=5),
        _published(restarts=5, loss="dlr"),
        FAB(restarts=5),
        Square(),
        _published(loss="dlr", targets=9),
        FAB(targets=9),
    ),
    "rand": (EoT(_published(), m=20), EoT(_published(loss="dlr"), m=20)),
}
_SUMMED = ("forwards", "backwards")
_SMALLEST = ("smallest_margin", "distance")


@dataclass(frozen=True)
class AttackEnsemble:
    """AutoAttack (Croce & Hein 2020): its members are asked in turn, and samples leave when they are broken.

    version: "standard", "plus" with more restarts and untargeted attacks, or "rand" for models that answer
    by sampling (``VERSIONS``). A candidate is tried as the judge will try it, by noise of its own where the
    model answers by sampling; one that does not stand leaves the sample to the members that follow. The
    detail "member" of a broken sample names the member.
    Raises ``UsageError`` for another version.
    """

    version: str = "standard"

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise UsageError(
                f"unknown version {self.version!r} of AttackEnsemble; choose one of {', '.join(VERSIONS)}"
            )

    @property
    def members(self) -> tuple[Decider, ...]:
        """The attacks, in order."""
        return VERSIONS[self.version]

    @property
    def claims(self) -> frozenset[Claim]:
        """It finds counterexamples; finding none says nothing."""
        return frozenset({Claim.FALSIFIED})

    def supports(self, query: Query) -> str | None:
        """None where every member can answer, else the first reason why not."""
        return next(filter(None, (member.supports(query) for member in self.members)), None)

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        """What the members have found together; costs add up."""
        found = {sample: Evidence(sample, repr(self)) for sample in query.samples}
        is_open, began = torch.ones(len(query.x), dtype=torch.bool), time.perf_counter()
        for member in self.members:
            part, waited = query[is_open.to(query.x.device)], time.perf_counter() - began
            if len(part.x) == 0:
                break
            answers = member.decide(part, run)
            for each in answers:
                found[each.sample] = joined(found[each.sample], each, repr(member), waited)
            is_open[is_open.nonzero()[:, 0]] = ~stands(part, answers, run, repr(self))
        return list(found.values())


def joined(before: Evidence, new: Evidence, member: str, waited: float) -> Evidence:
    """The evidence with what the next member has found; waited: seconds until it was asked."""
    detail = {**before.detail, **new.detail}
    for key in before.detail.keys() & new.detail.keys():
        one, other = before.detail[key], new.detail[key]
        if not isinstance(one, str) and not isinstance(other, str):
            if key in _SUMMED:
                detail[key] = one + other
            elif key in _SMALLEST:
                detail[key] = min(one, other)
    if new.witness is None:
        return replace(before, detail=detail, seconds=waited + new.seconds)
    detail["member"] = member
    return replace(before, witness=new.witness, alpha=new.alpha, detail=detail, seconds=waited + new.seconds)


def stands(query: Query, answers: list[Evidence], run: Run, key: str) -> Tensor:
    """Where a candidate lies in the region and the model does not keep its decision there; (batch,)."""
    points = torch.stack(
        [x if each.witness is None else each.witness for x, each in zip(query.x, answers, strict=True)]
    )
    p_values = query.model.p_values(points, query.y, query.samples, run, f"{key}, trial")
    broken = [each.witness is not None and p <= each.alpha for each, p in zip(answers, p_values, strict=True)]
    return torch.tensor(broken, dtype=torch.bool) & query.region.contains(points).cpu()
