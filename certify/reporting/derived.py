"""Parts of a report that follow from its other parts: tables over the samples, the threat in words."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from certify.diagnosis import UNRELIABLE, Health
from certify.evidence import FAILED, NONFINITE
from certify.reporting import words
from certify.reporting.rates import counts
from certify.reporting.schema import (
    AttackResult,
    Bracket,
    ClassPoint,
    Finding,
    HealthCheck,
    HealthRecord,
    Method,
    Perturbation,
    Proofs,
    SampleVerdict,
    Settled,
    ThreatModel,
)
from certify.threat import THREATS
from certify.verdict import Verdict


def threat_model(
    name: str, eps: Sequence[float], bounds: tuple[float, float] | None, methods: Sequence[Method]
) -> ThreatModel:
    """The adversary. name: in ``THREATS``. bounds: the valid range of the inputs."""
    kind = THREATS[name]
    attacks = [m for m in methods if m.attacks]
    inside = any(m.access == "glass box" for m in attacks)
    return ThreatModel(
        knowledge="white-box" if inside or not attacks else "black-box",
        perturbation=Perturbation(
            name=name,
            norm=kind.norm,
            unit=kind.unit,
            eps=tuple(eps),
            input_range=bounds,
            sentence=words.perturbation(name, kind.norm, kind.unit, bounds),
        ),
    )


def grouped(rows: Sequence[Any], key: Any) -> dict[float, list[Any]]:
    """The rows by a key."""
    groups: dict[float, list[Any]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return dict(groups)


def attacked_accuracy_is(reliable: bool) -> str:
    """What accuracy under attack may be called."""
    return "upper bound" if reliable else UNRELIABLE


def per_class(samples: Sequence[SampleVerdict]) -> tuple[ClassPoint, ...]:
    """The verdicts of each class at each eps."""
    groups: dict[tuple[float, int], list[Verdict]] = defaultdict(list)
    for row in samples:
        if row.label is not None:
            groups[row.eps, row.label].append(row.verdict)
    return tuple(
        ClassPoint(eps=eps, label=label, counts=counts(groups[eps, label])) for eps, label in sorted(groups)
    )


def gap(samples: Sequence[SampleVerdict]) -> tuple[Settled, ...]:
    """Which method settled how many samples, in the order of the verdicts."""
    order = {verdict: place for place, verdict in enumerate(Verdict)}
    found = Counter((row.eps, order[row.verdict], row.by or "", reason(row)) for row in samples)
    verdicts = list(Verdict)
    return tuple(
        Settled(eps=eps, verdict=verdicts[place], method=by or None, reason=reason or None, count=count)
        for (eps, place, by, reason), count in sorted(found.items())
    )


def reason(row: SampleVerdict) -> str:
    """Why nobody settled a sample, as far as its findings tell."""
    if row.verdict not in (Verdict.UNKNOWN, Verdict.ERROR):
        return ""
    keys = {key for each in row.findings for key in each.detail}
    if NONFINITE in keys:
        return "NaN or Inf near the sample"
    if FAILED in keys:
        return "a method failed"
    return "undecided" if row.verdict is Verdict.UNKNOWN else "contradiction"


def brackets(norm: str, samples: Sequence[SampleVerdict]) -> tuple[Bracket, ...]:
    """Per sample the largest verified and the smallest attacked distance."""
    return tuple(
        Bracket(
            sample=int(sample),
            verified=max((r.eps for r in rows if r.verdict is Verdict.VERIFIED), default=None),
            attacked=min((d for r in rows if (d := _distance(norm, r)) is not None), default=None),
        )
        for sample, rows in sorted(grouped(samples, lambda row: row.sample).items())
    )


def _distance(norm: str, row: SampleVerdict) -> float | None:
    """How near this row's failure is."""
    if row.verdict is Verdict.MISCLASSIFIED:
        return 0.0
    if row.verdict is not Verdict.FALSIFIED:
        return None
    return (row.distances or {}).get(norm, row.eps)


def proofs(samples: Sequence[SampleVerdict]) -> tuple[Proofs, ...]:
    """How many verdicts are proved and checked at each eps; nothing where none is."""
    held = {
        (row.eps, row.sample)
        for row in samples
        for each in row.findings
        if row.verdict is Verdict.VERIFIED and each.method == row.by and "proof_sha256" in each.detail
    }
    if not held:
        return ()
    found = []
    for eps, rows in sorted(grouped(samples, lambda row: row.eps).items()):
        verified = [row for row in rows if row.verdict is Verdict.VERIFIED]
        proved = sum((row.from_eps or row.eps, row.sample) in held for row in verified)
        found.append(Proofs(eps=eps, verified=len(verified), proved=proved))
    return tuple(found)


def attack_results(names: Sequence[str], samples: Sequence[SampleVerdict]) -> tuple[AttackResult, ...]:
    """What each attack did at each eps; names: of the attacks, in the order of the methods."""
    found: dict[tuple[float, str], list[tuple[Finding, bool]]] = defaultdict(list)
    for row in samples:
        for each in row.findings:
            if each.method in names:
                won = row.verdict is Verdict.FALSIFIED and row.by == each.method
                found[row.eps, each.method].append((each, won))
    return tuple(
        AttackResult(
            eps=eps,
            attack=name,
            tried=len(found[eps, name]),
            succeeded=sum(won for _, won in found[eps, name]),
            forwards=_total([each.forwards for each, _ in found[eps, name]]),
            backwards=_total([each.backwards for each, _ in found[eps, name]]),
        )
        for eps, name in sorted(found, key=lambda key: (key[0], names.index(key[1])))
    )


def _total(counts: Sequence[int | None]) -> int | None:
    """The sum of what was counted for every sample."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def health_record(eps: float, health: Health) -> HealthRecord:
    """How far the attacks are to be believed at one eps."""
    return HealthRecord(
        eps=eps,
        threat=health.threat,
        attacks=health.attacks,
        samples=health.samples,
        reliable=health.reliable,
        summary=health.summary,
        checks=tuple(HealthCheck(**vars(each)) for each in health.findings),
    )
