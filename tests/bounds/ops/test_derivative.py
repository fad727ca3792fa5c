"""Derivatives of scalar functions against numerical differentiation in long arithmetic."""

import mpmath
import pytest
import torch

from bounds.errors import Unsupported
from bounds.interval import Interval
from bounds.kinds import Pointwise
from bounds.ops.derivative import Derivative, Slopes, derivative
from bounds.ops.relu import LeakyReLU
from bounds.ops.segments import Shrink, Threshold
from bounds.ops.stairs import Floor, Step
from bounds.ops.trig import MinusSin, Wave
from bounds.piecewise import Piecewise
from bounds.relaxation import lines

from ..cases_pointwise import CASES, Case
from ..test_relaxation import intervals


def _has_derivative(op: Pointwise) -> bool:
    try:
        derivative(op)
    except Unsupported:
        return False
    return True


SMOOTH = [case for case in CASES if _has_derivative(case.op)]


@pytest.mark.parametrize("case", SMOOTH, ids=[f"{case.op!r}-{i}" for i, case in enumerate(SMOOTH)])
def test_image_and_lines_enclose_the_derivative(case: Case) -> None:
    x = intervals(8, 40, case)
    ops: list[Pointwise] = [derivative(case.op)]
    if isinstance(case.op, Piecewise):
        ops.append(Derivative(case.op))
    points = torch.linspace(0.02, 0.98, 9, dtype=torch.float64)
    for op in ops:
        image, around = op.image(x, rounded=True), lines(op, x, rounded=True)
        for i in range(40):
            low, high = float(x.lower[i]), float(x.upper[i])
            if high - low < 1e-9:
                continue
            for z in (low + (high - low) * points).tolist():
                with mpmath.workdps(50):
                    slope = mpmath.diff(case.exact, mpmath.mpf(z), h=mpmath.mpf(10) ** -20)
                allowed = 1e-12 * (1 + abs(slope))
                assert float(image.lower[i]) - allowed <= slope <= float(image.upper[i]) + allowed
                below = float(around.lower_slope[i]) * z + float(around.lower_intercept[i])
                above = float(around.upper_slope[i]) * z + float(around.upper_intercept[i])
                assert below - allowed <= slope <= above + allowed


def test_images_are_attained() -> None:
    """On one piece the image is the derivative at the ends; across a kink both slopes."""
    for case in SMOOTH:
        if isinstance(case.op, Wave):
            continue  # its derivative is a wave, whose image has tests of its own
        x = intervals(9, 60, case)
        image = derivative(case.op).image(x, rounded=True)
        at = torch.stack([derivative(case.op).function(z) for z in (x.lower, x.centre, x.upper)])
        inside = ~(torch.stack([(x.lower <= b) & (b <= x.upper) for b in _breaks(case)]).any(0))
        finite = inside & at.isfinite().all(0)
        torch.testing.assert_close(image.lower[finite], at.amin(0)[finite], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(image.upper[finite], at.amax(0)[finite], rtol=1e-12, atol=1e-12)


def _breaks(case: Case) -> tuple[float, ...]:
    op = derivative(case.op)
    more = op.breaks if isinstance(op, Piecewise) else ()
    return (*case.places, *more, torch.inf)


def test_overflow_is_no_bound() -> None:
    exponential = next(case.op for case in CASES if type(case.op).__name__ == "Exp")
    x = Interval(torch.tensor([800.0]).double(), torch.tensor([900.0]).double())
    op = derivative(exponential)
    assert op.image(x, True).lower < torch.inf and op.image(x, True).upper == torch.inf
    for side in (+1, -1):
        assert not op.intercept(x, torch.zeros(1).double(), side, True).isfinite()
        assert op.intercept(x, torch.zeros(1).double(), side, True) == -side * torch.inf


@pytest.mark.parametrize(
    "op", [Threshold(0.1, 0.0), Shrink(0.3, 0.0), Floor(), Step(closed=True), Slopes(Shrink(1, 1))]
)
def test_jumps_are_refused(op: Pointwise) -> None:
    with pytest.raises(Unsupported, match=r"jumps.*so that no derivative bounds its differences"):
        derivative(op)


@pytest.mark.parametrize("op", [Derivative(LeakyReLU()), MinusSin()])
def test_functions_without_a_known_derivative_are_refused(op: Pointwise) -> None:
    with pytest.raises(Unsupported, match="has no derivative to bound"):
        derivative(op)
