"""Counterexamples beside their samples."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from certify.reporting.pictures.style import BLUE, VERMILLION, Picture, figure, short, table
from certify.reporting.schema import Example, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NORMS = ("linf", "l2", "l1", "l0")


def gallery(report: Report) -> Picture:
    """Samples, their counterexamples and the difference, with norms that were measured again."""
    rows = [
        (e.eps, e.sample, e.label, e.adversarial, e.by, *(e.distances.get(n) for n in _NORMS))
        for e in report.gallery
    ]
    return Picture(
        "gallery",
        "Counterexamples",
        "Samples, counterexamples and their difference; the norms of the differences are in the table below.",
        "Left the sample, in the middle the counterexample that changes its label, right the difference, "
        "scaled so that the largest change has full contrast (grey: no change).",
        table(("eps", "sample", "label", "adversarial", "method", *_NORMS), rows),
        lambda: _gallery(report),
    )


def arrays(example: Example) -> tuple[NDArray[Any], NDArray[Any]]:
    """The sample and the counterexample, in the model's input shape and dtype."""
    kind = np.dtype(example.dtype).newbyteorder("<")
    x, witness = (
        np.frombuffer(base64.b64decode(text), dtype=kind).reshape(example.shape)
        for text in (example.clean, example.witness)
    )
    return x, witness


def _gallery(report: Report) -> Figure:
    examples = report.gallery
    pictures = [_image(arrays(each)[0]) is not None for each in examples]
    heights = [1.75 if each else 1.5 for each in pictures]
    heights[0] += 0.25  # for the panels' titles
    drawn = figure(width=6.0, height=0.15 + sum(heights))
    parts = drawn.subfigures(len(examples), 1, squeeze=False, height_ratios=heights)[:, 0]
    for number, (part, example, is_image) in enumerate(zip(parts, examples, pictures, strict=True)):
        part.suptitle(
            f"sample {example.sample}, class {example.label} becomes {becomes(example)}, "
            f"eps = {example.eps:g}, {short(example.by)}: "
            f"L2 {example.distances['l2']:.4g}, Linf {example.distances['linf']:.4g}",
            fontsize=8.5,
            x=0.01,
            ha="left",
        )
        if is_image:
            panels = part.subplots(1, 3)
            _images(panels, example, report.threat.perturbation.input_range)
            if number == 0:
                for axes, title in zip(panels, ("sample", "counterexample", "difference"), strict=True):
                    axes.set_title(title, fontsize=8.5)
        else:
            _lines(part.subplots(), example)
    return drawn


def becomes(example: Example) -> str:
    """The model's class at the counterexample; a tie with the sample's own class is one, too."""
    tied = example.adversarial == example.label
    return "tie" if tied else "" if example.adversarial is None else str(example.adversarial)


def _image(values: NDArray[Any]) -> NDArray[Any] | None:
    """An image as matplotlib has it, (height, width) or (height, width, 3); None for other inputs."""
    if values.ndim == 3 and values.shape[0] in (1, 3):
        return values[0] if len(values) == 1 else values.transpose(1, 2, 0)
    return values if values.ndim == 2 else None


def _images(panels: NDArray[np.object_], example: Example, input_range: tuple[float, float] | None) -> None:
    x, witness = arrays(example)
    low, high = input_range or (float(min(x.min(), witness.min())), float(max(x.max(), witness.max())))
    delta = witness.astype(np.float64) - x.astype(np.float64)
    change = delta / (2 * (np.abs(delta).max() or 1.0)) + 0.5
    scaled: tuple[NDArray[Any], ...] = (
        (x - low) / (high - low),
        (witness - low) / (high - low),
        change.astype(np.float32),
    )
    for axes, values in zip(panels, scaled, strict=True):
        image = _image(values)
        if image is not None:
            axes.imshow(image.clip(0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])


def _lines(axes: Axes, example: Example) -> None:
    """Inputs that are no images, element by element."""
    x, witness = arrays(example)
    places = range(x.size)
    axes.plot(places, x.ravel(), color=BLUE, linestyle="-", marker="o", markersize=3, label="sample")
    axes.plot(
        places,
        witness.ravel(),
        color=VERMILLION,
        linestyle="--",
        marker="s",
        markersize=3,
        label="counterexample",
    )
    axes.set_xlabel("element", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, frameon=False)
