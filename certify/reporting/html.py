"""The report as one HTML page that needs nothing else: no scripts, no fonts, no network."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import jinja2

from certify.diagnosis import shown as measured
from certify.reporting.compliance import EVIDENCE
from certify.reporting.digits import rounded_down, thinned
from certify.reporting.guarantees import meaning, rests_on, shown, unsaid
from certify.reporting.pictures import Picture, pictures
from certify.reporting.pictures.gallery import becomes
from certify.reporting.schema import HealthCheck, Point, Report, SampleVerdict, Share, SmoothedModel
from certify.reporting.words import doubts
from certify.verdict import Verdict, statistical_sentence

_ROWS = 5000  # of verdicts on a page


def page(report: Report, drawn: Sequence[tuple[Picture, str]] | None = None) -> str:
    """The report as HTML text; drawn: its pictures and their SVG, where they are there already."""
    if drawn is None:
        drawn = [(picture, picture.svg()) for picture in pictures(report)]
    template = environment().get_template("report.html")
    return template.render(
        report=report,
        figures={picture.name: {"about": picture, "data": _image(text)} for picture, text in drawn},
        headlines=headlines(report),
        radius_grid=sorted({g.radius for model in report.smoothing for g in model.guarantees}),
        accounts=[(model, _accounts(model)) for model in report.smoothing],
        smoothing_sentences=sorted({_smoothing_sentence(model) for model in report.smoothing}),
        facts=facts(report),
        points=thinned(report.curve),
        listed=len(report.samples) > _ROWS,
        opened=sum(r.from_eps is not None and r.verdict is Verdict.UNKNOWN for r in report.samples),
        asked=sum(row.from_eps is None for row in report.samples),
        budgets=[(eps, list(rows)) for eps, rows in groupby(_listed_rows(report), lambda row: row.eps)],
        evidence=EVIDENCE,
        verdicts=list(Verdict),
    )


def environment() -> jinja2.Environment:
    """Where the templates are and what they may call; text is escaped for HTML, if for nothing else."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("certify.reporting"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals.update(
        number=number,
        measured=measured,
        threshold=_threshold,
        at_least=_at_least,
        becomes=becomes,
        at_most=_at_most,
        nearest=_nearest,
        lower=_lower,
        meaning=meaning,
        rests_on=rests_on,
        shown=shown,
        unsaid=unsaid,
    )
    return found


def headlines(report: Report) -> list[str]:
    """What to say first: what puts all numbers in doubt, then the numbers."""
    return [*doubts(report), *(_headline(point) for point in _ends(report.curve))]


def facts(report: Report) -> list[tuple[str, str]]:
    """What is known of model, data and execution; evidence that did not come from a run tells less."""
    model, data, steps = report.model, report.data, report.model.preprocessing
    found: list[tuple[str, object]] = [("model", model.name), ("model SHA-256", model.sha256)]
    found += [("weights SHA-256", model.weights_sha256), ("graph SHA-256", model.graph_sha256)]
    found += [("parameters", model.parameters), ("classes", model.num_classes)]
    if model.input_shape is not None:
        found.append(("input shape", " x ".join(map(str, model.input_shape))))
    if steps is not None:
        found += [("input range", _range(steps.input_range)), ("mean", steps.mean), ("std", steps.std)]
        found.append(("preprocessing SHA-256", steps.sha256))
    found += [("data", f"{data.name}, {data.n} samples"), ("data SHA-256", data.sha256)]
    found += [("source", data.source), ("split", data.split), ("selection", data.selection)]
    if data.per_class:
        found.append(("samples per class", ", ".join(f"{c.label}: {c.n}" for c in data.per_class)))
    found.append(("configuration SHA-256", report.identity.config))
    if report.settings is not None:
        found += [(name.replace("_", " "), value) for name, value in report.settings]
    if report.policy is not None:
        found.append(("policy SHA-256", report.policy.sha256))
    return [(name, _listed(value)) for name, value in found if value is not None]


def number(value: float) -> str:
    """A number with six digits at most."""
    return f"{value:.6g}"


def _percent(share: Share, value: float) -> str:
    """A share as it is to be shown, and its interval, rounded outward."""
    low, high = math.floor(1000 * share.low) / 10, math.ceil(1000 * share.high) / 10
    return f"{value:.1f} [{low:.1f},\N{NO-BREAK SPACE}{high:.1f}]"


def _at_least(share: Share) -> str:
    return _percent(share, share.at_least)


def _at_most(share: Share) -> str:
    return _percent(share, share.at_most)


def _nearest(share: Share) -> str:
    return _percent(share, 100 * share.value)


def _lower(value: float | None) -> str:
    return "" if value is None else rounded_down(value)


def _threshold(check: HealthCheck) -> str:
    fail = "" if check.fail is None else f", fail above {check.fail:g}"
    return f"warn above {check.warn:g}{fail}"


def _image(text: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode()


def _ends(points: Sequence[Point]) -> list[Point]:
    """The first, middle and last point, once each."""
    chosen = sorted({0, len(points) // 2, len(points) - 1}) if points else []
    return [points[i] for i in chosen]


def _headline(point: Point) -> str:
    return (
        f"eps = {number(point.eps)}: robust accuracy on these {point.n} samples lies between "
        f"{point.verified_accuracy.at_least:.1f}% (verified) and {point.attacked_accuracy.at_most:.1f}% "
        f"(no attack succeeded); {point.undecided.count} undecided."
    )


def _listed_rows(report: Report) -> list[SampleVerdict]:
    """All verdicts, or where these are too many for a page, those that did not follow from another one."""
    few = len(report.samples) <= _ROWS
    return [row for row in report.samples if few or row.from_eps is None]


def _smoothing_sentence(model: SmoothedModel) -> str:
    return f"Each radius holds {statistical_sentence(model.alpha, joint=False)}."


def _accounts(model: SmoothedModel) -> list[tuple[float, list[Any]]]:
    """The statements about all samples, by radius."""
    return [(radius, list(some)) for radius, some in groupby(model.guarantees, lambda each: each.radius)]


def _range(values: tuple[float, float] | None) -> str:
    return "unbounded" if values is None else f"[{values[0]:g}, {values[1]:g}]"


def _listed(value: object) -> str:
    return ", ".join(map(number, value)) if isinstance(value, tuple) else str(value)
