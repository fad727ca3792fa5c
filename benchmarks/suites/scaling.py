"""Time and memory of bounds against depth, width, batch and specification rows, and what fits in 8 GiB."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np

from benchmarks.baselines.generated import Shape
from benchmarks.baselines.worker import Case
from benchmarks.measure import Repeats, in_turn
from benchmarks.options import Options, Suite
from benchmarks.process import Program, WorkerFailed
from benchmarks.table import Cell, Row, numbers

METHODS = ("IBP", "CROWN")
LIMIT = 60.0
FIT_GB = 8.0
# Bisection ends when the largest size that fits is known within this factor.
STEP = 1.2
SHOWN = ("family", "method", "axis", "value", "batch", "neurons", "seconds", "MB", "problem")
COLUMNS = (*SHOWN, "depth", "width", "size", "rows", "runs")
NOTES = (
    "Generated ReLU networks, seeded: `mlp` with hidden layers of one width, `cnn` with 3x3 convolutions of "
    "one number of channels on a square image; one size at a time changes, the others stay at the base. "
    "Boxes of radius 0.01, float32. Exponents are slopes of least squares through the logarithms.",
    "Seconds are medians over the timed runs after one warm-up; MB is what the first bounding call of a "
    "fresh process adds at its peak, network and libraries not counted.",
    "`largest`: the width of an MLP (4 layers) and the side of the images of a CNN (4 layers of 16 channels) "
    f"are doubled until a process that may hold {FIT_GB:.0f} GiB, libraries included, fails or takes longer "
    f"than the limit for the network and one bound, then bisected to within a factor of {STEP}; batch 1, "
    "9 rows; `problem` says what stopped the next one.",
)


@dataclass(frozen=True)
class _Axis:
    """One size of one family at several values, the others as in ``base``. name: of a shape, or "batch"."""

    name: str
    base: Shape
    batch: int
    values: tuple[int, ...]

    def cases(self) -> Iterator[tuple[int, Shape, int]]:
        """Value, shape and batch."""
        for value in self.values:
            if self.name == "batch":
                yield value, self.base, value
            else:
                yield value, replace(self.base, **{self.name: value}), self.batch


MLP = Shape("mlp", depth=4, width=256, size=256, rows=9)
CNN = Shape("cnn", depth=4, width=16, size=16, rows=9)
LARGEST = (_Axis("width", replace(MLP, size=784), 1, (512,)), _Axis("size", CNN, 1, (16,)))


def _axes(method: str) -> tuple[_Axis, ...]:
    # Intervals cost so little that only a larger batch shows more than the calls themselves.
    times = 64 if method == "IBP" else 1
    mlp, cnn = 8 * times, 4 * times
    return (
        _Axis("depth", MLP, mlp, (2, 4, 8, 16)),
        _Axis("width", MLP, mlp, (128, 256, 512, 1024)),
        _Axis("batch", MLP, mlp, (mlp // 4, mlp, 4 * mlp)),
        _Axis("rows", MLP, mlp, (10, 100, 1000)),
        _Axis("depth", CNN, cnn, (2, 4, 8)),
        _Axis("width", CNN, cnn, (8, 16, 32)),
        _Axis("size", CNN, cnn, (8, 16, 32)),
        _Axis("batch", CNN, cnn, (cnn // 4, cnn, 4 * cnn)),
        _Axis("rows", CNN, cnn, (10, 100, 1000)),
    )


def _suite_rows(options: Options) -> Iterator[Row]:
    """One row per family, method, axis and value; then the largest network of each family and method."""
    methods = options.pick(METHODS, options.methods, "method")
    families = options.pick(("mlp", "cnn"), options.nets, "family")
    for method in methods:
        for axis in _axes(method):
            if axis.base.family in families:
                for value, shape, batch in axis.cases():
                    yield _row(axis.name, value, shape, batch, method, options)
    for method in methods:
        for axis in LARGEST:
            if axis.base.family in families:
                yield _largest(axis, method, options)


def _row(axis: str, value: int, shape: Shape, batch: int, method: str, options: Options) -> Row:
    case = Case(shape.text(), method, batch, "float32", options.threads, options.memory_gb)
    row: dict[str, Cell] = dict.fromkeys(COLUMNS)
    row |= {"family": shape.family, "method": method, "axis": axis, "value": value, "batch": batch}
    row |= {"neurons": shape.neurons(), "depth": shape.depth, "width": shape.width}
    row |= {"size": shape.size, "rows": shape.rows}
    [result] = in_turn(
        [(Program(sys.executable, "generated"), case)], options.repeats, options.limit or LIMIT
    )
    if isinstance(result, WorkerFailed):
        row["problem"] = result.reason
    else:
        row |= {"seconds": result.median, "MB": result.grown_mb, "runs": len(result.seconds)}
    return row


def _largest(axis: _Axis, method: str, options: Options) -> Row:
    """The row of the largest value that fits; its problem is what stopped the next one."""
    once = replace(options, memory_gb=FIT_GB, repeats=Repeats(least=1, seconds=0))
    tried: dict[int, Row] = {}

    def fits(value: int) -> bool:
        shape = replace(axis.base, **{axis.name: value})
        tried[value] = _row(f"largest {axis.name}", value, shape, axis.batch, method, once)
        return tried[value]["problem"] is None

    best = largest_that(fits, axis.values[0], STEP)
    stopped = min((value for value in tried if tried[value]["problem"] is not None), default=None)
    row = dict(tried[best] if best else tried[axis.values[0]])
    why = None if stopped is None else f"{axis.name} {stopped}: {tried[stopped]['problem']}"
    return row | {"value": best, "problem": why}


def largest_that(fits: Callable[[int], bool], start: int, step: float) -> int:
    """The largest value that ``fits``, within a factor of ``step``: doubled from ``start``, then bisected.

    0 where ``start`` does not fit.
    """
    good, bad = 0, start
    while fits(bad):
        good, bad = bad, 2 * bad
    while good and bad > good * step:
        middle = round(sqrt(good * bad))
        if middle in (good, bad):
            break
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of the least-squares line through the logarithms."""
    slope, _ = np.polyfit(np.log(sizes), np.log(values), 1)
    return float(slope)


def _summary(rows: Sequence[Row]) -> str:
    """The exponents of one family's axes under one method, and its largest network."""
    parts = []
    for axis in dict.fromkeys(str(row["axis"]) for row in rows):
        done = [row for row in rows if row["axis"] == axis and row["seconds"] is not None]
        if axis.startswith("largest"):
            parts += [f"{axis} {row['value']} with {row['neurons']} neurons" for row in done]
        elif len(done) > 1:
            powers = [_power(done, column) for column in ("seconds", "MB")]
            parts.append(f"{axis}: time ~ {axis}^{powers[0]}, memory ~ {axis}^{powers[1]}")
    return f"Summary: {'; '.join(parts) or 'nothing ran'}."


def _power(rows: Sequence[Row], column: str) -> str:
    values = numbers(rows, column)
    return f"{exponent(numbers(rows, 'value'), values):.2f}" if min(values) > 0 else "?"


SUITE = Suite("Scaling", NOTES, SHOWN, _suite_rows, ("family", "method"), _summary)
