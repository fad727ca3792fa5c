"""From evidence to ``report.json``: every number that a report tells is made here, once."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from certify.contradiction import Reproducer
from certify.reporting import derived, rates, words
from certify.reporting.findings import Findings
from certify.reporting.methods import Kind, card
from certify.reporting.schema import (
    Contradicted,
    DataSheet,
    Example,
    Finding,
    Identity,
    Method,
    ModelCard,
    Policy,
    Report,
    SampleTime,
    SampleVerdict,
    Settings,
    Volatile,
    Writer,
)
from certify.rows import VerdictRow


def build(findings: Findings, gallery: int) -> Report:
    """The report of some evidence; gallery: how many counterexamples to show at most, 0 for none."""
    about = findings.about
    samples = tuple(_sample(row) for row in findings.verdicts)
    methods = _methods(about, samples)
    levels, attacks = words.verified_levels(samples), [m.name for m in methods if m.attacks]
    smoothing = rates.smoothed(derived.grouped(findings.radii, lambda row: row.sigma))
    by_eps = derived.grouped(samples, lambda row: row.eps)
    reliable = all(health.reliable for health in findings.health.values())
    norm = str(about["threat"]["norm"])
    return Report(
        status="INVALID" if findings.contradictions else "VALID",
        complete=_is_complete(findings),
        identity=Identity(**about["identity"]),
        model=ModelCard(sha256=about["identity"]["model"], **about["model"]),
        data=DataSheet(sha256=about["identity"].get("data"), **about["data"]),
        threat=derived.threat_model(norm, about["threat"]["eps"], _input_range(about), methods),
        methods=methods,
        interval=rates.INTERVAL,
        curve=rates.points({eps: [r.verdict for r in rows] for eps, rows in by_eps.items()}),
        per_class=derived.per_class(samples),
        gap=derived.gap(samples),
        brackets=derived.brackets(norm, samples),
        proofs=derived.proofs(samples),
        attacks=derived.attack_results(attacks, samples),
        attacked_accuracy_is=derived.attacked_accuracy_is(reliable),
        samples=samples,
        smoothing=smoothing,
        health=tuple(derived.health_record(eps, health) for eps, health in findings.health.items()),
        contradictions=tuple(_contradicted(each) for each in findings.contradictions),
        settings=None if about["run"] is None else Settings(**about["run"]),
        writers=tuple(Writer(**vars(each)) for each in findings.writers),
        policy=None if findings.policy is None else Policy.of(*findings.policy),
        claimed=words.claimed(levels, attacks),
        not_claimed=words.not_claimed(norm.capitalize(), levels, bool(smoothing)),
        gallery=_gallery(findings.verdicts, gallery),
        volatile=_volatile(findings),
    )


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
        adversarial=detail.get("adversarial"),
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


def _input_range(about: Mapping[str, Any]) -> tuple[float, float] | None:
    steps = about["model"].get("preprocessing")
    return None if steps is None or steps["input_range"] is None else tuple(steps["input_range"])


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
                    adversarial=detail.get("adversarial"),
                    by=row.by,
                    shape=row.x.shape,
                    dtype=row.x.dtype.name,
                    clean=_base64(row.x),
                    witness=_base64(row.witness),
                    distances=detail["distances"],
                ),
            )
    return tuple(found[sample] for sample in sorted(found)[:most])


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(_little(array)).decode()


def _volatile(findings: Findings) -> Volatile:
    return Volatile(
        seconds=dict(findings.seconds),
        samples=tuple(
            SampleTime(eps=row.eps, sample=row.sample, seconds=row.seconds)
            for row in findings.verdicts
            if row.seconds and all(map(math.isfinite, row.seconds))
        ),
    )
