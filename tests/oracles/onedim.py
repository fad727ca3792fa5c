"""The exact least value, in rationals, of networks of one input: cut the input wherever a piece changes."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

import bounds
from bounds.kinds import Operator
from bounds.ops.linear import Linear
from bounds.ops.minmax import Maximum

Line = tuple[Fraction, Fraction]  # slope and shift


@dataclass(frozen=True)
class Function:
    """A piecewise linear function: the operator, where pieces meet, the line at a point."""

    op: Operator
    breaks: Sequence[Fraction]
    line: Callable[[Fraction], Line]
    param: float | None = None


@dataclass(frozen=True, eq=False)
class Layer:
    """``f(W x + b)``, or with a second pair the larger of two; f None for the identity."""

    weights: Sequence[tuple[Tensor, Tensor]]
    function: Function | None


def graph(layers: Sequence[Layer]) -> bounds.Graph:
    """The network as the package sees it."""
    builder = bounds.Builder((1,))
    here = builder.input
    for layer in layers:
        branches = [builder.apply(Linear(), [here], pair) for pair in layer.weights]
        here = branches[0] if len(branches) == 1 else builder.apply(Maximum(), branches)
        if layer.function is not None:
            param = layer.function.param
            params = () if param is None else (torch.tensor(param, dtype=torch.float64),)
            here = builder.apply(layer.function.op, [here], params)
    return builder.build(here)


def least(layers: Sequence[Layer], low: float, high: float, row: Tensor) -> Fraction:
    """The infimum of ``row . output`` for inputs from low to high."""
    parts = [(Fraction(low), Fraction(high), [(Fraction(1), Fraction(0))])]
    for layer in layers:
        found = []
        for start, end, values in parts:
            branches = [_affine(values, *pair) for pair in layer.weights]
            found += _larger(start, end, branches) if len(branches) > 1 else [(start, end, branches[0])]
        if layer.function is not None:
            found = [part for each in found for part in _through(*each, layer.function)]
        parts = found
    weights = [Fraction(float(w)) for w in row]
    ends = []
    for start, end, values in parts:
        slope, shift = (sum(w * v[i] for w, v in zip(weights, values, strict=True)) for i in (0, 1))
        ends += [slope * start + shift, slope * end + shift]
    return min(ends)


def _affine(values: Sequence[Line], weight: Tensor, bias: Tensor) -> list[Line]:
    rows = [[Fraction(float(w)) for w in row] for row in weight]
    sums = [
        [sum((w * v[i] for w, v in zip(row, values, strict=True)), Fraction(0)) for i in (0, 1)]
        for row in rows
    ]
    return [(slope, shift + Fraction(float(b))) for (slope, shift), b in zip(sums, bias, strict=True)]


def _pieces(start: Fraction, end: Fraction, cuts: Sequence[Fraction]) -> list[tuple[Fraction, Fraction]]:
    """The ranges between cuts, and the cuts themselves, where a jump has a value of its own."""
    inner = sorted({c for c in cuts if start < c < end})
    return [*itertools.pairwise([start, *inner, end]), *((c, c) for c in inner)]


def _larger(start: Fraction, end: Fraction, branches: list[list[Line]]) -> list[tuple]:
    a, b = branches
    cuts = [(q[1] - p[1]) / (p[0] - q[0]) for p, q in zip(a, b, strict=True) if p[0] != q[0]]
    found = []
    for first, last in _pieces(start, end, cuts):
        t = (first + last) / 2
        found.append(
            (first, last, [max(p, q, key=lambda v: v[0] * t + v[1]) for p, q in zip(a, b, strict=True)])
        )
    return found


def _through(start: Fraction, end: Fraction, values: list[Line], f: Function) -> list[tuple]:
    cuts = [(c - shift) / slope for slope, shift in values if slope for c in f.breaks]
    found = []
    for first, last in _pieces(start, end, cuts):
        t = (first + last) / 2
        after = []
        for slope, shift in values:
            a, b = f.line(slope * t + shift)
            after.append((a * slope, a * shift + b))
        found.append((first, last, after))
    return found
