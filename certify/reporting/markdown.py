"""A section for a model card in Markdown, and results in the manner of the Hugging Face Hub."""

from __future__ import annotations

import json

from bounds.rounding import Level
from certify.reporting.digits import thinned
from certify.reporting.html import environment, facts, headlines
from certify.reporting.schema import Report
from certify.verdict import Verdict


def model_card(report: Report) -> str:
    """A section for the model's README: numbers, what they mean, and what they do not."""
    template = environment().get_template("report.md")
    return template.render(
        report=report, points=thinned(report.curve), headlines=headlines(report), facts=facts(report)
    )


def eval_results(report: Report) -> str | None:
    """A file for the folder ``.eval_results`` of a model repository; None without the data's Hub name, and
    for a report that is INVALID.

    One entry per eps with the verified accuracy in percent, rounded down: the number that is proved.
    """
    if report.data.hub is None or report.status == "INVALID":
        return None
    threat, lines = report.threat.perturbation, []
    for point in report.curve:
        notes = (
            f"{_kind(report, point.eps)} lower bound of robust accuracy on {point.n} samples, {threat.name} "
            f"eps {point.eps:g} ({threat.unit}); by attack ({report.attacked_accuracy_is}) "
            f"{point.attacked_accuracy.at_most:.1f}; report SHA-256 {report.digest()}"
        )
        lines += [
            "- dataset:",
            f"    id: {json.dumps(report.data.hub)}",
            f"    task_id: {json.dumps(f'verified_accuracy_{threat.name}_{point.eps:g}')}",
            f"  value: {point.verified_accuracy.at_least:.1f}",
            f"  notes: {json.dumps(notes)}",
        ]
    return "\n".join(lines) + "\n"


def _kind(report: Report, eps: float) -> str:
    """What the lower bound at one eps may be called."""
    verified = [row for row in report.samples if row.eps == eps and row.verdict is Verdict.VERIFIED]
    if any(row.level is Level.FLOAT for row in verified):
        return "not proved (level float):"
    return "probable" if any(row.alpha for row in verified) else "proved"
