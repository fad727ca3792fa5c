"""Rung 1: every pointwise operator's lines and image against its exact form, with tolerance zero."""

import functools
import inspect
import itertools
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
from bounds.piecewise import Piecewise, chosen
from bounds.relaxation import lines
from bounds.rounding import U64
from bounds.weights import Within

from .cases_pointwise import CASES, Case, leaky

IDS = [case.name for case in CASES]
POINTS = 17
every_case = pytest.mark.parametrize("case", CASES, ids=IDS)


def every_pointwise(base: type = Pointwise) -> set[type]:
    found = set()
    for sub in base.__subclasses__():
        found |= every_pointwise(sub)
        if not inspect.isabstract(sub) and sub.__module__.startswith("bounds."):
            found.add(sub)
    return found


def test_every_pointwise_operator_has_a_case() -> None:
    set_valued = {Within}  # no function: see test_weights
    assert every_pointwise() - set_valued == {type(case.op) for case in CASES}


def intervals(seed: int, count: int, case: Case) -> Interval:
    """Intervals of all sizes and places: across and beside the breaks, tiny, huge, degenerate."""
    g = torch.Generator().manual_seed(seed)
    scale = 10.0 ** torch.empty(count, dtype=torch.float64).uniform_(-6, 1.3, generator=g)
    ends = torch.randn(2, count, dtype=torch.float64, generator=g) * scale
    shift = torch.tensor([0.0, 0.0, -1.0, 0.25, 6.0, *case.places], dtype=torch.float64)
    ends = ends + shift[torch.randint(len(shift), (count,), generator=g)]
    ends[1, ::17] = ends[0, ::17]
    ordered = ends.sort(0).values
    return case.intervals(Interval(ordered[0], ordered[1]))


def grid(x: Interval, places: tuple[float, ...]) -> Tensor:
    """Points inside each interval, its ends and the places in it with their neighbours: (count, points)."""
    t = torch.linspace(0, 1, POINTS, dtype=torch.float64)
    inside = x.lower[:, None] + (x.upper - x.lower)[:, None] * t
    marks = torch.tensor(places, dtype=torch.float64)
    infinity = torch.full_like(marks, torch.inf)
    marks = torch.cat([marks, marks.nextafter(infinity), marks.nextafter(-infinity)]).expand(len(x.lower), -1)
    points = torch.cat([inside, x.lower[:, None], x.upper[:, None], marks], 1)
    return torch.minimum(torch.maximum(points, x.lower[:, None]), x.upper[:, None])


Values = list[dict[mpmath.mpf, mpmath.mpf]]


def exactly(case: Case, points: Tensor) -> Values:
    """Per interval, the exact values of the operator at its points, to 60 digits."""
    with mpmath.workdps(60):
        return [{mpmath.mpf(z): case.exact(mpmath.mpf(z)) for z in row} for row in points.tolist()]


def violations(values: Values, slope: Tensor, offset: Tensor, side: int) -> int:
    """How many points lie on the wrong side of their line, in 60-digit arithmetic."""
    wrong = 0
    with mpmath.workdps(60):
        for a, c, row in zip(slope.tolist(), offset.tolist(), values, strict=True):
            exact_a, exact_c = mpmath.mpf(a), mpmath.mpf(c)
            wrong += sum(side * (f - exact_a * z - exact_c) < 0 for z, f in row.items())
    return wrong


@functools.cache
def sample(index: int) -> tuple[Interval, Values]:
    """Intervals of a case and its exact values there; several tests look at them."""
    case = CASES[index]
    x = intervals(1, 80, case)
    return x, exactly(case, grid(x, case.places))


every_index = pytest.mark.parametrize("index", range(len(CASES)), ids=IDS)


@every_index
def test_lines_enclose_the_function(index: int) -> None:
    x, values = sample(index)
    around = lines(CASES[index].op, x, rounded=True)
    assert violations(values, around.lower_slope, around.lower_intercept, +1) == 0
    assert violations(values, around.upper_slope, around.upper_intercept, -1) == 0


