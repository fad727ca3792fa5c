"""The judgement of a report by a policy: rulings, waivers, and one exit code."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from typing import Any

from certify.errors import Exit
from certify.gate.policy import Policy, Waiver
from certify.gate.profile import Profile
from certify.gate.ruling import Case, Outcome, Ruling
from certify.reporting.schema import Report
from certify.verdict import Verdict

FORMAT = "certify-gate/1"


@dataclass(frozen=True, eq=False)
class Judgement:
    """What a policy says of a report. waivers: those that were used.

    exit: see ``certify.errors.Exit``; a soundness violation comes first and cannot be waived, then a run that
    evaluated nothing, then failed rules, then inconclusive ones.
    """

    policy: Policy
    profile: Profile
    report: Report
    rulings: tuple[Ruling, ...]
    waivers: tuple[Waiver, ...]
    day: datetime.date
    exit: Exit

    @property
    def result(self) -> str:
        """The result in words of in-toto.

        Never PASSED in the quick profile, in one that asks less than the policy's, nor with a waiver.
        """
        if self.exit is not Exit.PASS:
            return "FAILED"
        waived = any(r.outcome is Outcome.WAIVED for r in self.rulings)
        enough = self.profile.attests and self.profile.asks_as_much_as(self.policy.profile)
        return "PASSED" if enough and not waived else "WARNED"

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "format": FORMAT,
            "exit": int(self.exit),
            "result": self.result,
            "day": self.day.isoformat(),
            "profile": self.profile.value,
            "policy": self.policy.record(),
            "policy_sha256": self.policy.digest(),
            "report_digest": self.report.digest(),
            "rulings": [{**vars(r), "outcome": r.outcome.value} for r in self.rulings],
            "waivers": [w.model_dump(mode="json") for w in self.waivers],
        }


def judge(
    report: Report,
    policy: Policy,
    today: datetime.date,
    baseline: Report | None = None,
    profile: Profile | None = None,
) -> Judgement:
    """Judge a report; profile: by default the policy's.

    Raises ``UsageError`` for rules that compare with a baseline where there is none of the same data.
    """
    profile = policy.profile if profile is None else profile
    code = _unjudged(report)
    if code is not None:
        return Judgement(policy, profile, report, (), (), today, code)
    case = Case(report, baseline, policy.confidence)
    waivers = {each.rule: each for each in policy.waivers if each.in_force(today)}
    expired = {each.rule: each for each in policy.waivers if not each.in_force(today)}
    rulings = [rule.judge(case) for rule in policy.rules]
    final = [_waived(each, waivers, expired) for each in rulings]
    used = [waivers[each.rule] for each in final if each.outcome is Outcome.WAIVED]
    rulings = [*final, *profile.rulings(report, policy.digest())]
    return Judgement(policy, profile, report, tuple(rulings), tuple(used), today, _exit(rulings))


def _unjudged(report: Report) -> Exit | None:
    """The exit code of a report that no rule can be judged on."""
    if report.status == "INVALID" or report.contradictions:
        return Exit.SOUNDNESS_VIOLATION
    evaluated = any(row.verdict is not Verdict.ERROR for row in report.samples)
    return None if evaluated or report.smoothing else Exit.NOTHING_EVALUATED


def _waived(ruling: Ruling, waivers: dict[str, Waiver], expired: dict[str, Waiver]) -> Ruling:
    if ruling.outcome is Outcome.PASSED:
        return ruling
    waiver = waivers.get(ruling.rule)
    if waiver is not None:
        note = f"waived by {waiver.owner} until {waiver.expires}: {waiver.reason}"
        return replace(ruling, outcome=Outcome.WAIVED, sentence=f"{ruling.sentence}; {note}")
    late = expired.get(ruling.rule)
    if late is not None:
        note = f"the waiver of {late.owner} expired on {late.expires}"
        return replace(ruling, sentence=f"{ruling.sentence}; {note}")
    return ruling


def _exit(rulings: list[Ruling]) -> Exit:
    outcomes = {each.outcome for each in rulings}
    if Outcome.FAILED in outcomes:
        return Exit.FAILED
    return Exit.INCONCLUSIVE if Outcome.INCONCLUSIVE in outcomes else Exit.PASS
