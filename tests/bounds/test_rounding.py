"""Level ``real`` against exact rational arithmetic, on networks built to make floats lie."""

from fractions import Fraction

import pytest
import torch

import bounds
from bounds.interval import Interval
from bounds.ops.elementwise import Scale
from bounds.propagate.facts import Facts
from bounds.propagate.forms import Forms, Layout
from bounds.propagate.rows import lower_bounds
from bounds.rounding import check_dot_products, down, gamma, up

from ..strategies import Net

Exact = list[Fraction]


def ill_scaled(seed: int) -> tuple[bounds.Graph, torch.Tensor]:
    """A small ReLU network with weights from 1e-4 to 1e8 and nearly cancelling columns, and one input."""
    net = Net((3,), seed)
    g = net.g
    for width in (4, 4):
        net.linear(width).relu()
    graph = net.linear(2).build()

    def spread(p: torch.Tensor) -> torch.Tensor:
        p = p * 10.0 ** torch.empty(p.shape).uniform_(-4, 8, generator=g)
        if p.dim() == 2:
            p[:, 1] = -p[:, 0] * (1 + torch.randn(len(p), generator=g) * 1e-7)
        return p

    return graph.map_params(spread), torch.rand(1, 3, generator=g)


def exact_value(graph: bounds.Graph, x: torch.Tensor) -> Exact:
    """The network at one point in rational arithmetic."""
    z = [Fraction(v) for v in x[0].tolist()]
    for node in graph.nodes[1:]:
        if node.params:
            weight, bias = node.params[0].tolist(), node.params[1].tolist()
            z = [
                sum((Fraction(w) * v for w, v in zip(row, z, strict=True)), Fraction(b))
                for row, b in zip(weight, bias, strict=True)
            ]
        else:
            z = [max(v, Fraction(0)) for v in z]
    return z


@pytest.mark.parametrize("method", ["ibp", "forward", "crown-ibp", "crown"])
def test_real_is_never_above_the_exact_value(method: str) -> None:
    lies = 0
    for seed in range(150):
        graph, x = ill_scaled(seed)
        point = bounds.Ball(x, 0.0)
        real = bounds.bound(graph, point, method=method, level="real")
        plain = bounds.bound(graph, point, method=method, dtype=torch.float64, level="float")
        for j, value in enumerate(exact_value(graph, x)):
            assert Fraction(float(real.lower[0, j])) <= value <= Fraction(float(real.upper[0, j]))
            lies += not Fraction(float(plain.lower[0, j])) <= value <= Fraction(float(plain.upper[0, j]))
    assert lies > 10  # the networks do what they were built for


def test_overflow_never_gives_a_finite_wrong_bound() -> None:
    net = Net((2,), 1)
    graph = net.linear(3).relu().linear(3).relu().linear(2).build().map_params(lambda p: p.double() * 1e200)
    for method in bounds.METHODS:
        b = bounds.bound(
            graph,
            bounds.Ball(torch.rand(2, 2), 0.1),
            bounds.margins(torch.tensor([0, 1]), 2),
            method,
            level="real",
        )
        assert not b.lower.isnan().any() and not b.upper.isnan().any()
        assert (b.lower == -torch.inf).all() and (b.upper == torch.inf).all()


def test_this_machine_computes_ordinary_dot_products() -> None:
    check_dot_products("cpu")


def test_gamma_is_an_upper_bound() -> None:
    for n in (1, 10, 10**6):
        u = Fraction(1, 2**53)
        assert Fraction(gamma(n, 2.0**-53)) >= n * u / (1 - n * u)
    with pytest.raises(bounds.InvalidInput, match="too long"):
        gamma(2**30, 2.0**-24)