@every_index
def test_any_slope_whatsoever_gets_a_sound_intercept(index: int) -> None:
    x, values = sample(index)
    slope = torch.randn(len(values), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for side in (+1, -1):
        offset = CASES[index].op.intercept(x, slope, side, rounded=True)
        assert violations(values, slope, offset, side) == 0


@every_index
def test_image_encloses_the_range(index: int) -> None:
    x, values = sample(index)
    y = CASES[index].op.image(x, rounded=True)
    with mpmath.workdps(60):
        for low, high, row in zip(y.lower.tolist(), y.upper.tolist(), values, strict=True):
            assert all(low <= f <= high for f in row.values())


def fine(case: Case, x: Interval, points: int) -> tuple[Tensor, Tensor]:
    """Many points in each interval, and the operator's float64 values there."""
    t = torch.linspace(0, 1, points, dtype=torch.float64)
    z = torch.cat([x.lower[:, None] + (x.upper - x.lower)[:, None] * t, grid(x, case.places)], 1)
    return z, case.op.function(z)


@every_case
def test_lines_touch_the_function(case: Case) -> None:
    """A line that could be moved closer everywhere is a lost intercept, sound but loose."""
    x = intervals(4, 100, case)
    z, f = fine(case, x, 2001)
    around = lines(case.op, x, rounded=True)
    gap_below = (f - around.lower_slope[:, None] * z - around.lower_intercept[:, None]).amin(1)
    gap_above = (around.upper_slope[:, None] * z + around.upper_intercept[:, None] - f).amin(1)
    spread = f.amax(1) - f.amin(1)
    allowed = 1e-6 * spread + 1e-13 * (1 + f.abs().amax(1) + around.slope_magnitude * x.magnitude)
    assert (gap_below <= allowed).all()
    assert (gap_above <= allowed).all()


@every_case
def test_image_is_the_range(case: Case) -> None:
    x = intervals(5, 100, case)
    _, f = fine(case, x, 2001)
    y = case.op.image(x, rounded=True)
    allowed = 1e-5 * (f.amax(1) - f.amin(1)) + 1e-13 * (1 + f.abs().amax(1))
    assert (f.amin(1) - y.lower <= allowed).all()
    assert (y.upper - f.amax(1) <= allowed).all()


def envelope_at_middle(x: Interval, z: Tensor, f: Tensor) -> Tensor:
    """The convex envelope of the points (z, f) at the middle of each interval, from all pairs of points."""
    heights = []
    for middle, points, values in zip(x.centre, z, f, strict=True):
        left, right = points <= middle, points >= middle
        before, after = (middle - points[left])[:, None], (points[right] - middle)[None]
        share = before / torch.where(before + after > 0, before + after, 1.0)
        heights.append((values[left][:, None] * (1 - share) + values[right][None] * share).amin())
    return torch.stack(heights)


@every_case
def test_slopes_leave_the_least_area(case: Case) -> None:
    """The area between line and function is decided by the line's height at the middle."""
    if isinstance(case.op, Derivative) and any(case.op.of.curvature):
        return  # flat lines, by choice
    x = intervals(6, 40, case)
    z, f = fine(case, x, 301)
    around = lines(case.op, x, rounded=True)
    middle = x.centre
    below = envelope_at_middle(x, z, f) - (around.lower_slope * middle + around.lower_intercept)
    above = around.upper_slope * middle + around.upper_intercept + envelope_at_middle(x, z, -f)
    allowed = 1e-3 * (f.amax(1) - f.amin(1)) + 1e-12 * (1 + f.abs().amax(1))
    assert (below <= allowed).all()
    assert (above <= allowed).all()


@every_case
def test_pieces_bend_as_stated(case: Case) -> None:
    """Three points of a piece show whether it is convex, concave or linear."""
    if not isinstance(case.op, Piecewise):
        return
    ends = [-9.0, *(b for b in case.op.breaks if abs(b) < 9), 9.0]
    with mpmath.workdps(60):
        for start, end, bend in zip(ends[:-1], ends[1:], case.op.curvature, strict=False):
            for share in range(40):
                left, right = (
                    mpmath.mpf(start) + (mpmath.mpf(end) - start) * (share + d) / 42 for d in (1, 2)
                )
                if undefined(case.op, left, right):
                    continue
                a, b, c = (case.exact(p) for p in (left, (left + right) / 2, right))
                assert abs(a + c - 2 * b) < mpmath.mpf(10) ** -50 if bend == 0 else (a + c - 2 * b) * bend > 0


@every_case
def test_stated_error_of_the_derivative_holds(case: Case) -> None:
    """``Piecewise`` counts on it to within 16 u (1 + |f'|) on curved pieces."""
    op = case.op
    if not isinstance(op, Piecewise) or not any(op.curvature):
        return
    x = intervals(7, 150, case)
    ends = (-torch.inf, *op.breaks, torch.inf)
    for start, end, bend in zip(ends[:-1], ends[1:], op.curvature, strict=True):
        z = torch.cat([x.lower, x.upper])
        z = z[(z > start) & (z < end) & (z != 0)] if bend else z[:0]
        computed = op.derivative(z)
        with mpmath.workdps(80):
            for point, slope in zip(z.tolist(), computed.tolist(), strict=True):
                near = mpmath.mpf(10) ** -25 * min(1, abs(point))
                true = (case.exact(point + near) - case.exact(point - near)) / (2 * near)
                allowed = 16 * U64 * (1 + abs(true)) + mpmath.mpf(10) ** -45 * abs(true)
                assert not abs(true) < 1e300 or abs(slope - true) <= allowed, point


@every_case
def test_tangent_points_have_the_slope_asked_for(case: Case) -> None:
    """To what the lines may lose by it."""
    op = case.op
    if not isinstance(op, Piecewise) or not any(op.curvature):
        return
    x = intervals(8, 200, case)
    ends = (-torch.inf, *op.breaks, torch.inf)
    for piece, (start, end) in enumerate(itertools.pairwise(ends)):
        z = torch.cat([x.lower, x.centre, x.upper])
        z = z[(z > start) & (z < end) & (z.abs() < 30) & (z != 0)] if op.curvature[piece] else z[:0]
        slope = op.derivative(z)
        found = op.derivative(op.tangent_at(slope, piece).clamp(start, end))
        assert ((found - slope).abs() <= 1e-10 * (1 + slope.abs())).all()


def undefined(op: Piecewise, left: mpmath.mpf, right: mpmath.mpf) -> bool:
    x = Interval(*(torch.tensor([float(end)], dtype=torch.float64) for end in (left, right)))
    outside = op.outside(x)
    return outside is not None and bool(outside)


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stated_error_of_the_value_holds(case: Case, dtype: torch.dtype) -> None:
    z = torch.cat([torch.linspace(-30, 30, 1501), torch.logspace(-20, 1, 300), -torch.logspace(-9, 2, 300)])
    z = case.domain(z.double().expand(2, -1))[0].to(dtype)
    op = case.op.bind((case.op.slope.to(dtype),)) if getattr(case.op, "slope", None) is not None else case.op
    computed = op.function(z)
    error = op.error(computed.double(), torch.finfo(dtype).eps / 2) + (1e-44 if dtype == torch.float32 else 0)
    with mpmath.workdps(40):
        for point, value, allowed in zip(z.tolist(), computed.tolist(), error.tolist(), strict=True):
            assert abs(mpmath.mpf(value) - case.exact(mpmath.mpf(point))) <= allowed


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(CASES), st.floats(-40, 40), st.floats(0, 40), st.floats(-3, 3))
def test_hypothesis_finds_no_unsound_line(case: Case, low: float, width: float, slope: float) -> None:
    ends = (torch.tensor([end], dtype=torch.float64) for end in (low, low + width))
    x = case.intervals(Interval(*ends))
    values, around = exactly(case, grid(x, case.places)), lines(case.op, x, rounded=True)
    for side, advice in ((+1, around.lower_slope), (-1, around.upper_slope)):
        for a in (advice, torch.tensor([slope], dtype=torch.float64)):
            assert violations(values, a, case.op.intercept(x, a, side, rounded=True), side) == 0


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
    case = Case(Lost(), leaky(0.0), marks=(0.0,))
    x = intervals(6, 100, case)
    around = lines(case.op, x, rounded=True)
    values = exactly(case, grid(x, case.places))
    assert violations(values, around.lower_slope, around.lower_intercept, +1) > 0


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_splitting_an_interval_makes_it_easier(case: Case) -> None:
    """The cut lies inside, and on both sides of it lines are at least as close, piece by piece even exact."""
    x = intervals(8, 60, case)
    wide = x.upper - x.lower > 1e-6 * (1 + x.magnitude)
    x = x[wide.nonzero().squeeze(1)]
    cut = case.op.split(x)
    assert ((x.lower <= cut) & (cut <= x.upper)).all()
    linear = isinstance(case.op, Piecewise) and not any(case.op.curvature)
    if linear and len(case.op.breaks) == 1:
        for part in (Interval(x.lower, cut), Interval(cut, x.upper)):
            assert not (case.op.undecided(part) & case.op.undecided(x)).any()


def test_the_smallest_gap_is_that_of_argmin_and_no_nan_is_lost() -> None:
    gen = torch.Generator().manual_seed(0)
    points = torch.randn(5, 400, dtype=torch.float64, generator=gen)
    gaps = torch.randint(-3, 3, (5, 400), generator=gen).double()  # with ties
    best = gaps.argmin(0, keepdim=True)
    point, least = chosen(points, gaps)
    assert torch.equal(point, points.gather(0, best)[0])
    assert torch.equal(least, gaps.amin(0))
    for place in range(5):
        spoilt = gaps.clone()
        spoilt[place, 7] = torch.nan
        assert chosen(points, spoilt)[1].isnan().nonzero().tolist() == [[7]]
