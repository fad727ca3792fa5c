"""Who settled which samples: by method, by class, and in what time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from certify.reporting.pictures.style import (
    BARS,
    LINES,
    Picture,
    counted,
    counted_across,
    ends,
    figure,
    legend,
    plain,
    short,
    table,
)
from certify.reporting.schema import ClassPoint, Report, Settled
from certify.verdict import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From what is settled for the worse to what is settled for the better, the open ones between.
_ORDER = (Verdict.MISCLASSIFIED, Verdict.FALSIFIED, Verdict.UNKNOWN, Verdict.ERROR, Verdict.VERIFIED)
_CLASSES = 20


def waterfall(report: Report) -> Picture:
    """The gap between clean and verified accuracy, step by step."""
    rows = [(s.eps, s.verdict.value, s.method, s.reason, s.count) for s in report.gap]
    return Picture(
        "gap",
        "Which method settled which share",
        "Waterfall from all samples down to the verified ones; the same numbers are in the gap table.",
        "From all samples, what is misclassified and what each attack falsified is taken off, then what "
        "nobody settled; the rest is verified, by the methods named.",
        table(("eps", "verdict", "method", "reason", "count"), rows),
        lambda: _waterfall(report),
    )


def classes(report: Report) -> Picture:
    """The verdicts of each class at the eps in the middle."""
    budgets = sorted({each.eps for each in report.per_class})
    eps = budgets[len(budgets) // 2]
    rows = [(c.eps, c.label, *(c.counts[v] for v in Verdict)) for c in report.per_class]
    some = [c for c in report.per_class if c.eps == eps]
    shown = sorted(some, key=lambda c: (c.counts.verified / c.counts.n, c.label))[:_CLASSES]
    shown.sort(key=lambda c: c.label)
    part = f" The {_CLASSES} of {len(some)} classes with the least verified share are shown." if len(
        some
    ) > _CLASSES else ""  # fmt: skip
    return Picture(
        "classes",
        "Verdicts per class",
        f"Stacked bars of the five verdicts for each class at eps = {eps:g}.",
        f"Samples of each class by verdict at eps = {eps:g}; above each bar its number of samples.{part}",
        table(("eps", "class", *(v.value for v in Verdict)), rows),
        lambda: _classes(shown),
    )


def cactus(report: Report) -> Picture:
    """How many samples each method settled within what time per sample."""
    return cactus_of(
        settling_times(report),
        "sample",
        "Each line ascends through the samples (at all eps) that a method settled; a time is that from the "
        "start of the sample's batch until the method was done with it. Times differ from run to run.",
    )


def cactus_of(times: Mapping[str, Sequence[float]], what: str, caption: str = "") -> Picture:
    """A line per method (or verdict) through what it settled. times: ascending seconds of each."""
    rows = [(name, k + 1, seconds) for name, values in times.items() for k, seconds in enumerate(values)]
    return Picture(
        "cactus",
        f"Time to settle a{'n' if what[0] in 'aeiou' else ''} {what}",
        f"For each method, the {what}s that it settled by ascending time.",
        caption,
        table(("method", f"{what}s", "seconds"), rows),
        lambda: _cactus(times, f"{what}s settled"),
    )


def _waterfall(report: Report) -> Figure:
    budgets = ends([p.eps for p in report.curve])
    groups = {eps: _ordered([s for s in report.gap if s.eps == eps]) for eps in budgets}
    heights = [len(rows) + 1.2 for rows in groups.values()]
    drawn = figure(height=0.9 + 0.33 * sum(heights))
    panels = drawn.subplots(len(budgets), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axes, (eps, rows) in zip(panels, groups.items(), strict=True):
        n = sum(row.count for row in rows)
        left = n
        labels = []
        for place, row in enumerate(rows):
            left -= row.count
            _segment(axes, place, left / n, row.count / n, row.verdict)
            axes.text((left + row.count) / n + 0.008, place, str(row.count), va="center", fontsize=8)
            labels.append(_label(row))
        plain(axes, "", "")
        axes.grid(visible=False, axis="y")
        axes.set_yticks(range(len(rows)), labels, fontsize=9)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, 1.06)
        axes.set_title(f"eps = {eps:g}, n = {n}", loc="left", fontsize=9)
    panels[-1].set_xlabel("share of samples")
    return drawn


def _ordered(rows: list[Settled]) -> list[Settled]:
    return sorted(rows, key=lambda s: (_ORDER.index(s.verdict), -s.count, s.method or ""))


def _label(row: Settled) -> str:
    by = f" by {short(row.method)}" if row.method else ""
    why = f" ({row.reason})" if row.reason and row.reason != "undecided" else ""
    return f"{row.verdict.value}{by}{why}"


def _segment(axes: Axes, place: float, start: float, width: float, verdict: Verdict) -> None:
    bar = BARS[verdict]
    axes.barh(place, width, left=start, height=0.7, facecolor=bar.color, hatch=bar.hatch, edgecolor="#333333")


def _classes(shown: list[ClassPoint]) -> Figure:
    drawn = figure(width=7.0, height=4.2)
    axes = drawn.add_subplot()
    plain(axes, "class", "samples")
    axes.grid(visible=False, axis="x")
    places = range(len(shown))
    bottom = [0] * len(shown)
    for verdict in reversed(_ORDER):
        values = [each.counts[verdict] for each in shown]
        bar = BARS[verdict]
        axes.bar(
            places,
            values,
            bottom=bottom,
            facecolor=bar.color,
            hatch=bar.hatch,
            edgecolor="#333333",
            linewidth=0.6,
            label=verdict.value,
        )
        bottom = [b + v for b, v in zip(bottom, values, strict=True)]
    for place, total in zip(places, bottom, strict=True):
        axes.text(place, total, str(total), ha="center", va="bottom", fontsize=8)
    axes.set_xticks(places, [str(each.label) for each in shown], fontsize=9)
    axes.margins(y=0.1)
    counted(axes)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=5, frameon=False,
        fontsize=8.5, columnspacing=1.2,
    )  # fmt: skip
    return drawn


def settling_times(report: Report) -> dict[str, list[float]]:
    """Per method the ascending seconds of the samples that it settled."""
    rows = {(row.eps, row.sample): row for row in report.samples}
    found: dict[str, list[float]] = defaultdict(list)
    for each in report.volatile.samples:
        row = rows.get((each.eps, each.sample))
        for finding, seconds in zip(row.findings if row else (), each.seconds, strict=False):
            if row is not None and finding.method == row.by:
                found[row.by].append(seconds)
    return {name: sorted(found[name]) for name in sorted(found)}


def _cactus(times: Mapping[str, Sequence[float]], what: str) -> Figure:
    drawn = figure(height=4.2)
    axes = drawn.add_subplot()
    plain(axes, what, "seconds")
    for number, (name, seconds) in enumerate(times.items()):
        color, dash, marker = LINES[number % len(LINES)]
        axes.plot(
            range(1, len(seconds) + 1),
            seconds,
            color=color,
            linestyle=dash,
            marker=marker,
            markersize=4,
            markevery=max(len(seconds) // 12, 1),
            label=f"{short(name)} ({len(seconds)})",
        )
    axes.set_yscale("log")
    counted_across(axes)
    legend(axes)
    return drawn
