"""Rung 1: every pointwise operator's lines and image against its exact form, with tolerance zero."""

import inspect
from dataclasses import dataclass

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bounds.interval import Interval
from bounds.kinds import Pointwise
from bounds.ops.derivative import Derivative
from bounds.ops.relu import LeakyReLU
from bounds.piecewise import Piecewise
from bounds.relaxation import lines
from bounds.rounding import up

from .cases_pointwise import CASES, Case, Exact, leaky

IDS = [f"{case.op!r}-{i}" for i, case in enumerate(CASES)]
POINTS = 33


def every_pointwise(base: type = Pointwise) -> set[type]:
    found = set()
    for sub in base.__subclasses__():
        found |= every_pointwise(sub)
        if not inspect.isabstract(sub) and sub.__module__.startswith("bounds."):
            found.add(sub)
    return found


def test_every_pointwise_operator_has_a_case() -> None:
    assert every_pointwise() == {type(case.op) for case in CASES}


def intervals(seed: int, count: int, case: Case = CASES[0]) -> Interval:
    """Intervals of all sizes and places: across and beside the breaks, tiny, huge, degenerate."""
    g = torch.Generator().manual_seed(seed)
    scale = 10.0 ** torch.empty(count, dtype=torch.float64).uniform_(-6, 1.3, generator=g)
    ends = torch.randn(2, count, dtype=torch.float64, generator=g) * scale
    shift = torch.tensor([0.0, 0.0, -1.0, 0.25, 6.0], dtype=torch.float64)
    ends = ends + shift[torch.randint(5, (count,), generator=g)]
    ends[1, ::17] = ends[0, ::17]
    if case.low > -torch.inf:
        ends = case.low + ends.abs()
    if case.high < torch.inf:
        ends = case.high - ends.abs()
    ordered = ends.sort(0).values
    return Interval(ordered[0], ordered[1])


def grid(x: Interval, op: Pointwise) -> Tensor:
    """Points inside each interval, its ends and the breaks in it included: (count, points)."""
    t = torch.linspace(0, 1, POINTS, dtype=torch.float64)
    inside = x.lower[:, None] + (x.upper - x.lower)[:, None] * t
    breaks = op.breaks if isinstance(op, Piecewise | Derivative) else ()
    marks = torch.tensor(breaks, dtype=torch.float64).expand(len(x.lower), -1)
    points = torch.cat([inside, x.lower[:, None], x.upper[:, None], marks], 1)
    return torch.minimum(torch.maximum(points, x.lower[:, None]), x.upper[:, None])


