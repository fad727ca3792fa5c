"""From evidence to ``report.json``: every number that a report tells is made here, once."""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from certify.contradiction import Reproducer
from certify.diagnosis import UNRELIABLE, Health
from certify.evidence import FAILED, NONFINITE
from certify.reporting import rates, words
from certify.reporting.findings import Findings
from certify.reporting.methods import Kind, card
from certify.reporting.schema import (
    AttackResult,
    Bracket,
    ClassPoint,
    Contradicted,
    DataSheet,
    Example,
    Finding,
    HealthCheck,
    HealthRecord,
    Identity,
    Method,
    ModelCard,
    Perturbation,
    Policy,
    Report,
    SampleTime,
    SampleVerdict,
    Settings,
    Settled,
    ThreatModel,
    Volatile,
    Writer,
)
from certify.rows import VerdictRow
from certify.threat import THREATS
from certify.verdict import Verdict


def build(findings: Findings, gallery: int) -> Report:
    """The report of some evidence; gallery: how many counterexamples to show at most, 0 for none."""
    about = findings.about
    samples = tuple(_sample(row) for row in findings.verdicts)
    methods = _methods(about, samples)
    levels, attacks = words.verified_levels(samples), [m.name for m in methods if m.attacks]
    smoothing = rates.smoothed(_grouped(findings.radii, lambda row: row.sigma))
    reliable = all(health.reliable for health in findings.health.values())
    norm = str(about["threat"]["norm"])
    return Report(
        status="INVALID" if findings.contradictions else "VALID",
        complete=_is_complete(findings),
        identity=Identity(**about["identity"]),
        model=ModelCard(sha256=about["identity"]["model"], **about["model"]),
        data=DataSheet(sha256=about["identity"].get("data"), **about["data"]),
        threat=_threat(about, methods),
        methods=methods,
        interval=rates.INTERVAL,
        curve=rates.points(
            {eps: [r.verdict for r in rows] for eps, rows in _grouped(samples, lambda r: r.eps).items()}
        ),
        per_class=_per_class(samples),
        gap=_gap(samples),
        brackets=_brackets(norm, samples),
        attacks=_attacks(attacks, samples),
        attacked_accuracy_is="upper bound" if reliable else UNRELIABLE,
        samples=samples,
        smoothing=smoothing,
        health=tuple(_health(eps, health) for eps, health in findings.health.items()),
        contradictions=tuple(_contradicted(each) for each in findings.contradictions),
        settings=None if about["run"] is None else Settings(**about["run"]),
        writers=tuple(Writer(**vars(each)) for each in findings.writers),
        policy=None if findings.policy is None else Policy.of(*findings.policy),
        claimed=words.claimed(levels, attacks),
        not_claimed=words.not_claimed(norm.capitalize(), levels, bool(smoothing)),
        gallery=_gallery(findings.verdicts, gallery),
        volatile=_volatile(findings),
    )


