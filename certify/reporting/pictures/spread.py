"""How the samples are spread: certified margins, radii of smoothed classifiers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from certify.reporting.pictures.style import LINES, Picture, counted, ends, figure, legend, plain, table
from certify.reporting.schema import Report, SmoothedModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BINS = 24
# Margins further out than this share of the samples on either side share the last bin.
_TAIL = 0.01


def margins(report: Report) -> Picture:
    """How far from zero the certified margins are."""
    rows = [
        (r.eps, r.sample, r.verdict.value, r.margin)
        for r in report.samples
        if r.margin is not None and math.isfinite(r.margin)
    ]
    return Picture(
        "margins",
        "Certified margins",
        "Histogram of the lower bounds of the margins at some eps.",
        "Lower bounds of the smallest margin, best of all methods. Right of zero a sample is verified; just "
        "left of it, tighter bounds may settle it. Outermost bins hold all that lies beyond.",
        table(("eps", "sample", "verdict", "margin"), rows),
        lambda: _margins(rows),
    )


def radii(report: Report) -> Picture:
    """How the certified radii of smoothed classifiers are spread, with those that have none."""
    rows = [(m.sigma, s.sample, s.truth, s.label, s.radius) for m in report.smoothing for s in m.samples]
    return Picture(
        "radii",
        "Certified radii of the smoothed classifier",
        "Histogram of certified radii for each sigma, with bars for abstentions and wrong labels.",
        "Samples certified with their true label by radius; beside them those for which the smoothed "
        "classifier abstains, and those certified with another label.",
        table(("sigma", "sample", "truth", "label", "radius"), rows),
        lambda: _radii(report.smoothing),
    )


def _margins(rows: Sequence[tuple[float, int, str, float]]) -> Figure:
    import numpy as np

    drawn = figure(height=4.2)
    axes = drawn.add_subplot()
    plain(axes, "certified lower bound of the margin", "samples")
    values = np.array([row[3] for row in rows])
    low, high = (float(q) for q in np.quantile(values, [_TAIL, 1 - _TAIL]))
    width = max(high, 0.0) - min(low, 0.0) or 1.0
    first, last = math.floor(_BINS * min(low, 0.0) / width), math.ceil(_BINS * max(high, 0.0) / width)
    edges = np.arange(first, max(last, first + 1) + 1) * (width / _BINS)  # zero is among them
    for number, eps in enumerate(ends(sorted({row[0] for row in rows}))):
        color, dash, _ = LINES[number % len(LINES)]
        some = np.clip([row[3] for row in rows if row[0] == eps], edges[0], edges[-1])
        heights, _ = np.histogram(some, edges)
        axes.stairs(heights, edges, color=color, linestyle=dash, linewidth=1.6, label=f"eps = {eps:g}")
    axes.axvline(0.0, color="#222222", linewidth=1.0)
    counted(axes)
    legend(axes)
    return drawn


def _radii(models: Sequence[SmoothedModel]) -> Figure:
    import numpy as np

    drawn = figure(height=1.0 + 2.3 * len(models))
    panels = drawn.subplots(len(models), 1, squeeze=False, sharex=True)[:, 0]
    largest = max(
        (s.radius for m in models for s in m.samples if s.label == s.truth and math.isfinite(s.radius)),
        default=0.0,
    )
    edges = np.linspace(0.0, largest or 1.0, _BINS + 1)
    width = float(edges[1])
    for axes, model in zip(panels, models, strict=True):
        right = [min(s.radius, float(edges[-1])) for s in model.samples if s.label == s.truth]
        heights, _ = np.histogram(right, edges)
        plain(axes, "", "samples")
        axes.grid(visible=False, axis="x")
        axes.bar(
            edges[:-1], heights, width, align="edge", color="#0072B2", edgecolor="#FFFFFF", linewidth=0.5
        )
        for place, count, hatch in ((-2, model.abstained, "///"), (-4, model.wrong, "xxx")):
            axes.bar(place * width, count, 1.4 * width, facecolor="#EEEEEE", edgecolor="#333333", hatch=hatch)
            axes.text(place * width, count, str(count), ha="center", va="bottom", fontsize=8)
        axes.set_title(f"sigma = {model.sigma:g}, n = {model.n}", loc="left", fontsize=9)
        axes.margins(y=0.15)
        counted(axes)
    last = panels[-1]
    ticks = [t for t in last.get_xticks() if 0 <= t <= edges[-1]]
    names = [f"{t:g}" for t in ticks]
    last.set_xticks([-4 * width, -2 * width, *ticks], ["wrong", "abstained", *names], fontsize=8)
    for label in last.get_xticklabels()[:2]:
        label.set_rotation(35)
        label.set_horizontalalignment("right")
    last.set_xlabel(f"certified {models[0].norm} radius")
    return drawn
