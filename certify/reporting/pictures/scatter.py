"""Several reports side by side: clean accuracy against verified accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from certify.errors import UsageError
from certify.reporting.pictures.style import LINES, Picture, figure, legend, plain, table
from certify.reporting.schema import Point, Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def scatter(reports: Sequence[tuple[str, Report]], eps: float) -> Picture:
    """Clean against verified accuracy at one eps; reports: each with the name that it is shown under.

    Raises ``UsageError`` for reports of different threats or data, and for one that lacks this eps.
    """
    points = [(name, _point(name, report, eps)) for name, report in reports]
    threats = {report.threat.perturbation.name for _, report in reports}
    data = {report.identity.data for _, report in reports}
    if len(threats) > 1 or len(data) > 1:
        raise UsageError(
            "the reports are about different threats or data; compare runs of one threat and data set"
        )
    rows = [
        (
            name,
            eps,
            p.n,
            *(v for s in (p.clean_accuracy, p.verified_accuracy) for v in (s.value, s.low, s.high)),
        )
        for name, p in points
    ]
    shares = [
        f"{name}{end}" for name in ("clean_accuracy", "verified_accuracy") for end in ("", "_low", "_high")
    ]
    return Picture(
        "scatter",
        f"Clean and verified accuracy at eps = {eps:g}",
        "Clean accuracy against verified accuracy, a point for each report.",
        "Bars: intervals of the population. A point further up and right is better in both.",
        table(("report", "eps", "n", *shares), rows),
        lambda: _scatter(points, eps),
    )


def _point(name: str, report: Report, eps: float) -> Point:
    for point in report.curve:
        if point.eps == eps:
            return point
    known = ", ".join(f"{p.eps:g}" for p in report.curve)
    raise UsageError(f"{name} has nothing at eps = {eps:g}; it has {known}")


def _scatter(points: Sequence[tuple[str, Point]], eps: float) -> Figure:
    drawn = figure(height=4.6)
    axes = drawn.add_subplot()
    plain(axes, "clean accuracy", f"verified accuracy at eps = {eps:g}")
    for number, (name, p) in enumerate(points):
        clean, verified = p.clean_accuracy, p.verified_accuracy
        style = LINES[number % len(LINES)]
        axes.errorbar(
            clean.value,
            verified.value,
            xerr=[[clean.value - clean.low], [clean.high - clean.value]],
            yerr=[[verified.value - verified.low], [verified.high - verified.value]],
            color=style.color,
            marker=style.marker,
            linestyle="none",
            elinewidth=0.8,
            capsize=2,
            label=name.replace("$", r"\$"),  # no formula
        )
    legend(axes)
    return drawn
