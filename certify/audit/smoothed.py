"""Every bound of a smoothed classifier's part of a report, from the votes that were counted."""

from __future__ import annotations

import ast
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from certify.audit.rates import share_problems
from certify.binomial import tail_at_most
from certify.errors import UsageError
from certify.reporting.schema import Report, SampleRadius, SmoothedModel
from certify.smoothing.laws import LAWS, NoiseLaw
from certify.smoothing.modes import MODES, Estimate, Mode, retraced
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

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    hits: int
    n: int
    n0: int
    selected: int
    selection: Annotated[list[NonNegativeInt], Field(min_length=1)]
    votes: list[Annotated[list[int], Field(min_length=2, max_length=2)]]
    p_lower: float
    p_other: float


# Bounds and radii agree up to this share: what other versions of a special function may differ by.
_SAME = 1e-12


def recomputable(model: SmoothedModel) -> bool:
    """Whether the law and the mode are known here, so that radii follow from the recorded votes."""
    return _mode(model) is not None and _law(model) is not None


def radius_problems(report: Report, model: SmoothedModel) -> Iterator[str]:
    """Certificates that do not follow from the votes that were counted; needs ``recomputable``."""
    law, mode = _law(model), _mode(model)
    if law is None or mode is None:
        return
    yield from _card(report, model, law)
    labels = {row.sample: row.label for row in report.samples}
    run = report.settings
    for each in model.samples:
        yield from _certificate(model, law, mode, each, report.model.num_classes)
        drawn = (each.detail.get("seed"), each.detail.get("device"))
        if run is not None and drawn != (run.seed, run.device):
            yield f"sample {each.sample} has noise of seed and device {drawn}, not those of the run"
        if labels.get(each.sample) != each.truth:
            yield f"sample {each.sample} has class {each.truth} here and {labels.get(each.sample)} elsewhere"


def _card(report: Report, model: SmoothedModel, law: NoiseLaw) -> Iterator[str]:
    """What is said of the smoothed classifier as a whole."""
    what = f"smoothed classifier (sigma {model.sigma:g})"
    told = (model.norm, model.reference, model.domain)
    found = (f"L{law.norm:g}", law.reference, law.domain)
    if told != found:
        yield f"{what}: {model.law} is about {found}, not {told}"
    cards = [m.parameters for m in report.methods if m.kind == "smoothing"]
    expected = (model.sigma, model.alpha, model.execution)
    if all((c.get("sigma"), c.get("alpha"), c.get("execution")) != expected for c in cards):
        yield f"{what}: no method has this sigma, alpha and execution"


def _certificate(
    model: SmoothedModel, law: NoiseLaw, mode: Mode, each: SampleRadius, classes: int | None
) -> Iterator[str]:
    what = f"sample {each.sample} of the smoothed classifier (sigma {model.sigma:g})"
    try:
        found = _Counted.model_validate(each.detail)
        follows = retraced(mode, law, each.alpha, tuple((hits, rival) for hits, rival in found.votes))
    except ValidationError:
        yield f"{what} lacks the counts that its radius rests on"
        return
    except UsageError as error:
        yield f"{what}: {error}"
        return
    votes, selected = found.selection, found.selected
    if classes not in (None, len(votes)):
        yield f"{what} has votes for {len(votes)} classes, not {classes}"
    if sum(votes) != found.n0 or votes.index(max(votes)) != selected:
        yield f"{what}: class {selected} is not the one that the selection's votes {votes} chose"
    if each.label != (selected if each.radius > 0 else -1):
        yield f"{what} has label {each.label}, but its selected class is {selected}, radius {each.radius:g}"
    if each.alpha != model.alpha:
        yield f"{what} may fail with chance {each.alpha:g}, not {model.alpha:g}"
    told = Estimate(each.radius, found.p_lower, found.p_other, found.hits, found.n)
    for name, value in vars(follows).items():
        if not math.isclose(value, getattr(told, name), rel_tol=_SAME):
            yield f"{what}: the votes give {name} {value}, not {getattr(told, name)}"
    if not _is_bound(model, found, each.alpha):
        yield f"{what}: {found.hits} of {found.n} votes do not give the lower bound {found.p_lower}"


def _is_bound(model: SmoothedModel, found: _Counted, alpha: float) -> bool:
    """The lower bound of modes of one look at one class's votes, by other means than the mode's own."""
    hits, n, p_lower = found.hits, found.n, found.p_lower
    if not 0 <= hits <= n or not 0 <= p_lower < 1:
        return False
    if p_lower == 0 or not model.mode.startswith(("Fixed(", "Anytime(")):
        return True
    if model.mode.startswith("Anytime("):
        return p_lower <= lower_sequence(hits, n, alpha) * (1 + _SAME)
    return hits > 0 and tail_at_most(hits, n, p_lower, alpha)


def summary_problems(report: Report) -> Iterator[str]:
    """Counts, curves and joint statements that are not those of the certificates."""
    for model in report.smoothing:
        what = f"smoothed classifier (sigma {model.sigma:g})"
        ids = Counter(each.sample for each in model.samples)
        if len(model.samples) != model.n or ids.keys() != set(range(model.n)):
            yield f"{what}: its {len(ids)} samples are not the first {model.n}"
            continue
        certificates = _certificates(model)
        abstained = sum(each.label < 0 for each in model.samples)
        wrong = model.n - abstained - int(certificates.correct.sum())
        if (model.abstained, model.wrong) != (abstained, wrong):
            told = f"{model.abstained} and {model.wrong}"
            yield f"{what}: {abstained} abstain and {wrong} are wrong, not {told}"
        if any(each.alpha != model.alpha for each in model.samples):
            yield f"{what}: a certificate has another chance of failure than {model.alpha:g}"
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
    law: NoiseLaw | None = _shown(model.law, LAWS.values())
    return law


def _mode(model: SmoothedModel) -> Mode | None:
    mode: Mode | None = _shown(model.mode, MODES.values())
    return mode


def _shown(text: str, kinds: Iterable[object]) -> Any:
    """The value of one of these kinds that shows itself as this text, or None."""
    classes = {kind.__name__: kind for kind in kinds if isinstance(kind, type)}
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            return None
        values = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
        value = classes[call.func.id](**values)
    except (SyntaxError, ValueError, KeyError, TypeError, RecursionError, MemoryError, UsageError):
        return None
    return value if repr(value) == text else None
