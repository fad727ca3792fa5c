"""A section for a model card in Markdown, and results in the manner of the Hugging Face Hub."""

from __future__ import annotations

import json

from certify.reporting.digits import thinned
from certify.reporting.html import environment, facts, headlines
from certify.reporting.schema import Report


def model_card(report: Report) -> str:
    """A section for the model's README: numbers, what they mean, and what they do not."""
    template = environment().get_template("report.md")
    return template.render(
        report=report, points=thinned(report.curve), headlines=headlines(report), facts=facts(report)
    )


def eval_results(report: Report) -> str | None:
    """A file for the folder ``.eval_results`` of a model repository; None without the data's Hub name.

    One entry per eps with the verified accuracy in percent, rounded down: the number that is proved.
    """
    if report.data.hub is None:
        return None
    threat, lines = report.threat.perturbation, []
    for point in report.curve:
        notes = (
            f"proved lower bound of robust accuracy on {point.n} samples, {threat.name} eps {point.eps:g} "
            f"({threat.unit}); upper bound by attack {point.attacked_accuracy.at_most:.1f}; "
            f"report SHA-256 {report.digest()}"
        )
        lines += [
            "- dataset:",
            f"    id: {json.dumps(report.data.hub)}",
            f"    task_id: {json.dumps(f'verified_accuracy_{threat.name}_{point.eps:g}')}",
            f"  value: {point.verified_accuracy.at_least:.1f}",
            f"  notes: {json.dumps(notes)}",
        ]
    return "\n".join(lines) + "\n"