def violations(exact: Exact, slope: Tensor, offset: Tensor, points: Tensor, side: int) -> int:
    """How many points lie on the wrong side of their line, in 60-digit arithmetic."""
    wrong = 0
    with mpmath.workdps(60):
        for a, c, row in zip(slope.tolist(), offset.tolist(), points.tolist(), strict=True):
            for z in row:
                line = mpmath.mpf(a) * mpmath.mpf(z) + mpmath.mpf(c)
                wrong += side * (exact(mpmath.mpf(z)) - line) < 0
    return wrong


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_lines_enclose_the_function(case: Case) -> None:
    op, exact = case.op, case.exact
    x = intervals(1, 150, case)
    around, points = lines(op, x, rounded=True), grid(x, op)
    assert violations(exact, around.lower_slope, around.lower_intercept, points, +1) == 0
    assert violations(exact, around.upper_slope, around.upper_intercept, points, -1) == 0


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_any_slope_whatsoever_gets_a_sound_intercept(case: Case) -> None:
    op, exact = case.op, case.exact
    x = intervals(2, 100, case)
    slope = torch.randn(100, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    points = grid(x, op)
    for side in (+1, -1):
        assert violations(exact, slope, op.intercept(x, slope, side, rounded=True), points, side) == 0


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_lines_touch_the_function(case: Case) -> None:
    """A line that could be moved closer everywhere is a lost intercept, sound but loose."""
    op, x = case.op, intervals(4, 100, case)
    around = lines(op, x, rounded=True)
    fine = x.lower[:, None] + (x.upper - x.lower)[:, None] * torch.linspace(0, 1, 2001, dtype=torch.float64)
    touching = [op.touch(x, around.lower_slope, +1), op.touch(x, around.upper_slope, -1)]
    marks = torch.tensor(op.breaks if isinstance(op, Piecewise) else (), dtype=torch.float64)
    beside = up(marks).expand(len(fine), -1)  # where a function may jump
    beside = torch.minimum(torch.maximum(beside, x.lower[:, None]), x.upper[:, None])
    fine = torch.cat([fine, grid(x, op), torch.stack(touching, 1), beside], 1)
    f = op.function(fine)
    width = (x.upper - x.lower).clamp_min(1e-12)
    gap_below = (f - around.lower_slope[:, None] * fine - around.lower_intercept[:, None]).amin(1)
    gap_above = (around.upper_slope[:, None] * fine + around.upper_intercept[:, None] - f).amin(1)
    scale = 1 + (1 + around.slope_magnitude) * x.magnitude + f.abs().amax(1)
    bisected = 2.0**-28 * (f.amax(1) - f.amin(1))  # what thirty halvings of the slope leave
    allowed = 1e-6 * width + 1e-13 * scale + bisected
    assert (gap_below <= allowed).all()
    assert (gap_above <= allowed).all()


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_image_encloses_the_range(case: Case) -> None:
    op, exact = case.op, case.exact
    x = intervals(5, 150, case)
    y = op.image(x, rounded=True)
    with mpmath.workdps(60):
        for low, high, row in zip(y.lower.tolist(), y.upper.tolist(), grid(x, op).tolist(), strict=True):
            assert all(low <= exact(mpmath.mpf(z)) <= high for z in row)


@pytest.mark.parametrize("case", CASES, ids=IDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stated_error_of_the_value_holds(case: Case, dtype: torch.dtype) -> None:
    op, exact = case.op, case.exact
    z = torch.cat([torch.linspace(-30, 30, 3001), torch.logspace(-20, 1, 300)]).to(dtype)
    z = z[(z >= case.low) & (z <= case.high)]
    u = torch.finfo(dtype).eps / 2
    with mpmath.workdps(40):
        for point, value in zip(z.tolist(), op.function(z).tolist(), strict=True):
            true = exact(mpmath.mpf(point))
            allowed = 2 * u * (op.ulps * abs(true) + op.floor) + 1e-44
            assert abs(mpmath.mpf(value) - true) <= allowed


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CASES), st.floats(-40, 40), st.floats(0, 40), st.floats(-3, 3))
def test_hypothesis_finds_no_unsound_line(case: Case, low: float, width: float, slope: float) -> None:
    op, exact = case.op, case.exact
    if not case.low <= low <= low + width <= case.high:
        return
    x = Interval(torch.tensor([low], dtype=torch.float64), torch.tensor([low + width], dtype=torch.float64))
    for side, a in ((+1, lines(op, x, True).lower_slope), (-1, lines(op, x, True).upper_slope)):
        for advice in (a, torch.tensor([slope], dtype=torch.float64)):
            c = op.intercept(x, advice, side, rounded=True)
            assert violations(exact, advice, c, grid(x, op), side) == 0


@dataclass(frozen=True)
class Lost(Piecewise):
    """A ReLU whose fact about its kink is missing: the check above must see it."""

    @property
    def breaks(self) -> tuple[float, ...]:
        return ()

    @property
    def curvature(self) -> tuple[int, ...]:
        return (0,)

    def function(self, z: Tensor) -> Tensor:
        return z.clamp(min=0)

    def slopes(self, x: Interval) -> tuple[Tensor, Tensor]:
        return torch.full_like(x.lower, 0.5), torch.full_like(x.lower, 0.5)


def test_the_grid_check_sees_a_wrong_fact() -> None:
    x = intervals(6, 100)
    around = lines(Lost(), x, rounded=True)
    assert violations(leaky(0.0), around.lower_slope, around.lower_intercept, grid(x, LeakyReLU()), +1) > 0
