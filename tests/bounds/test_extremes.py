"""Numbers of extreme scale: what overflows, underflows or is not a number must not look like a proof."""

import itertools
import math

import mpmath
import pytest
import torch
from torch import Tensor

import bounds
from bounds.graph import Graph
from bounds.interval import Interval
from bounds.kinds import Operator, Tensors
from bounds.linear import Shape
from bounds.ops.convex import Exp, Softplus
from bounds.ops.elementwise import Add, Negate, Scale
from bounds.ops.power import Power
from bounds.ops.segments import Shrink, Threshold
from bounds.ops.softmax import LogSoftmax, Softmax
from bounds.ops.stairs import Floor, Sign, Step
from bounds.ops.standardise import Standardise, Unify

METHODS = [name for name in bounds.METHODS if name != "cascade"]


def f64(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def f32(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float32)


def chain(*steps: tuple[Operator, Tensors], shape: Shape = (1,)) -> Graph:
    builder = bounds.Builder(shape)
    here = builder.input
    for op, params in steps:
        here = builder.apply(op, [here], params)
    return builder.build(here)


def scales(*factors: float, dtype: torch.dtype) -> Graph:
    return chain(*((Scale(), (torch.tensor(factor, dtype=dtype),)) for factor in factors))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factors", list(itertools.permutations((1e300, 1e-200, 1e-200))))
def test_coefficients_that_underflow(method: str, factors: tuple[float, ...]) -> None:
    found = bounds.bound(scales(*factors, dtype=torch.float64), bounds.Box(f64(1), f64(2)), method=method)
    with mpmath.workdps(40):
        slope = mpmath.fprod(map(mpmath.mpf, factors))
        assert found.lower.item() <= slope <= 2 * slope <= found.upper.item()


@pytest.mark.parametrize("method", METHODS)
def test_an_execution_that_overflows(method: str) -> None:
    graph, region = scales(1e30, 1e-30, dtype=torch.float32), bounds.Box(f32(1e10), f32(2e10))
    assert graph(region.lower).isinf().all()
    found = bounds.bound(graph, region, method=method, level="deployed")
    assert found.lower.item() == -math.inf and found.upper.item() == math.inf
    real = bounds.bound(graph, region, method=method, level="real")
    assert 0.99e10 < real.lower.item() < real.upper.item() < 2.01e10


@pytest.mark.parametrize("method", METHODS)
def test_a_mean_whose_sum_overflows(method: str) -> None:
    x = torch.full((1, 1, 32, 32), 2.0**119)
    graph = bounds.trace(torch.nn.AvgPool2d(32), torch.zeros_like(x))
    assert graph(x).isinf().all()
    found = bounds.bound(graph, bounds.Box(x, x), method=method, level="deployed")
    assert found.lower.item() == -math.inf and found.upper.item() == math.inf


@pytest.mark.parametrize("method", METHODS)
def test_a_function_whose_execution_overflows(method: str) -> None:
    graph, region = chain((Exp(), ())), bounds.Box(f32(0), f32(89))
    found = bounds.bound(graph, region, method=method, level="deployed")
    assert graph(region.upper).isinf().all() and found.upper.item() == math.inf


@pytest.mark.parametrize("weight", [1e39, 1e-60])
def test_weights_that_float32_cannot_hold(weight: float) -> None:
    graph = scales(weight, dtype=torch.float64)
    bounds.bound(graph, bounds.Box(f32(0), f32(1)), level="real")
    with pytest.raises(bounds.Unsupported, match="range of float32; ask for level 'real'"):
        bounds.bound(graph, bounds.Box(f32(0), f32(1)), level="deployed")


@pytest.mark.parametrize("op", [Softmax(0), LogSoftmax(0)], ids=repr)
@pytest.mark.parametrize("method", METHODS)
def test_a_softmax_of_large_logits(op: Operator, method: str) -> None:
    g = torch.Generator().manual_seed(1)
    logits = 10.0 ** torch.arange(5, 12, dtype=torch.float64)[:, None]
    logits = logits + 60 * torch.rand(7, 3, generator=g, dtype=torch.float64)
    graph, region = chain((op, ()), shape=(3,)), bounds.Box(logits, logits * (1 + 2.0**-50))
    found = bounds.bound(graph, region, method=method)
    with mpmath.workdps(60):
        for i, j in itertools.product(range(7), range(3)):
            for x in (region.lower[i], region.upper[i]):
                z = [mpmath.mpf(v) for v in x.tolist()]
                share = mpmath.exp(z[j]) / mpmath.fsum(map(mpmath.exp, z))
                y = share if isinstance(op, Softmax) else mpmath.log(share)
                assert found.lower[i, j].item() <= y <= found.upper[i, j].item()


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e160, 1e200])
@pytest.mark.parametrize("op", [Unify((0,), 1e-5), Standardise((0,), 1e-5)], ids=repr)
def test_known_ranges_where_squares_overflow(op: Unify | Standardise, scale: float) -> None:
    x = f64(-3, 1, 2) * scale
    known = op.known([Interval(x, x + 0.5 * scale)])
    assert known is not None
    with mpmath.workdps(40):
        z = [mpmath.mpf(v) for v in x[0].tolist()]
        square = mpmath.fsum(v * v for v in z) / 3 + mpmath.mpf(1e-5)
        for j in range(3):
            assert known.lower[0, j].item() <= z[j] / mpmath.sqrt(square) <= known.upper[0, j].item()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("eps", [0.0, -0.1])
