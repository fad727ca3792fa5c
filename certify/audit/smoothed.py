"""Every bound of a smoothed classifier's part of a report, from the votes that were counted."""

from __future__ import annotations

import ast
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from certify.audit.rates import share_problems
from certify.binomial import tail_at_most
from certify.errors import UsageError
from certify.reporting.schema import Report, SampleRadius, SmoothedModel
from certify.smoothing.laws import LAWS, NoiseLaw
from certify.smoothing.modes.mixture import lower_sequence
from certify.smoothing.statements import (
    Certificates,
    Statement,
    bonferroni,
    few_failures,
    most_failures,
    per_sample,
    population,
)


class _Counted(BaseModel):
    """What a certifier records of a sample, as far as it is looked at here."""

    model_config = ConfigDict(strict=True, frozen=True)

    hits: int
    n: int
    n0: int
    selected: int
    selection: Annotated[list[NonNegativeInt], Field(min_length=1)]
    p_lower: float
    p_other: float


# Radii are compared up to this share: what other versions of a special function may differ by.
_SAME = 1e-12


def recomputable(model: SmoothedModel) -> bool:
    """Whether the recorded counts alone give the bounds: modes of one look at one class's votes."""
    return model.mode.partition("(")[0] in ("Fixed", "Anytime") and _law(model) is not None


def radius_problems(model: SmoothedModel) -> Iterator[str]:
    """Certificates whose bound or radius is more than their counts allow; needs ``recomputable``."""
    law = _law(model)
    if law is None:
        return
    for each in model.samples:
        yield from _certificate(model, law, each)


def _certificate(model: SmoothedModel, law: NoiseLaw, each: SampleRadius) -> Iterator[str]:
    what = f"sample {each.sample} of the smoothed classifier (sigma {model.sigma:g})"
    try:
        found = _Counted.model_validate(each.detail)
    except ValidationError:
        yield f"{what} lacks the counts that its radius rests on"
        return
    hits, n, votes, selected = found.hits, found.n, found.selection, found.selected
    p_lower, p_other = found.p_lower, found.p_other
    if sum(votes) != found.n0 or votes.index(max(votes)) != selected:
        yield f"{what}: class {selected} is not the one that the selection's votes {votes} chose"
    if each.label != (selected if each.radius > 0 else -1):
        yield f"{what} has label {each.label}, but its selected class is {selected}, radius {each.radius:g}"
    if each.alpha > model.alpha:
        yield f"{what} may fail with chance {each.alpha:g}, more than {model.alpha:g}"
    if not _is_bound(model, p_lower, hits, n, each.alpha):
        yield f"{what}: {hits} of {n} votes do not give the lower bound {p_lower}"
    rest = max(p_other, 1 - p_lower)
    allowed = float(law.radius(np.array([p_lower]), np.array([rest]))[0])
    if not each.radius <= allowed * (1 + _SAME):
        yield f"{what}: the bound {p_lower} gives a radius of at most {allowed}, not {each.radius}"


def _is_bound(model: SmoothedModel, p_lower: float, hits: int, n: int, alpha: float) -> bool:
    if not 0 <= hits <= n or not 0 <= p_lower < 1 or not 0 < alpha < 1:
        return False
    if p_lower == 0:
        return True
    if model.mode.startswith("Anytime("):
        return p_lower <= lower_sequence(hits, n, alpha) * (1 + _SAME)
    return model.mode == f"Fixed(n={n})" and hits > 0 and tail_at_most(hits, n, p_lower, alpha)


def summary_problems(report: Report) -> Iterator[str]:
    """Counts, curves and joint statements that are not those of the certificates."""
    for model in report.smoothing:
        what = f"smoothed classifier (sigma {model.sigma:g})"
        ids = Counter(each.sample for each in model.samples)
        if len(ids) != len(model.samples) or model.n != len(model.samples):
            yield f"{what}: {len(ids)} samples are not {model.n}"
            continue
        certificates = _certificates(model)
        abstained = sum(each.label < 0 for each in model.samples)
        wrong = model.n - abstained - int(certificates.correct.sum())
        if (model.abstained, model.wrong) != (abstained, wrong):
            told = f"{model.abstained} and {model.wrong}"
            yield f"{what}: {abstained} abstain and {wrong} are wrong, not {told}"
        if any(each.alpha > model.alpha for each in model.samples):
            yield f"{what}: a certificate has a larger chance of failure than {model.alpha:g}"
        yield from _steps(what, report, model, certificates)
        yield from _guarantees(what, model, certificates)


def _steps(what: str, report: Report, model: SmoothedModel, certificates: Certificates) -> Iterator[str]:
    doubtful = most_failures(certificates, model.joint_failure)
    for step in model.steps:
        count = certificates.count(step.radius)
        at = f"{what}: certified accuracy at radius {step.radius:g}"
        yield from share_problems(at, step.certified_accuracy, count, model.n, report.interval.confidence)
        if step.jointly > max(count - doubtful, 0) / model.n:
            yield f"{at} is jointly at most {max(count - doubtful, 0)} of {model.n}, not {step.jointly:g}"


def _guarantees(what: str, model: SmoothedModel, certificates: Certificates) -> Iterator[str]:
    for told in model.guarantees:
        found = [s for s in _statements(certificates, told.radius, told.failure) if s.method == told.method]
        if not found:
            yield f"{what}: {told.method!r} at radius {told.radius:g} is no statement that follows"
            continue
        (statement,) = found
        expected = {**statement.record(), "sentence": str(statement)}
        given = told.model_dump()
        wrong = [name for name, value in expected.items() if not _agrees(given[name], value)]
        if wrong:
            yield f"{what}: {statement}; the report has another {wrong[0]}: {given[wrong[0]]}"


def _agrees(told: Any, found: Any) -> bool:
    if isinstance(told, float) and isinstance(found, float):
        return math.isclose(told, found, rel_tol=1e-12)
    return bool(told == found)


def _statements(certificates: Certificates, radius: float, failure: float) -> Iterator[Statement]:
    """All that can be said at this radius; where the chances of failure are out of domain, less."""
    for said in (few_failures, population):
        with suppress(UsageError):
            yield said(certificates, radius, failure)
    for sure in (per_sample, bonferroni):
        with suppress(UsageError):
            yield sure(certificates, radius)


def _certificates(model: SmoothedModel) -> Certificates:
    return Certificates(
        np.array([each.label == each.truth for each in model.samples]),
        np.array([each.radius for each in model.samples], dtype=np.float64),
        np.array([each.alpha for each in model.samples], dtype=np.float64),
    )


def _law(model: SmoothedModel) -> NoiseLaw | None:
    """The law that shows itself as in the report; None for one that is not known or has odd parameters."""
    classes = {kind.__name__: kind for kind in LAWS.values() if isinstance(kind, type)}
    try:
        call = ast.parse(model.law, mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            return None
        values = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
        law: NoiseLaw = classes[call.func.id](**values)
    except (SyntaxError, ValueError, KeyError, TypeError, UsageError):
        return None
    return law if repr(law) == model.law else None
