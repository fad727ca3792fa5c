"""Composites at level ``real`` against 50 digits, on single points and on boxes, with tolerance zero."""

from collections.abc import Callable

import mpmath
import pytest
import torch
from mpmath import mpf
from torch import Tensor

import bounds
from bounds.graph import Builder
from bounds.interval import Interval
from bounds.kinds import Composite
from bounds.ops.minmax import Extreme
from bounds.ops.softmax import LogSoftmax, LogSumExp, Softmax
from bounds.ops.standardise import Standardise, SumOfSquares, Unify

from .networks import draw

Exact = Callable[[list[mpf]], list[mpf]]
SIZE, EPS = 5, 1e-5


def softmax(x: list[mpf]) -> list[mpf]:
    total = sum(mpmath.exp(v) for v in x)
    return [mpmath.exp(v) / total for v in x]


def unify(x: list[mpf]) -> list[mpf]:
    scale = mpmath.sqrt(sum(v * v for v in x) / len(x) + mpf(EPS))
    return [v / scale for v in x]


def standardise(x: list[mpf]) -> list[mpf]:
    mean = sum(x) / len(x)
    return unify([v - mean for v in x])


CASES: list[tuple[Composite, Exact]] = [
    (Softmax(0), softmax),
    (LogSoftmax(0), lambda x: [mpmath.log(p) for p in softmax(x)]),
    (LogSumExp(0), lambda x: [mpmath.log(sum(mpmath.exp(v) for v in x))]),
    (SumOfSquares((0,)), lambda x: [sum(v * v for v in x)]),
    (Unify((0,), EPS), unify),
    (Standardise((0,), EPS), standardise),
    (Extreme(0, largest=True), lambda x: [max(x)]),
]


def exactly(f: Exact, x: Tensor) -> list[mpf]:
    return f([mpf(v) for v in x.tolist()])


def points() -> Tensor:
    """Of all sizes, some with elements that almost agree or hardly count."""
    scale = 10.0 ** torch.linspace(-4, 1.5, 24, dtype=torch.float64)[:, None]
    x = draw(24, SIZE, seed=1) * scale
    x[::3] = x[::3, :1] * (1 + 1e-9 * draw(8, SIZE, seed=2))
    x[1::3, 2] *= 1e-8
    return x


@pytest.mark.parametrize(("op", "exact"), CASES, ids=[repr(op) for op, _ in CASES])
@pytest.mark.parametrize("method", ["ibp", "crown"])
def test_a_point_lies_within_its_bounds(op: Composite, exact: Exact, method: str) -> None:
    builder, x = Builder((SIZE,)), points()
    graph = builder.build(builder.apply(op, (builder.input,)))
    found = bounds.bound(graph, bounds.Box(x, x), method=method, level="real")
    with mpmath.workdps(50):
        for low, high, point in zip(found.lower.tolist(), found.upper.tolist(), x, strict=True):
            for a, value, b in zip(low, exactly(exact, point), high, strict=True):
                assert a <= value <= b


@pytest.mark.parametrize(("op", "exact"), CASES, ids=[repr(op) for op, _ in CASES])
def test_known_ranges_hold_at_the_corners(op: Composite, exact: Exact) -> None:
    """Where the known range is exact, a corner attains it: the first place where rounding would show."""
    x, width = points(), 10.0 ** draw(24, SIZE, seed=3)
    known = op.known((Interval(x, x + width),))
    if known is None:
        return
    with mpmath.workdps(50):
        for code in range(2**SIZE):
            take = torch.tensor([code >> i & 1 for i in range(SIZE)], dtype=torch.bool)
            corner = torch.where(take, x + width, x)
            for s in range(0, 24, 3):
                rows = zip(
                    known.lower[s].tolist(), exactly(exact, corner[s]), known.upper[s].tolist(), strict=True
                )
                assert all(a <= value <= b for a, value, b in rows)
