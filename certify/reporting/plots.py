"""Curves as pictures: SVG and PNG whose bytes depend on the numbers alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from certify.curve import FAILURE, Curve, RadiusCurve, Share
from certify.threat import THREATS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito (2008): told apart with every common colour vision deficiency, and by lightness in grey.
_GREY, _VERMILLION, _BLUE, _GREEN = "#555555", "#D55E00", "#0072B2", "#009E73"


class _Style(NamedTuple):
    color: str
    dash: str
    marker: str


_CLEAN = _Style(_GREY, ":", "^")
_ATTACKED = _Style(_VERMILLION, "--", "s")
_VERIFIED = _Style(_BLUE, "-", "o")
_STEPS = ((_BLUE, "-"), (_VERMILLION, "--"), (_GREEN, "-."), (_GREY, ":"))
# Of the joint lines: told apart by their markers alone.
_MARKERS, _JOINT_DASH, _MARKED = ("o", "s", "^", "D"), (0, (1, 2)), 12
_SETTINGS: dict[Any, Any] = {"svg.hashsalt": "certify", "svg.fonttype": "path", "hatch.linewidth": 0.6}


def curve_figure(curve: Curve, norm: str, unit: str, attacked_is: str = "upper bound") -> Figure:
    """Clean, attacked and verified accuracy over eps; what lies between the last two is undecided.

    attacked_is: what accuracy under attack is, in words.
    """
    figure, axes = _axes(f"eps ({norm}, {unit})")
    eps = [p.eps for p in curve.points]
    attacked, verified = [p.attacked for p in curve.points], [p.verified for p in curve.points]
    band = ([s.value for s in verified], [s.value for s in attacked])
    axes.fill_between(eps, *band, facecolor="#EEEEEE", edgecolor="#AAAAAA", hatch="///", label="undecided")
    _line(axes, eps, [p.clean for p in curve.points], _CLEAN, "clean accuracy")
    _line(axes, eps, attacked, _ATTACKED, f"accuracy under attack ({attacked_is})")
    _line(axes, eps, verified, _VERIFIED, "verified accuracy (lower bound)")
    axes.set_ylabel("share of samples")
    axes.legend(loc="best", frameon=True, fontsize=9)
    return figure


def radius_figure(curves: Sequence[RadiusCurve]) -> Figure:
    """Certified accuracy of the smoothed classifiers over the radius, for each sigma.

    A line of certificates one by one, and one with a marker of what holds for all samples together.
    """
    norms = sorted({curve.basis.norm for curve in curves})
    unit = " or ".join(sorted({THREATS[norm.lower()].unit for norm in norms}))
    figure, axes = _axes(f"certified {' or '.join(norms)} radius ({unit})")
    for number, curve in enumerate(curves):
        color, dash = _STEPS[number % len(_STEPS)]
        radii = [radius for radius, _ in curve.steps]
        name = f"sigma = {curve.sigma:g}"
        values = [s.value for _, s in curve.steps]
        axes.step(radii, values, where="post", color=color, linestyle=dash, label=f"{name}, one by one")
        axes.step(
            radii,
            [curve.jointly(s) for _, s in curve.steps],
            where="post",
            color=color,
            linestyle=_JOINT_DASH,
            marker=_MARKERS[number % len(_MARKERS)],
            markerfacecolor="white",
            markersize=5,
            markevery=max(len(radii) // _MARKED, 1),
            label=f"{name}, all together (confidence {1 - FAILURE:.0%})",
        )
    axes.set_xlim(left=0)
    axes.set_ylabel("certified accuracy")
    axes.legend(loc="best", frameon=True, fontsize=9)
    return figure


def svg(figure: Figure) -> str:
    """The figure as SVG text, without date or software version."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to load, only pictures need it

    buffer = io.StringIO()
    with mpl.rc_context(_SETTINGS):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def png(figure: Figure) -> bytes:
    """The figure as PNG."""
    import matplotlib as mpl  # noqa: PLC0415

    buffer = io.BytesIO()
    with mpl.rc_context(_SETTINGS):
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def _axes(x_label: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - without pyplot there is no global state

    figure = Figure(figsize=(7, 4), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(visible=True, color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _line(axes: Axes, x: Sequence[float], shares: Sequence[Share], style: _Style, label: str) -> None:
    """A line with 95% intervals at its points."""
    values = [s.value for s in shares]
    errors = [[max(s.value - s.low, 0) for s in shares], [max(s.high - s.value, 0) for s in shares]]
    axes.errorbar(
        x,
        values,
        yerr=errors,
        color=style.color,
        linestyle=style.dash,
        marker=style.marker,
        markersize=5,
        elinewidth=0.8,
        capsize=2,
        label=label,
    )
