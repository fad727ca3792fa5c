"""Profiles: how much a judgement takes for granted."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from certify.gate.ruling import Outcome, Ruling
from certify.reporting.schema import Report

# The quick profile runs at most so many samples of a configuration.
QUICK_SAMPLES = 32


class Profile(Enum):
    """quick: for every commit; few samples will do, and it never attests a pass.

    standard: the run must be complete. release: besides, the policy was fixed before the run, and attacks
    were run that passed their health checks, where there were any.
    """

    QUICK = "quick"
    STANDARD = "standard"
    RELEASE = "release"

    @property
    def attests(self) -> bool:
        """Whether a pass may be attested."""
        return self is not Profile.QUICK

    def asks_as_much_as(self, other: Profile) -> bool:
        """Whether it is the other one or a stricter one."""
        order = list(Profile)
        return order.index(self) >= order.index(other)

    def rulings(self, report: Report, policy: str) -> list[Ruling]:
        """What the profile itself requires, nothing of which can be waived; policy: its digest."""
        return [_ruled(name, holds(report, policy), sentence) for name, holds, sentence in _REQUIRED[self]]


_Requirement = tuple[str, Callable[[Report, str], bool], str]


def _is_complete(report: Report, policy: str) -> bool:
    return report.complete


def _is_fixed(report: Report, policy: str) -> bool:
    told = report.policy
    return told is not None and told.fixed_before_run and told.sha256 == policy


def _is_attacked(report: Report, policy: str) -> bool:
    return bool(report.attacks) and all(health.reliable for health in report.health)


_COMPLETE: _Requirement = ("complete", _is_complete, "every sample of the run was evaluated")
_FIXED: _Requirement = ("policy-first", _is_fixed, "the policy was fixed before the run")
_ATTACKED: _Requirement = (
    "attacked",
    _is_attacked,
    "attacks were run, and no health check speaks against them",
)
_REQUIRED: dict[Profile, tuple[_Requirement, ...]] = {
    Profile.QUICK: (),
    Profile.STANDARD: (_COMPLETE,),
    Profile.RELEASE: (_COMPLETE, _FIXED, _ATTACKED),
}


def _ruled(name: str, holds: bool, sentence: str) -> Ruling:
    """A requirement that does not hold leaves the question open: a better run may show that all is well."""
    outcome = Outcome.PASSED if holds else Outcome.INCONCLUSIVE
    return Ruling(f"profile:{name}", outcome, f"required: {sentence}")
