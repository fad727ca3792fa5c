"""How all pictures look: told apart by colour, dash, marker and hatch, so that grey is enough."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from certify.verdict import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito (2008): told apart with every common colour vision deficiency, and by lightness in grey.
GREY, VERMILLION, BLUE, GREEN = "#555555", "#D55E00", "#0072B2", "#009E73"
ORANGE, SKY, PURPLE = "#E69F00", "#56B4E9", "#CC79A7"

_SETTINGS: dict[Any, Any] = {"svg.hashsalt": "certify", "svg.fonttype": "path", "hatch.linewidth": 0.6}


class Line(NamedTuple):
    """A line's looks."""

    color: str
    dash: Any
    marker: str


class Bar(NamedTuple):
    """A bar's looks."""

    color: str
    hatch: str


LINES = (
    Line(BLUE, "-", "o"),
    Line(VERMILLION, "--", "s"),
    Line(GREEN, "-.", "^"),
    Line(GREY, ":", "D"),
    Line(PURPLE, (0, (5, 1, 1, 1, 1, 1)), "v"),
    Line(ORANGE, (0, (8, 2)), "P"),
)
BARS = {
    Verdict.VERIFIED: Bar(BLUE, ""),
    Verdict.UNKNOWN: Bar("#E8E8E8", "///"),
    Verdict.ERROR: Bar("#FFFFFF", "xxx"),
    Verdict.FALSIFIED: Bar(ORANGE, "\\\\\\"),
    Verdict.MISCLASSIFIED: Bar("#BBBBBB", "..."),
}


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture and its numbers. name: of its files. alt: for who cannot see it. caption: how to read it."""

    name: str
    title: str
    alt: str
    caption: str
    csv: str
    draw: Callable[[], Figure]

    def svg(self) -> str:
        """As SVG text, without date or software version: its bytes depend on the numbers alone."""
        import matplotlib as mpl  # slow to load, only pictures need it

        buffer = io.StringIO()
        with mpl.rc_context(_SETTINGS):
            self.draw().savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return _named(buffer.getvalue())

    def png(self) -> bytes:
        """As PNG."""
        import matplotlib as mpl

        buffer = io.BytesIO()
        with mpl.rc_context(_SETTINGS):
            self.draw().savefig(buffer, format="png", dpi=150, metadata={"Software": None})
        return buffer.getvalue()


def _named(svg: str) -> str:
    """With clip paths named by what is written of them, not by digits that differ between processes."""
    for name, shape in re.findall(r'<clipPath id="(\w+)">\s*(<.*?/>)\s*</clipPath>', svg, re.DOTALL):
        svg = svg.replace(name, f"p{hashlib.sha256(shape.encode()).hexdigest()[:10]}")
    return svg


def figure(width: float = 7.0, height: float = 4.0) -> Figure:
    """An empty figure; sizes in inches."""
    from matplotlib.figure import Figure  # without pyplot there is no global state

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def plain(axes: Axes, x_label: str, y_label: str) -> None:
    """Labels, a quiet grid behind, and no box."""
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(visible=True, color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def counted(axes: Axes) -> None:
    """Whole numbers alone at the vertical axis, from 0."""
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_ylim(bottom=0)


def counted_across(axes: Axes) -> None:
    """The same at the horizontal axis."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(left=0)


def legend(axes: Axes) -> None:
    """A legend beneath the axes, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 1 if max(map(len, labels)) > 45 else 2 if max(map(len, labels)) > 20 else min(len(handles), 4)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=columns, frameon=False, fontsize=9)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """CSV with a header; numbers as Python prints them, None as nothing, text quoted where it must be."""
    return "\n".join(",".join(map(_cell, row)) for row in [head, *rows]) + "\n"


def ends(values: Sequence[float]) -> list[float]:
    """The first, middle and last value, once each."""
    chosen = sorted({0, len(values) // 2, len(values) - 1}) if values else []
    return [values[i] for i in chosen]


def short(name: str) -> str:
    """A method's class without its parameters."""
    return name.partition("(")[0]


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else repr(value)
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n') else text
