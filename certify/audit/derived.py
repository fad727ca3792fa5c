"""Parts of a report that follow from its other parts, made again and compared to the last byte."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from certify.diagnosis import Finding, Health
from certify.diagnosis import Outcome as Checked
from certify.errors import UsageError
from certify.reporting import derived, rates, words
from certify.reporting.canonical import canonical
from certify.reporting.compliance import with_maps
from certify.reporting.methods import card
from certify.reporting.schema import HealthRecord, Part, Report, SampleRadius, SmoothedModel
from certify.rows import Basis, RadiusRow


def table_problems(report: Report) -> Iterator[str]:
    """Tables that are not those of the samples, in sentences."""
    norm, samples = report.threat.perturbation.name, report.samples
    attacks = [method.name for method in report.methods if method.attacks]
    for name, told, found in (
        ("the table of classes", report.per_class, derived.per_class(samples)),
        ("the gap table", report.gap, derived.gap(samples)),
        ("the table of distances", report.brackets, derived.brackets(norm, samples)),
        ("the count of proofs", report.proofs, derived.proofs(samples)),
        ("the table of attacks", report.attacks, derived.attack_results(attacks, samples)),
        ("the smoothed classifiers", report.smoothing, _smoothing(report)),
    ):
        yield from _compared(name, told, found)
    yield from _classes(report)
    yield from _asked(report)


def text_problems(report: Report) -> Iterator[str]:
    """Sentences, method cards and compliance maps that are not those of this version, in sentences."""
    steps, told = report.model.preprocessing, report.threat.perturbation
    bounds = None if steps is None else steps.input_range
    norm, levels = told.name, words.verified_levels(report.samples)
    attacks = [method.name for method in report.methods if method.attacks]
    limits = words.not_claimed(norm.capitalize(), levels, bool(report.smoothing))
    reliable = all(each.reliable for each in report.health)
    for name, ours, theirs in (
        ("the threat model", report.threat, derived.threat_model(norm, told.eps, bounds, report.methods)),
        ("the methods", report.methods, [card(m.name, m.kind, report.samples) for m in report.methods]),
        ("the interval", report.interval, rates.INTERVAL),
        ("attacked accuracy", report.attacked_accuracy_is, derived.attacked_accuracy_is(reliable)),
        ("the meaning of the words", report.claimed, words.claimed(levels, attacks)),
        ("what is not claimed", report.not_claimed, limits),
        ("the health of the attacks", report.health, [_health(each, report) for each in report.health]),
    ):
        yield from _compared(name, ours, theirs)
    yield from _maps(report)


def _maps(report: Report) -> Iterator[str]:
    """The maps that come along are as they are; those of users name evidence that there is."""
    again = with_maps(report)
    own = {each.key: each for each in again.compliance}
    if {each.key for each in report.compliance[: len(own)]} != own.keys():
        yield "the compliance maps are not those of this version"
        return
    yield from _compared("compliance", report.compliance[: len(own)], again.compliance)
    missing = [
        f"{each.title}, {clause.clause}: {clause.topic}"
        for each in report.compliance
        for clause in each.clauses
        if not clause.shown
    ]
    yield from _compared("what was not measured", report.not_measured, missing)
    for each in report.compliance[len(own) :]:
        for clause in each.clauses:
            if clause.shown != bool(clause.evidence):
                yield f"clause {clause.clause} of {each.key} says {clause.shown}, with {clause.evidence}"


def _health(told: HealthRecord, report: Report) -> HealthRecord:
    """The record as it follows from the checks' own numbers."""
    findings = [Finding(**{**dict(check), "outcome": _outcome(check)}) for check in told.checks]
    return derived.health_record(
        told.eps, Health(report.model.sha256, told.threat, told.attacks, told.samples, tuple(findings))
    )


def _outcome(check: Any) -> Checked:
    if check.measured is None:
        return Checked.NOT_RUN
    if check.fail is not None and not check.measured <= check.fail:
        return Checked.FAIL
    return Checked.PASS if check.measured <= check.warn else Checked.WARN


def _smoothing(report: Report) -> Sequence[SmoothedModel]:
    """The smoothed classifiers from the certificates of their samples."""
    rows = {model.sigma: [_row(model, each) for each in model.samples] for model in report.smoothing}
    try:
        return rates.smoothed({sigma: some for sigma, some in rows.items() if some})
    except (UsageError, ValueError, ArithmeticError):  # chances of failure that are none
        return ()


def _row(model: SmoothedModel, each: SampleRadius) -> RadiusRow:
    basis = {field.name: getattr(model, field.name) for field in fields(Basis)}
    detail = {**each.detail, **basis}
    return RadiusRow(model.sigma, each.sample, each.truth, each.label, each.radius, each.alpha, detail)


def _classes(report: Report) -> Iterator[str]:
    """Labels of the samples that the data sheet does not have."""
    sizes = {each.label: each.n for each in report.data.per_class}
    labels = {row.sample: row.label for row in report.samples if row.label is not None}
    found = {label: sum(each == label for each in labels.values()) for label in set(labels.values())}
    whole = len(labels) == report.data.n
    for label in sorted(sizes.keys() | found.keys()) if sizes else ():
        told, count = sizes.get(label, 0), found.get(label, 0)
        if told < count or (whole and told != count):
            yield f"the data sheet has {told} samples of class {label}, {count} were evaluated"


def _asked(report: Report) -> Iterator[str]:
    """Methods, budgets and records that the samples do not bear out."""
    names = [method.name for method in report.methods]
    smoothing = [method for method in report.methods if method.kind == "smoothing"]
    budgets = report.threat.perturbation.eps
    if len(set(names)) < len(names) or list(budgets) != sorted(set(budgets)):
        yield "a method or a budget stands there twice, or the budgets do not rise"
    for row in report.samples:
        for finding in row.findings:
            if finding.method not in names:
                yield f"sample {row.sample} at eps {row.eps:g} has a finding of {finding.method}, no method"
    timed = {(each.eps, each.sample) for each in report.volatile.samples}
    if not timed <= {(row.eps, row.sample) for row in report.samples if row.from_eps is None}:
        yield "there are times of samples that no method was asked about"
    if report.complete and len(smoothing) != len(report.smoothing):
        yield f"there are {len(smoothing)} certifiers and {len(report.smoothing)} smoothed classifiers"
    if not report.contradictions and any(derived.reason(row) == "contradiction" for row in report.samples):
        yield "a sample counts as an error because proof and attack contradict, and no contradiction is told"


def _compared(name: str, told: object, found: object) -> Iterator[str]:
    place = _difference(plain(told), plain(found))
    if place is not None:
        where, ours, theirs = place
        yield f"{name}{where}: the report has {_short(ours)}, what follows is {_short(theirs)}"


def plain(value: object) -> Any:
    """Parts and tuples as JSON values."""
    if isinstance(value, Part):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def _difference(told: Any, found: Any, place: str = "") -> tuple[str, Any, Any] | None:
    """The first place where two trees differ, with what stands there."""
    if isinstance(told, dict) and isinstance(found, dict) and told.keys() == found.keys():
        pairs = [(f"{place}.{key}", told[key], found[key]) for key in told]
    elif isinstance(told, list) and isinstance(found, list) and len(told) == len(found):
        pairs = [(f"{place}[{k}]", a, b) for k, (a, b) in enumerate(zip(told, found, strict=True))]
    else:
        return None if canonical(told) == canonical(found) else (place, told, found)
    return next((each for pair in pairs if (each := _difference(pair[1], pair[2], pair[0]))), None)


def _short(value: Any) -> str:
    text = f"{len(value)} entries" if isinstance(value, list | dict) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
