"""The report as one HTML page that needs nothing else: no scripts, no fonts, no network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import jinja2

from bounds.rounding import Level
from certify.curve import CONFIDENCE, Point, RadiusCurve, Share
from certify.diagnosis import shown as measured
from certify.reporting.digits import rounded_down
from certify.reporting.findings import Findings
from certify.reporting.guarantees import grid, guarantees, meaning, rests_on, shown, unsaid
from certify.reporting.plots import curve_figure, radius_figure, svg
from certify.verdict import SENTENCES, Verdict, attack_sentence, statistical_sentence


def page(findings: Findings) -> str:
    """The report as HTML text."""
    points, radius_curves = findings.curve.points, findings.radius_curves
    radii = grid(radius_curves)
    template = _environment().get_template("report.html")
    return template.render(
        about=findings.about,
        norm=findings.norm,
        headlines=[*_warnings(findings), *(_headline(p) for p in _ends(points))],
        contradictions=findings.contradictions,
        health=findings.health,
        attacked_is=findings.attacked_is,
        points=points,
        verdicts=list(Verdict),
        curve_image=_image(
            svg(curve_figure(findings.curve, findings.norm, findings.unit, findings.attacked_is))
        )
        if points
        else "",
        radius_curves=radius_curves,
        radius_image=_image(svg(radius_figure(radius_curves))) if radius_curves else "",
        radius_grid=radii,
        guarantees=[(c, [(r, guarantees(c, r)) for r in radii]) for c in radius_curves],
        smoothing_sentences=sorted({_smoothing_sentence(c) for c in radius_curves}),
        meanings=_meanings(findings),
        limits=_limits(findings),
        facts=_facts(findings),
        versions=findings.versions,
        samples=[(eps, list(rows)) for eps, rows in groupby(findings.verdicts, lambda row: row.eps)],
        radii=[(sigma, list(rows)) for sigma, rows in groupby(findings.radii, lambda row: row.sigma)],
        seconds=findings.seconds,
        confidence=f"{CONFIDENCE:.0%}",
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("certify.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        number=_number,
        measured=measured,
        at_least=_at_least,
        at_most=_at_most,
        nearest=_nearest,
        margin=_margin,
        meaning=meaning,
        rests_on=rests_on,
        shown=shown,
        unsaid=unsaid,
    )
    return environment


def _number(value: float) -> str:
    return f"{value:.6g}"


def _percent(share: Share, value: float) -> str:
    """A share as it is to be shown, and its interval."""
    return f"{value:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def _at_least(share: Share) -> str:
    return _percent(share, share.at_least)


def _at_most(share: Share) -> str:
    return _percent(share, share.at_most)


def _nearest(share: Share) -> str:
    return _percent(share, 100 * share.value)


def _margin(value: float | None) -> str:
    return "" if value is None else rounded_down(value)


def _image(text: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode()


def _ends(points: Sequence[Point]) -> list[Point]:
    """The first, middle and last point, once each."""
    chosen = sorted({0, len(points) // 2, len(points) - 1}) if points else []
    return [points[i] for i in chosen]


def _warnings(findings: Findings) -> list[str]:
    """What puts all other numbers in doubt."""
    count = len(findings.contradictions)
    doubts = [
        f"{count} {'sample was' if count == 1 else 'samples were'} both proved robust and attacked, and "
        "counted as errors: until this is resolved, no other number here is to be relied upon."
    ]
    return (doubts if count else []) + [each.summary for each in findings.unreliable]


def _headline(point: Point) -> str:
    undecided = point.counts[Verdict.UNKNOWN] + point.counts[Verdict.ERROR]
    return (
        f"eps = {_number(point.eps)}: robust accuracy on these {point.n} samples lies between "
        f"{point.verified.at_least:.1f}% (verified) and {point.attacked.at_most:.1f}% "
        f"(no attack succeeded); {undecided} undecided."
    )


def _smoothing_sentence(curve: RadiusCurve) -> str:
    return f"Each radius holds {statistical_sentence(curve.alpha, joint=False)}."


def _meanings(findings: Findings) -> list[tuple[str, str]]:
    """Each word of the tables and the sentence that it stands for."""
    attacks = " and ".join(findings.about["attacks"]) or "any attack (none was run)"
    verified = [(f"verified ({level.value})", _sentence(SENTENCES[level])) for level in findings.levels]
    return [
        ("misclassified", "The answer is wrong, or tied, without any attack."),
        (
            "falsified",
            "A counterexample within the threat was found and replayed on the original model: it lies in the "
            "region without tolerance and changes the answer.",
        ),
        *verified,
        ("unknown", f"Neither proved nor attacked: {attack_sentence(attacks)}."),
        ("error", "Not evaluated, or both proved and attacked."),
    ]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _limits(findings: Findings) -> list[str]:
    """What a reader might take from the numbers and must not."""
    limits = [
        f"Nothing is said about threats other than {findings.norm} threats of the listed eps around these "
        "samples.",
        "Unknown is not robust, and surviving an attack is not a proof.",
        "Steps before the model, such as decoding or resizing of files, are not part of any statement.",
        "The intervals assume samples drawn independently from the population that they speak of.",
    ]
    if Level.FLOAT in findings.levels:
        limits.append("Samples verified at level float are not proved: rounding was not accounted for.")
    if Level.REAL in findings.levels:
        limits.append(
            "Level real is about exact arithmetic; what the rounding of a float execution may change is not "
            "covered."
        )
    if findings.radii:
        limits.append("Nothing that is said of the smoothed classifier holds of the network itself.")
    return limits


def _facts(findings: Findings) -> list[tuple[str, Any]]:
    """What is known of model, data and execution; evidence that did not come from a run tells less."""
    model, data = findings.about["model"], findings.about["data"]
    facts: list[tuple[str, Any]] = [("model", model["name"])]
    if "input_shape" in model:
        low_high = model["input_range"]
        shown = "unbounded" if low_high is None else f"[{low_high[0]:g}, {low_high[1]:g}]"
        facts += [
            ("input shape", " x ".join(map(str, model["input_shape"]))),
            ("input range", shown),
            ("classes", model["num_classes"]),
        ]
    facts.append(("data", f"{data['name']}, {data['samples']} samples"))
    return facts + [(name.replace("_", " "), value) for name, value in sorted(findings.about["run"].items())]