def test_a_normalisation_that_is_not_defined(method: str, eps: float) -> None:
    for op in (Unify((0,), eps), Standardise((0,), eps)):
        region = bounds.Box(f64(-0.5, -0.5), f64(0.5, 0.5))
        found = bounds.bound(chain((op, ()), shape=(2,)), region, method=method)
        assert bool(found.lower.isinf().all()) and bool(found.upper.isinf().all())


@pytest.mark.parametrize("op", [Floor(), Sign(), Step(True), Threshold(0.0, 0.0), Shrink(0.5, 0.5)], ids=repr)
def test_comparisons_do_not_hide_what_is_not_a_number(op: Operator) -> None:
    builder = bounds.Builder((1,))
    large = builder.apply(Scale(), [builder.input], (torch.tensor(1e30),))
    large = builder.apply(Scale(), [large], (torch.tensor(1e30),))
    nothing = builder.apply(Add(), [large, builder.apply(Negate(), [large])])
    graph, region = builder.build(builder.apply(op, [nothing])), bounds.Box(f32(-1), f32(1))
    found = bounds.bound(graph, region, method="ibp", level="float")
    for z in (-3.0, 0.0, 3.0):
        y = op.value((f32(z),), ()).item()
        assert found.lower.item() <= y <= found.upper.item()


def test_a_power_that_underflows_on_its_way() -> None:
    x = f64(1e155)
    image = Power(-2.0).image(Interval(x, x), rounded=True)
    with mpmath.workdps(40):
        assert image.lower.item() <= mpmath.mpf(1e155) ** -2 <= image.upper.item()
    deployed = bounds.bound(chain((Power(-2.0), ())), bounds.Box(f32(3e19), f32(4e19)), level="deployed")
    assert deployed.lower.item() <= (1 / (f32(3e19) * f32(3e19))).item()


@pytest.mark.parametrize("kind", ["l0", "patch", "l1", "l2"])
@pytest.mark.parametrize("size", [1e-300, 1e-100, 1.0, 1e5])
def test_gains_in_a_large_room(kind: str, size: float) -> None:
    centre, clip, room = torch.zeros(1, 1, 2, dtype=torch.float64), (-1e300, 1e300), 1e300
    sets = {
        "l0": bounds.L0Ball(centre, clip, 1),
        "patch": bounds.Patch(centre, clip, (1, 1)),
        "l1": bounds.Ball(centre, 1e301, 1, clip),
        "l2": bounds.Ball(centre, 1e301, 2, clip),
    }
    row = torch.tensor([[[[size, 0.0]]]], dtype=torch.float64)
    assert sets[kind].support(row, torch.tensor([0]), rounded=True).item() >= size * room * (1 - 1e-15)


def test_a_function_that_jumps_is_not_monotone() -> None:
    graph, across = chain((Softplus(1.0, 20.0), ())), bounds.Box(f64(19), f64(21))
    y = graph(torch.tensor([[20.0], [20.0 + 1e-12]], dtype=torch.float64))
    assert y[1] < y[0]
    assert bounds.monotone(graph, across).item() == 0
    assert bounds.lipschitz(graph, across).item() == math.inf
    below = bounds.Box(f64(18), f64(19))
    assert bounds.monotone(graph, below).item() == 1 and bounds.lipschitz(graph, below).item() < 1.01
