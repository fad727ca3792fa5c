"""Accuracy over the size of the threat: the network's sandwich, and smoothed classifiers over the radius."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from certify.reporting.pictures.style import (
    BLUE,
    GREY,
    LINES,
    VERMILLION,
    Line,
    Picture,
    figure,
    legend,
    plain,
    table,
)
from certify.reporting.schema import Report, Share
from certify.threat import THREATS
from certify.verdict import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What is verified at an eps is so at every smaller one, what is attacked at every larger one.
_FROM_RIGHT, _FROM_LEFT = "steps-pre", "steps-post"
_CLEAN = Line(GREY, ":", "^")
_ATTACKED = Line(VERMILLION, "--", "s")
_VERIFIED = Line(BLUE, "-", "o")
_JOINT_DASH, _MARKED, _CROWDED = (0, (1, 2)), 12, 30


def sandwich(report: Report) -> Picture:
    """Clean, attacked and verified accuracy over eps; what lies between the last two is undecided."""
    confidence = f"{report.interval.confidence:.0%}"
    return Picture(
        "curve",
        "Certified and empirical accuracy",
        "Clean, attacked and verified accuracy over eps; the same numbers are in the table below.",
        f"Robust accuracy lies between the verified and the attacked curve ({report.attacked_accuracy_is}). "
        "Between two eps only what follows is drawn: what is verified at an eps is so at every smaller one, "
        f"and what is attacked stays so at every larger one. Bars: {confidence} intervals of the population.",
        _sandwich_csv(report),
        lambda: _sandwich(report),
    )


def radius(report: Report) -> Picture:
    """Certified accuracy of the smoothed classifiers over the radius, for each sigma."""
    rows = [
        (m.sigma, s.radius, m.n, s.certified_accuracy.value, s.certified_accuracy.low,
         s.certified_accuracy.high, s.jointly)
        for m in report.smoothing
        for s in m.steps
    ]  # fmt: skip
    return Picture(
        "radius",
        "Certified accuracy of the smoothed classifier",
        "Certified accuracy of the smoothed classifier over the radius, of samples one by one and of all "
        "together; the same numbers are in the tables below.",
        "Share of samples certified with their true label at a radius larger than the one on the axis: by a "
        "count of certificates, each of which may be wrong, and what remains when all that may well be wrong "
        "together are taken off.",
        table(
            ("sigma", "radius", "n", "certified_accuracy", "certified_accuracy_low",
             "certified_accuracy_high", "jointly"),
            rows,
        ),
        lambda: _radius(report),
    )  # fmt: skip


def _sandwich_csv(report: Report) -> str:
    names = ("clean_accuracy", "attacked_accuracy", "verified_accuracy", "undecided")
    head = [
        "eps",
        "n",
        *(v.value for v in Verdict),
        *(n + end for n in names for end in ("", "_low", "_high")),
    ]
    rows = []
    for p in report.curve:
        shares = (p.clean_accuracy, p.attacked_accuracy, p.verified_accuracy, p.undecided)
        numbers = [number for s in shares for number in (s.value, s.low, s.high)]
        rows.append([p.eps, p.n, *(p.counts[v] for v in Verdict), *numbers])
    return table(head, rows)


def _sandwich(report: Report) -> Figure:
    threat = report.threat.perturbation
    drawn = figure(height=4.4)
    axes = drawn.add_subplot()
    plain(axes, f"eps ({threat.name.capitalize()}, {threat.unit})", "share of samples")
    axes.set_ylim(-0.02, 1.02)
    points = report.curve
    eps = [p.eps for p in points]
    lower, upper = [p.verified_accuracy.value for p in points], [p.attacked_accuracy.value for p in points]
    axes.fill_between(
        *_steps(eps, lower, upper),
        facecolor="#EEEEEE",
        edgecolor="#AAAAAA",
        hatch="///",
        linewidth=0.4,
        label="undecided",
    )
    _line(axes, eps, [p.clean_accuracy for p in points], _CLEAN, "default", "clean accuracy")
    attacked = f"accuracy under attack ({report.attacked_accuracy_is})"
    _line(axes, eps, [p.attacked_accuracy for p in points], _ATTACKED, _FROM_LEFT, attacked)
    verified = "verified accuracy (lower bound)"
    _line(axes, eps, [p.verified_accuracy for p in points], _VERIFIED, _FROM_RIGHT, verified)
    demanded = _demanded(report)
    if demanded:
        axes.plot(
            *zip(*demanded, strict=True),
            color="#222222",
            linestyle="none",
            marker="_",
            markersize=22,
            markeredgewidth=2.5,
            label="policy (for the interval's lower end)",
        )
    legend(axes)
    return drawn


def _demanded(report: Report) -> list[tuple[float, float]]:
    """What the policy asks of verified accuracy: eps and share."""
    rules: Any = () if report.policy is None else report.policy.rules.get("rules", ())
    wanted = ("verified-accuracy", report.threat.perturbation.name)
    return [
        (float(rule["eps"]), float(rule["at_least"]))
        for rule in rules
        if (rule.get("kind"), rule.get("norm")) == wanted
    ]


def _steps(
    eps: Sequence[float], lower: Sequence[float], upper: Sequence[float]
) -> tuple[list[float], list[float], list[float]]:
    """The band that is known between the points: verified from the right, attacked from the left."""
    x, low, high = list(eps[:1]), list(lower[:1]), list(upper[:1])
    for k in range(1, len(eps)):
        x += [eps[k - 1], eps[k], eps[k]]
        low += [lower[k], lower[k], lower[k]]
        high += [upper[k - 1], upper[k - 1], upper[k]]
    return x, low, high


def _radius(report: Report) -> Figure:
    norms = sorted({model.norm for model in report.smoothing})
    unit = " or ".join(sorted({THREATS[norm.lower()].unit for norm in norms}))
    drawn = figure(height=4.4)
    axes = drawn.add_subplot()
    plain(axes, f"certified {' or '.join(norms)} radius ({unit})", "certified accuracy")
    axes.set_ylim(-0.02, 1.02)
    for number, model in enumerate(report.smoothing):
        color, dash, marker = LINES[number % len(LINES)]
        radii = [step.radius for step in model.steps]
        name = f"sigma = {model.sigma:g}"
        values = [step.certified_accuracy.value for step in model.steps]
        axes.step(radii, values, where="post", color=color, linestyle=dash, label=f"{name}, one by one")
        axes.step(
            radii,
            [step.jointly for step in model.steps],
            where="post",
            color=color,
            linestyle=_JOINT_DASH,
            marker=marker,
            markerfacecolor="white",
            markersize=5,
            markevery=max(len(radii) // _MARKED, 1),
            label=f"{name}, all together (confidence {1 - model.joint_failure:.0%})",
        )
    axes.set_xlim(left=0)
    legend(axes)
    return drawn


def _line(
    axes: Axes, x: Sequence[float], shares: Sequence[Share], style: Line, between: Any, label: str
) -> None:
    """A line with intervals at its points, or at some of them where there are many."""
    every = max(len(x) // _MARKED, 1) if len(x) > _CROWDED else 1
    axes.errorbar(
        x,
        [s.value for s in shares],
        yerr=[[s.value - s.low for s in shares], [s.high - s.value for s in shares]],
        color=style.color,
        drawstyle=between,
        linestyle=style.dash,
        marker=style.marker,
        markersize=5,
        markevery=every,
        errorevery=every,
        linewidth=1.2,
        elinewidth=0.8,
        capsize=2,
        label=label,
    )
