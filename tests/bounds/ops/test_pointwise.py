"""Every pointwise operator inside a network: bounds enclose what is found, and better methods dominate."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import bounds
from bounds.graph import Builder
from bounds.interval import Interval
from bounds.kinds import Pointwise
from bounds.ops.derivative import Slopes
from bounds.ops.elementwise import Shift
from bounds.ops.linear import Linear
from bounds.ops.relu import PReLU
from bounds.piecewise import Piecewise

from ..cases_pointwise import CASES, Case
from .networks import WIDTH, draw, extremes

NOISE = 1e-9
METHODS = ("ibp", "crown-ibp", "crown", "alpha-crown")
every = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def network(case: Case, start: Tensor) -> bounds.Graph:
    """Two layers with the operator between, moved to where it is defined around the network's value there."""
    builder = Builder((WIDTH,))
    weight = 0.4 * draw(5, WIDTH, seed=3)
    here = builder.apply(Linear(), (builder.input,), (weight, torch.zeros(5, dtype=torch.float64)))
    value = start @ weight.T
    target = case.domain(torch.stack([value, value]) + 0.1)[0]
    slack = 0.0 if bool((target == value + 0.1).all()) else 0.4
    here = builder.apply(Shift(), (here,), (target - value + slack,))
    params: tuple[Tensor, ...] = ()
    op: Pointwise = case.op
    if isinstance(op, PReLU) and op.slope is not None:
        op, params = PReLU(), (op.slope,)
    if isinstance(op, Slopes) and isinstance(op.of, PReLU) and op.of.slope is not None:
        op, params = Slopes(PReLU()), (op.of.slope,)
    here = builder.apply(op, (here,), params)
    return builder.build(builder.apply(Linear(), (here,), (draw(3, 5, seed=4), draw(3, seed=5))))


@every
@pytest.mark.parametrize("level", ["float", "deployed"])
def test_bounds_enclose_and_dominate(case: Case, level: str) -> None:
    start = draw(WIDTH, seed=6)
    graph, ball = network(case, start), bounds.Ball(start[None], 0.1)
    least, greatest = extremes(graph, ball, seed=7)
    found = [bounds.bound(graph, ball, method=method, level=level) for method in METHODS]
    for b in (*found, bounds.bound(graph, ball, method="forward", level=level)):
        assert bool(b.lower.isfinite().all()) and bool(b.upper.isfinite().all())
        slack = 1e-12 if level == "float" else 0.0
        assert bool((b.lower <= least + slack).all()) and bool((b.upper >= greatest - slack).all())
    for weaker, stronger in itertools.pairwise(found):
        assert bool((weaker.lower <= stronger.lower + NOISE).all())
        assert bool((weaker.upper >= stronger.upper - NOISE).all())


@every
def test_bounds_of_a_point_are_its_value(case: Case) -> None:
    start = draw(WIDTH, seed=6)
    graph = network(case, start)
    for method in ("ibp", "crown"):
        b = bounds.bound(graph, bounds.Ball(start[None], 0.0), method=method)
        jumps = not isinstance(case.op, Piecewise | PReLU)
        torch.testing.assert_close(b.lower, graph(start[None]), rtol=1e-9, atol=1.0 if jumps else 1e-9)
        torch.testing.assert_close(b.upper, graph(start[None]), rtol=1e-9, atol=1.0 if jumps else 1e-9)


PARTIAL: list[tuple[Case, Callable[[Tensor], Tensor]]] = [
    (case, case.domain)
    for case in CASES
    if isinstance(case.op, Piecewise) and case.domain.__name__ != "anywhere"
]


@pytest.mark.parametrize("case", [c for c, _ in PARTIAL], ids=[c.name for c, _ in PARTIAL])
def test_bounds_are_infinite_where_the_function_is_not_defined(case: Case) -> None:
    x = Interval(torch.tensor([-3.0, -2.0]).double(), torch.tensor([2.0, 1e300]).double())
    y = case.op.image(x, rounded=True)
    assert bool((y.lower == -torch.inf).all()) and bool((y.upper == torch.inf).all())
    lower, upper = case.op.slopes(x)
    assert bool(lower.isfinite().all()) and bool(upper.isfinite().all())
    for slope in (lower, upper, torch.tensor([0.3, -2.0]).double()):
        for side in (+1, -1):
            assert bool((case.op.intercept(x, slope, side, rounded=True) == -side * torch.inf).all())
    start = draw(WIDTH, seed=6)
    graph = network(case, start)
    for method in (*METHODS, "forward"):
        b = bounds.bound(graph, bounds.Ball(start[None], 9.0), method=method)
        assert bool((b.lower == -torch.inf).all()) and bool((b.upper == torch.inf).all())


@every
def test_overflow_and_infinite_intervals_prove_nothing_false(case: Case) -> None:
    """Ends that are infinite, and ends where the function overflows."""
    big = torch.tensor([-torch.inf, -torch.inf, 1.0, 700.0, 1e300, -1e306], dtype=torch.float64)
    far = torch.tensor([torch.inf, -1.0, torch.inf, 1e5, 1e305, 1e306], dtype=torch.float64)
    x = Interval(big, far)
    ends = [(-1e3, 1e3), (-1e3, -1.0), (1.0, 1e3), (700.0, 1e5), (1e300, 1e305), (-1e306, 1e306)]
    t = torch.linspace(0, 1, 50).double()
    points = torch.stack([low * (1 - t) + high * t for low, high in ends])
    f = case.op.function(points)
    y = case.op.image(x, rounded=True).closed()
    defined = f.isfinite()
    assert bool(((y.lower[:, None] <= f) | ~defined).all())
    assert bool(((y.upper[:, None] >= f) | ~defined).all())
    for slope in (*map(torch.nan_to_num, case.op.slopes(x)), torch.full_like(big, 0.5)):
        below, above = (case.op.intercept(x, slope, side, rounded=True) for side in (+1, -1))
        gap = f - slope[:, None] * points
        slack = 1e-9 * (1 + f.abs() + (slope[:, None] * points).abs())
        assert bool(((below[:, None] <= gap + slack) | ~defined | below.isnan()[:, None]).all())
        assert bool(((above[:, None] >= gap - slack) | ~defined | above.isnan()[:, None]).all())