BAD = [
    ({"method": "magic"}, "method 'magic' is not known"),
    ({"level": "certain"}, "level 'certain' is not known"),
    ({"level": "real", "dtype": torch.float32}, "computed in float64"),
    ({"dtype": torch.float16}, "float32 or float64"),
    ({"spec": bounds.margins(torch.tensor([0, 1]), 3)}, "speaks of 3 outputs; the graph has 2"),
    ({"spec": bounds.margins(torch.tensor([0, 1, 1]), 2)}, "for 3 samples; the region has 2"),
    ({"region": bounds.Ball(torch.rand(2, 3), 0.1)}, "region has shape"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_questions_get_one_clear_line(change: dict[str, object], message: str) -> None:
    graph = Net((2,), 3).linear(3).relu().linear(2).build()
    arguments = {"region": bounds.Ball(torch.rand(2, 2), 0.1), **change}
    with pytest.raises(bounds.InvalidInput, match=message):
        bounds.bound(graph, **arguments)


def test_weights_that_are_not_finite_are_refused() -> None:
    net = Net((2,), 3).linear(3).add(Scale(), torch.tensor(torch.nan))
    with pytest.raises(bounds.InvalidGraph, match="NaN or Inf"):
        net.build()


def test_weights_that_become_infinite_give_infinite_bounds() -> None:
    graph = Net((2,), 3).linear(3).relu().linear(2).build().map_params(lambda p: p * 1e30 * 1e30)
    b = bounds.bound(graph, bounds.Ball(torch.rand(2, 2), 0.1))
    assert (b.lower == -torch.inf).all() and (b.upper == torch.inf).all()


def test_a_sum_that_overflows_is_no_bound() -> None:
    """Partial sums may be infinite where the sum is not: an infinite end never bounds from the wrong side."""
    infinity = torch.tensor([torch.inf, -torch.inf], dtype=torch.float64)
    assert down(infinity).isnan().tolist() == [True, False]
    assert up(infinity).isnan().tolist() == [False, True]
    both = Interval(infinity, infinity).closed()
    assert both.lower.tolist() == [-torch.inf] * 2
    assert both.upper.tolist() == [torch.inf] * 2
    box = bounds.Box(torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64))
    graph = bounds.trace(torch.nn.Linear(1, 1).double(), torch.zeros(1, 1, dtype=torch.float64))
    facts = [Facts(box.box()), Facts(box.box(), cushion=torch.zeros(1, 1, dtype=torch.float64))]
    layout, row = Layout(torch.zeros(1, dtype=torch.long), 1), torch.ones(1, 1, dtype=torch.float64)
    for slack in (None, torch.zeros(1, dtype=torch.float64)):
        forms = Forms(layout, torch.full((1,), torch.inf, dtype=torch.float64), slack)
        assert lower_bounds(graph, facts, box, 1, row, forms).tolist() == [-torch.inf]


@pytest.mark.parametrize(("whole", "dtype"), [(torch.int64, torch.float64), (torch.int32, torch.float32)])
def test_up_and_down_reach_the_next_numbers(whole: torch.dtype, dtype: torch.dtype) -> None:
    """For any bits, and about powers of two, and hardly farther; infinite ends fail closed."""
    generator, ends = torch.Generator().manual_seed(0), torch.iinfo(whole)
    bits = torch.randint(ends.min, ends.max, (1_000_000,), generator=generator, dtype=whole)
    powers = 2.0 ** torch.arange(-1074, 1024, dtype=torch.float64)
    powers = torch.cat([powers, -powers]).to(dtype)
    most = torch.full((1,), torch.inf, dtype=dtype)
    near = torch.cat([powers, powers.nextafter(most), powers.nextafter(-most), torch.zeros(1, dtype=dtype)])
    x = torch.cat([bits.view(dtype), near])
    x = x[x.isfinite()]
    above, below = x.nextafter(most), x.nextafter(-most)
    assert bool((up(x) >= above).all()) and bool((down(x) <= below).all())
    full = x[(x.abs() >= 4 * torch.finfo(dtype).tiny / torch.finfo(dtype).eps) & (x.abs() < 2.0**100)]
    assert bool((up(full) <= full.nextafter(most).nextafter(most).nextafter(most)).all())
    assert bool(up(-most).isnan()) and bool(down(most).isnan())
    assert bool(up(most) == torch.inf) and bool(down(-most) == -torch.inf)
