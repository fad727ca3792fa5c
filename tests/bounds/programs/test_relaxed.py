"""Linear programs between CROWN and what samples attain, for operators and sets of every kind."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import bounds
from bounds.interval import Interval
from bounds.ops.linear import Linear
from bounds.ops.shape import Reshape
from bounds.programs import lp, milp, sdp
from bounds.programs.maps import affine_map
from bounds.programs.relaxed import known_facts, relaxed
from bounds.programs.result import stated

from ...oracles.programs import minimum
from ...strategies import FAMILIES, Net, mlp, random_spec, region
from ..cases_pointwise import CASES, Case
from ..ops.cases import Case as AffineCase
from ..ops.cases import cases

NOISE = 1e-7


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.sigmoid(self.a(x)) * self.b(x))


class Attended(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.a(x).reshape(-1, 2, 2).relu()
        return self.c((scores @ self.b(x).reshape(-1, 2, 3)).flatten(1))


def networks() -> dict[str, bounds.Graph]:
    modules: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
        "max-pool": (
            nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 2)),
            (1, 4, 4),
        ),
        "softmax": (nn.Sequential(nn.Linear(3, 4), nn.Softmax(1), nn.Linear(4, 2)), (3,)),
        "smooth": (
            nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)),
            (3,),
        ),
        "hard": (
            nn.Sequential(
                nn.Linear(3, 4), nn.Hardswish(), nn.Linear(4, 4), nn.Hardsigmoid(), nn.Linear(4, 2)
            ),
            (3,),
        ),
        "gate": (Gate(), (3,)),
        "products": (Attended(), (3,)),
    }
    g = torch.Generator().manual_seed(0)
    graphs = {}
    for name, (module, shape) in modules.items():
        for p in module.parameters():
            p.data = torch.randn(p.shape, generator=g) * (p[0].numel() ** -0.5)
        graphs[name] = bounds.trace(module, torch.zeros(1, *shape)).to(torch.float64)
    return graphs


NETWORKS = networks()


@pytest.mark.parametrize("name", NETWORKS)
def test_between_crown_and_samples(name: str) -> None:
    """alpha-CROWN <= what LPs prove ~ what the solver says <= samples; also with intervals by LPs."""
    graph = NETWORKS[name]
    g = torch.Generator().manual_seed(1)
    centre = torch.rand(1, *graph.input_shape, generator=g, dtype=torch.float64)
    box = bounds.Box(centre - 0.4, centre + 0.4)
    spec = random_spec(graph, 1, batch=1, rows=2)
    weaker = bounds.bound(graph, box, spec, "alpha-crown").lower
    plain, joint = lp(graph, box, spec), lp(graph, box, spec, joint=True)
    noise = torch.rand(4000, *graph.input_shape, generator=g, dtype=torch.float64) * 2 - 1
    rows = spec.to(torch.float64).evaluate(graph(centre + 0.4 * noise))
    for stronger in (plain.lower, joint.lower, rows.amin(0, keepdim=True)):
        assert (weaker <= stronger + NOISE).all()
        weaker = stronger
    for found in (plain, joint):
        assert (found.lower <= found.value).all() and (found.value <= rows.amin(0) + NOISE).all()
        torch.testing.assert_close(found.lower, found.value, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("norm", [1, 2, math.inf])
def test_balls(norm: float) -> None:
    """Exact for affine graphs; and a row is never proved above what its own solution attains."""
    graph = mlp(3, (4, 3))
    centre = torch.full((2, 4), 0.4)
    ball, spec = bounds.Ball(centre, 0.5, norm=norm, clip=(0, 1)), random_spec(graph, 3)
    found = lp(graph, ball, spec)
    exact = bounds.bound(graph, ball, spec, "crown", torch.float64).lower
    torch.testing.assert_close(found.value, exact, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.attained, exact, rtol=0, atol=1e-3)
    deep = mlp(3)
    ball = bounds.Ball(centre, 0.3, norm=norm, clip=(0, 1))
    found = lp(deep, ball, random_spec(deep, 3))
    weaker = bounds.bound(deep, ball, random_spec(deep, 3), "alpha-crown", torch.float64).lower
    assert (weaker <= found.lower + 1e-6).all() and (found.lower <= found.attained).all()
    torch.testing.assert_close(found.lower, found.value, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["mlp", "leaky", "cnn"])
def test_against_another_program(family: str) -> None:
    """The reference sees a graph through its values alone; its relaxation is at most as tight."""
    graph = FAMILIES[family](2)
    ball = region(graph, 2, 0.2, batch=1).to(torch.float64)
    spec = random_spec(graph, 2, batch=1, rows=2).to(torch.float64)
    problem, spec = stated(graph, ball, spec, "float")
    facts = known_facts(problem, joint=False)
    linear, exact = relaxed(problem, spec, facts), milp(graph, ball, spec, level="float")
    lower = [f.interval.lower[0].flatten().numpy() for f in facts]
    upper = [f.interval.upper[0].flatten().numpy() for f in facts]
    for j in range(2):
        row, offset = spec.matrix[0, j].numpy(), float(spec.offset[0, j])
        plain, best = (minimum(problem.graph, lower, upper, row, exact=e) + offset for e in (False, True))
        assert plain - 1e-6 <= float(linear.value[0, j]) <= best + 1e-6
        assert abs(float(exact.value[0, j]) - best) < 1e-6
        assert abs(float(exact.attained[0, j]) - best) < 1e-6


POINT = Interval(*torch.ones(2, 1, dtype=torch.float64))
LINEAR = [case for case in CASES if case.op.pieces(case.intervals(POINT))]


@pytest.mark.parametrize("case", LINEAR, ids=lambda case: case.name)
def test_pieces_are_the_function(case: Case) -> None:
    g = torch.Generator().manual_seed(7)
    ends = (torch.randn(2, 300, generator=g, dtype=torch.float64) * 3).sort(0).values
    x = case.intervals(Interval(ends[0], ends[1]))
    z = x.lower + (x.upper - x.lower) * torch.rand(50, 300, generator=g, dtype=torch.float64)
    pieces = case.op.pieces(x)
    assert pieces
    best = torch.full_like(z, math.inf)
    for piece in pieces:
        off = (piece.slope * z + piece.shift - case.op.function(z)).abs()
        best = torch.where((piece.start <= z) & (z <= piece.end), torch.minimum(best, off), best)
    assert float(best.max()) < 1e-12


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.op!r}{case.ins}")
def test_matrices_are_the_operator(case: AffineCase) -> None:
    g = torch.Generator().manual_seed(3)
    params = tuple(p.double() for p in case.params)
    builder = bounds.Builder(case.ins[0])
    refs = [builder.input]
    for shape in case.ins[1:]:
        zero = torch.zeros(math.prod(shape), math.prod(case.ins[0]), dtype=torch.float64)
        flat = builder.apply(Reshape((math.prod(case.ins[0]),)), [builder.input])
        refs.append(builder.apply(Reshape(shape), [builder.apply(Linear(), [flat], (zero,))]))
    graph = builder.build(builder.apply(case.op, refs, params))
    xs = tuple(torch.randn(3, *shape, generator=g, dtype=torch.float64) for shape in case.ins)
    matrices, offset = affine_map(graph, graph.output, case.op)
    found = sum(x.reshape(3, -1).numpy() @ m.toarray().T for x, m in zip(xs, matrices, strict=True)) + offset
    expected = case.op.value(xs, params).reshape(3, -1)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", [1, 2, math.inf])
def test_semidefinite_programs_over_balls(norm: float) -> None:
    """Below what points of the ball attain, and not below what CROWN proves."""
    net = Net((4,), 1).linear(6).linear(5).relu().linear(5).linear(4).relu(0.1).linear(3).build()
    ball = bounds.Ball(torch.full((1, 4), 0.4), 0.4, norm=norm, clip=(0, 1))
    spec = random_spec(net, 1, batch=1, rows=2)
    found = sdp(net, ball, spec)
    assert (found.lower <= found.value).all() and (found.value <= found.attained + 1e-6).all()
    crown = bounds.bound(net, ball, spec, "crown-ibp", torch.float64).lower
    assert (crown <= found.lower + 1e-3).all()


def test_facts_that_contradict_each_other_leave_no_point() -> None:
    graph = mlp(1).to(torch.float64)
    problem, spec = stated(graph, region(graph, 1, 0.1, batch=1), random_spec(graph, 1, batch=1), "float")
    facts = known_facts(problem, joint=False)
    x = facts[1].interval
    high = x.upper + 1
    facts[1] = replace(facts[1], interval=Interval(high, high + 1))
    assert bool((relaxed(problem, spec, facts).value == math.inf).all())


def test_no_time_leaves_the_linear_program() -> None:
    graph = mlp(4, (4, 8, 8, 2))
    box, spec = region(graph, 4, 0.5), random_spec(graph, 4)
    found, plain = milp(graph, box, spec, seconds=0.0), lp(graph, box, spec)
    assert (found.value >= plain.value).all() and (found.value <= found.attained).all()


def test_what_has_no_program_is_named() -> None:
    graph = NETWORKS["smooth"]
    x = torch.zeros(1, 3)
    spec = random_spec(graph, 1, batch=1)
    with pytest.raises(bounds.Unsupported, match=r"GELU of node .* has no linear pieces; use lp"):
        milp(graph, bounds.Ball(x, 0.1), spec)
    with pytest.raises(bounds.Unsupported, match="products of branches"):
        milp(NETWORKS["gate"], bounds.Ball(x, 0.1), spec)
    with pytest.raises(bounds.Unsupported, match=r"Sigmoid of node .* has no semidefinite program"):
        sdp(NETWORKS["gate"], bounds.Ball(x, 0.1), spec)
    with pytest.raises(bounds.Unsupported, match="semidefinite programs take 150"):
        wide = mlp(0, (160, 2))
        sdp(wide, bounds.Ball(torch.zeros(1, 160), 0.1), random_spec(wide, 1, batch=1))
    with pytest.raises(bounds.Unsupported, match="L2 ball"):
        milp(graph, bounds.Ball(x, 0.1, norm=2), spec)
    with pytest.raises(bounds.Unsupported, match="L0Ball has no program"):
        lp(graph, bounds.L0Ball(x, (0.0, 1.0), 1), spec)
    with pytest.raises(bounds.InvalidInput, match="the graph expects"):
        lp(graph, bounds.Ball(torch.zeros(1, 4), 0.1), spec)


@pytest.mark.parametrize("level", ["float", "real", "deployed"])
def test_as_a_method_of_bound(level: str) -> None:
    graph = FAMILIES["mlp"](5)
    ball, spec = region(graph, 5, 0.2), random_spec(graph, 5)
    found = {m: bounds.bound(graph, ball, spec, m, torch.float64, level) for m in ("crown", "lp", "lp-joint")}
    assert (found["crown"].lower <= found["lp"].lower + NOISE).all()
    assert (found["lp"].lower <= found["lp-joint"].lower + NOISE).all()
    whole = bounds.bound(graph, ball, method="lp")
    assert (whole.lower <= whole.upper).all()