def _grouped(rows: Sequence[Any], key: Any) -> dict[float, list[Any]]:
    groups: dict[float, list[Any]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return dict(groups)


def _is_complete(findings: Findings) -> bool:
    """Whether every sample that was asked about has its row."""
    about = findings.about
    asked = len(about["threat"]["eps"]) * about["data"]["n"]
    smoothing = about["smoothing"]
    radii = len(smoothing["certifiers"]) * smoothing["samples"]
    return bool(len(findings.verdicts) == asked and len(findings.radii) == radii)


def _sample(row: VerdictRow) -> SampleVerdict:
    detail = dict(row.detail or {})
    carried = "from_eps" in detail
    return SampleVerdict(
        eps=row.eps,
        sample=row.sample,
        label=detail.get("label"),
        predicted=detail.get("predicted"),
        verdict=row.verdict,
        by=row.by,
        margin=row.margin,
        level=row.level,
        alpha=row.alpha,
        distances=detail.get("distances"),
        witness_sha256=None if row.witness is None else hashlib.sha256(_little(row.witness)).hexdigest(),
        from_eps=detail.get("from_eps"),
        findings=() if carried else tuple(_finding(each) for each in detail.get("evidence", ())),
    )


def _finding(evidence: Mapping[str, Any]) -> Finding:
    named = {"decider", "margin", "level", "alpha", "forwards", "backwards"}
    return Finding(
        method=evidence["decider"],
        **{name: evidence[name] for name in named - {"decider"} if name in evidence},
        detail={name: value for name, value in evidence.items() if name not in named},
    )


def _little(array: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


def _methods(about: Mapping[str, Any], samples: Sequence[SampleVerdict]) -> tuple[Method, ...]:
    network = [card(name, _kind(about, name), samples) for name in about["deciders"]]
    return (*network, *(card(each, "smoothing") for each in about["smoothing"]["certifiers"]))


def _kind(about: Mapping[str, Any], name: str) -> Kind:
    if name in about["attacks"]:
        return "certifier and attack" if name in about["certifiers"] else "attack"
    return "certifier"


def _threat(about: Mapping[str, Any], methods: Sequence[Method]) -> ThreatModel:
    name = about["threat"]["norm"]
    kind = THREATS[name]
    steps = about["model"].get("preprocessing")
    bounds = None if steps is None or steps["input_range"] is None else tuple(steps["input_range"])
    attacks = [m for m in methods if m.attacks]
    inside = any(m.access == "glass box" for m in attacks)
    return ThreatModel(
        knowledge="white-box" if inside or not attacks else "black-box",
        perturbation=Perturbation(
            name=name,
            norm=kind.norm,
            unit=kind.unit,
            eps=tuple(about["threat"]["eps"]),
            input_range=bounds,
            sentence=words.perturbation(name, kind.norm, kind.unit, bounds),
        ),
    )


def _per_class(samples: Sequence[SampleVerdict]) -> tuple[ClassPoint, ...]:
    groups: dict[tuple[float, int], list[Verdict]] = defaultdict(list)
    for row in samples:
        if row.label is not None:
            groups[row.eps, row.label].append(row.verdict)
    return tuple(
        ClassPoint(eps=eps, label=label, counts=rates.counts(groups[eps, label]))
        for eps, label in sorted(groups)
    )


def _gap(samples: Sequence[SampleVerdict]) -> tuple[Settled, ...]:
    """Which method settled how many samples, in the order of the verdicts."""
    order = {verdict: place for place, verdict in enumerate(Verdict)}
    found = Counter((row.eps, order[row.verdict], row.by or "", _reason(row)) for row in samples)
    verdicts = list(Verdict)
    return tuple(
        Settled(eps=eps, verdict=verdicts[place], method=by or None, reason=reason or None, count=count)
        for (eps, place, by, reason), count in sorted(found.items())
    )


def _reason(row: SampleVerdict) -> str:
    """Why nobody settled a sample, as far as its findings tell."""
    if row.verdict not in (Verdict.UNKNOWN, Verdict.ERROR):
        return ""
    keys = {key for each in row.findings for key in each.detail}
    if NONFINITE in keys:
        return "NaN or Inf near the sample"
    if FAILED in keys:
        return "a method failed"
    return "undecided" if row.verdict is Verdict.UNKNOWN else "contradiction"


def _brackets(norm: str, samples: Sequence[SampleVerdict]) -> tuple[Bracket, ...]:
    """Per sample the largest verified and the smallest attacked distance."""
    return tuple(
        Bracket(
            sample=int(sample),
            verified=max((r.eps for r in rows if r.verdict is Verdict.VERIFIED), default=None),
            attacked=min((d for r in rows if (d := _distance(norm, r)) is not None), default=None),
        )
        for sample, rows in sorted(_grouped(samples, lambda row: row.sample).items())
    )


def _distance(norm: str, row: SampleVerdict) -> float | None:
    """How near this row's failure is."""
    if row.verdict is Verdict.MISCLASSIFIED:
        return 0.0
    if row.verdict is not Verdict.FALSIFIED:
        return None
    return (row.distances or {}).get(norm, row.eps)


def _attacks(names: Sequence[str], samples: Sequence[SampleVerdict]) -> tuple[AttackResult, ...]:
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


def _health(eps: float, health: Health) -> HealthRecord:
    return HealthRecord(
        eps=eps,
        threat=health.threat,
        attacks=health.attacks,
        samples=health.samples,
        reliable=health.reliable,
        summary=health.summary,
        checks=tuple(HealthCheck(**vars(each)) for each in health.findings),
    )


def _contradicted(each: Reproducer) -> Contradicted:
    record = each.record()
    return Contradicted(
        sample=each.sample,
        cause=each.cause,
        reason=each.reason,
        sentence=str(each),
        file=each.file_name,
        proof=record["proof"],
        attack=record["attack"],
    )


def _gallery(rows: Sequence[VerdictRow], most: int) -> tuple[Example, ...]:
    """The counterexamples of the first samples, each at the smallest eps that it was found for."""
    found: dict[int, Example] = {}
    for row in sorted(rows, key=lambda row: (row.eps, row.sample)):
        detail = row.detail or {}
        if row.witness is not None and row.x is not None and row.by is not None:
            found.setdefault(
                row.sample,
                Example(
                    eps=row.eps,
                    sample=row.sample,
                    label=detail["label"],
                    by=row.by,
                    shape=row.x.shape,
                    clean=_base64(row.x),
                    witness=_base64(row.witness),
                    distances=detail["distances"],
                ),
            )
    return tuple(found[sample] for sample in sorted(found)[:most])


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype="<f4").tobytes()).decode()


def _volatile(findings: Findings) -> Volatile:
    return Volatile(
        seconds=dict(findings.seconds),
        samples=tuple(
            SampleTime(eps=row.eps, sample=row.sample, seconds=row.seconds)
            for row in findings.verdicts
            if row.seconds and all(map(math.isfinite, row.seconds))
        ),
    )
