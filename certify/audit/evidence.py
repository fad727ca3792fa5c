"""Whether the evidence of each sample carries its verdict, and whether no two verdicts contradict."""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from certify.reporting.schema import Example, Report, SampleVerdict
from certify.verdict import Verdict

Place = tuple[float, int]


def evidence_problems(report: Report) -> Iterator[str]:
    """Verdicts that their own findings do not carry, in sentences."""
    rows = {(row.eps, row.sample): row for row in report.samples}
    names = {method.name for method in report.methods}
    open_from = {
        row.sample: row.eps
        for row in sorted(report.samples, key=lambda row: -row.eps)
        if row.verdict is Verdict.UNKNOWN and row.from_eps is None
    }
    for row in report.samples:
        what = f"sample {row.sample} at eps {row.eps:g}"
        if len({finding.method for finding in row.findings}) < len(row.findings):
            yield f"{what} has several findings of one method"
        if row.by is not None and names and row.by not in names:
            yield f"{what} was settled by {row.by}, which is none of the methods"
        wrong = row.predicted is not None and row.label is not None and row.predicted != row.label
        if wrong and row.verdict is not Verdict.MISCLASSIFIED:
            yield f"{what} is predicted as {row.predicted}, its label is {row.label}, and it counts as right"
        yield from _surplus(what, row)
        source = row if row.from_eps is None else rows.get((row.from_eps, row.sample))
        if source is None or (source is not row and source.from_eps is not None):
            yield f"{what} takes its verdict from eps {row.from_eps}, where there is none"
        elif row.verdict in _CARRIED:
            yield from _CARRIED[row.verdict](what, row, source, report)
        elif source is not row:
            yield from _open(what, row, source, open_from.get(row.sample, row.eps))


def _surplus(what: str, row: SampleVerdict) -> Iterator[str]:
    """What belongs to verdicts of another kind."""
    if row.by is None and row.alpha != 0:
        yield f"{what} is settled by nobody, and wrong with chance {row.alpha:g}"
    attacked = (row.adversarial, row.distances, row.witness_sha256) != (None, None, None)
    if attacked != (row.verdict is Verdict.FALSIFIED):
        yield f"{what} is {row.verdict.value}, and that has {'a' if attacked else 'no'} counterexample"


def _verified(what: str, row: SampleVerdict, source: SampleVerdict, report: Report) -> Iterator[str]:
    if source.verdict is not Verdict.VERIFIED or source.eps < row.eps or source.margin != row.margin:
        yield f"{what} takes a proof from eps {source.eps:g}, which is not there"
    found = {(f.method, f.margin, f.level, f.alpha) for f in source.findings}
    if (row.by, row.margin, row.level, row.alpha) not in found:
        yield f"{what} is verified, and no finding of {row.by} has its margin {row.margin}"
    if row.level is None and not 0 < row.alpha < 1:
        yield f"{what} is verified with neither a level nor a chance of failure"


def _open(what: str, row: SampleVerdict, source: SampleVerdict, first: float) -> Iterator[str]:
    """A verdict that proves nothing: wrong everywhere, or open between two budgets at which it was asked."""
    if source.verdict is not row.verdict or row.margin != source.margin:
        yield f"{what} takes its verdict from eps {source.eps:g}, where it is another"
    if row.verdict is Verdict.UNKNOWN and not first < row.eps < source.eps:
        yield f"{what} counts as open, and it was not asked at a smaller and at a larger eps"


def _falsified(what: str, row: SampleVerdict, source: SampleVerdict, report: Report) -> Iterator[str]:
    norm = report.threat.perturbation.name
    if source.verdict is not Verdict.FALSIFIED or source.witness_sha256 != row.witness_sha256:
        yield f"{what} takes a counterexample from eps {source.eps:g}, which is not there"
    distance = (row.distances or {}).get(norm, 0.0)
    if not distance <= math.nextafter(row.eps, math.inf):
        yield f"the counterexample of {what} is {distance} away"
    if row.adversarial is None:
        yield f"the class of the counterexample of {what} is missing"
    if all((finding.method, finding.alpha) != (row.by, row.alpha) for finding in source.findings):
        yield f"{what} is falsified, and there is no finding of {row.by}"


_CARRIED = {Verdict.VERIFIED: _verified, Verdict.FALSIFIED: _falsified}


def contradictions(report: Report) -> Iterator[str]:
    """Samples that are both proved and attacked, at the same eps or across them."""
    for each in report.contradictions:
        yield each.sentence
    norm = report.threat.perturbation.name
    verified: dict[int, float] = defaultdict(lambda: -1.0)
    for row in report.samples:
        if row.verdict is Verdict.VERIFIED:
            verified[row.sample] = max(verified[row.sample], row.eps)
    for row in report.samples:
        failing = {
            Verdict.MISCLASSIFIED: 0.0,
            Verdict.FALSIFIED: min((row.distances or {}).get(norm, row.eps), row.eps),
        }.get(row.verdict, math.inf)
        if failing <= verified[row.sample]:
            proved = f"sample {row.sample} is verified at eps {verified[row.sample]:g}"
            yield f"{proved} and {row.verdict.value} at a distance of {failing:g}"


def gallery_problems(report: Report) -> Iterator[str]:
    """Counterexamples that are shown: their bytes, distances and valid range, measured again."""
    rows: Mapping[Place, SampleVerdict] = {(row.eps, row.sample): row for row in report.samples}
    if len({(each.eps, each.sample) for each in report.gallery}) < len(report.gallery):
        yield "a counterexample is shown twice"
    for each in report.gallery:
        what = f"the counterexample shown of sample {each.sample}"
        row = rows.get((each.eps, each.sample))
        if (
            row is None
            or row.verdict is not Verdict.FALSIFIED
            or (row.by, row.label, row.adversarial) != (each.by, each.label, each.adversarial)
        ):
            yield f"{what} belongs to no falsified sample at eps {each.eps:g}"
            continue
        try:
            clean, witness = shown(each)
        except (ValueError, binascii.Error) as error:
            yield f"{what} cannot be read: {error}"
            continue
        if hashlib.sha256(witness.tobytes()).hexdigest() != row.witness_sha256:
            yield f"{what} has other bytes than the one that was found"
        measured = distances(clean, witness)
        if any(not same(each.distances.get(name), value) for name, value in measured.items()):
            yield f"{what} is {measured} away, not {each.distances}"
        limits = report.threat.perturbation.input_range
        if limits is not None and not ((witness >= limits[0]) & (witness <= limits[1])).all():
            yield f"{what} leaves the input range {limits}"


def shown(example: Example) -> tuple[NDArray[Any], NDArray[Any]]:
    """The arrays of an example, in the model's input shape; raises ``ValueError`` for other bytes."""
    kind = np.dtype(example.dtype).newbyteorder("<")
    clean, witness = (
        np.frombuffer(base64.b64decode(text, validate=True), dtype=kind).reshape(example.shape)
        for text in (example.clean, example.witness)
    )
    return clean, witness


def distances(clean: NDArray[Any], witness: NDArray[Any]) -> dict[str, float]:
    """How far a counterexample is from its sample in each norm."""
    delta = np.abs(witness.astype(np.float64) - clean.astype(np.float64)).ravel()
    return {
        "linf": float(np.linalg.norm(delta, np.inf)),
        "l2": float(np.linalg.norm(delta)),
        "l1": float(delta.sum()),
        "l0": float((delta != 0).sum()),
    }


def same(told: float | None, measured: float) -> bool:
    """Whether a number is the one that was measured, but for rounding."""
    return told is not None and math.isclose(told, measured, rel_tol=1e-9, abs_tol=1e-12)
