"""Verdicts against what is really true."""

import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

import bounds
from benchmarks import exactly
from bounds.errors import InvalidInput
from bounds.ops.linear import Linear
from bounds.ops.sshape import Sigmoid, Tanh
from bounds.search import Decision, Status, verify
from bounds.search.schedule import Schedule
from bounds.vnnlib import read_vnnlib

from ...strategies import Net, cnn, mlp, resnet
from .oracles import least_by_milp


def shrinking(seed: int, width: int = 16, slope: float = 0.0) -> bounds.Graph:
    """Many inputs, so that neurons are cut; few neurons, so that the oracles are quick."""
    return mlp(seed, (width, 5, 5, 3), slope)


def pooled(seed: int) -> bounds.Graph:
    """With a maximum over windows, traced, since it is made of several operators."""
    torch.manual_seed(seed)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3, padding=1),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 4),
        torch.nn.ReLU(),
        torch.nn.Linear(4, 3),
    )
    return bounds.trace(module.requires_grad_(False), torch.rand(1, 1, 4, 4))


NETS: dict[str, Callable[[int], bounds.Graph]] = {
    "few inputs": mlp,
    "few inputs, leaky": lambda seed: mlp(seed, slope=0.2),
    "many inputs": shrinking,
    "many inputs, leaky": lambda seed: shrinking(seed, slope=0.3),
    "convolutions": cnn,
    "residual": resnet,
    "max-pool": pooled,
}


def box(graph: bounds.Graph, seed: int, eps: float, batch: int = 1) -> bounds.Box:
    g = torch.Generator().manual_seed(seed + 100)
    centre = torch.rand(batch, *graph.input_shape, generator=g, dtype=torch.float64)
    return bounds.Box(centre - eps, centre + eps)


def spec_of(graph: bounds.Graph, seed: int, clauses: Tensor | None, batch: int = 1) -> bounds.Spec:
    g = torch.Generator().manual_seed(seed + 200)
    rows = 3 if clauses is None else len(clauses)
    matrix = torch.randn(batch, rows, graph.output_shape[0], generator=g, dtype=torch.float64)
    offset = torch.zeros(batch, rows, dtype=torch.float64)
    return bounds.Spec(matrix, offset, None if clauses is None else clauses.expand(batch, -1))


def shifted(spec: bounds.Spec, by: float) -> bounds.Spec:
    return bounds.Spec(spec.matrix, spec.offset + by, spec.clause)


def check_witness(
    graph: bounds.Graph, region: bounds.InputSet, spec: bounds.Spec, found: Decision, sample: int = 0
) -> None:
    """A witness lies in the region, and the network itself, run there, fails the specification."""
    assert found.witness is not None
    one, point, spec = torch.tensor([sample]), found.witness[None], spec.to(torch.float64)
    assert point.dtype is graph.nodes[1].params[0].dtype
    assert bool(region[one].contains(point))
    assert float(spec[one].worst(spec[one].evaluate(graph(point).double()))) <= 0


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("clauses", [None, [0, 0, 1], [0, 0, 0]], ids=["and", "both", "or"])
def test_agrees_with_integer_programs(name: str, clauses: list[int] | None) -> None:
    """Nets, regions and specifications at random; offsets so that the truth is a close call both ways."""
    for seed in range(2):
        graph = NETS[name](seed)
        region = box(graph, seed, 0.05 if name == "residual" else 0.12)
        spec = spec_of(graph, seed, None if clauses is None else torch.tensor(clauses))
        least = least_by_milp(graph, region, spec)
        for off in (0.03, -0.03):
            asked = shifted(spec, off - least)
            [found] = verify(graph, region, asked, timeout=60)
            assert found.status is (Status.VERIFIED if off > 0 else Status.FALSIFIED), (seed, off, found)
            if off < 0:
                check_witness(graph, region, asked, found)


@pytest.mark.parametrize("name", ["many inputs", "many inputs, leaky", "convolutions"])
def test_close_calls(name: str) -> None:
    """Once every neuron is cut, linear programs find what breaks the property, or multipliers of a proof."""
    for seed in range(3):
        check_close_calls(NETS[name](seed), seed)


def check_close_calls(graph: bounds.Graph, seed: int) -> None:
    """Verdicts on a question that just holds and one that just does not."""
    region, spec = box(graph, seed, 0.12), spec_of(graph, seed, None)
    least = least_by_milp(graph, region, spec)
    for off in (3e-4, -3e-4):
        asked = shifted(spec, off - least)
        [found] = verify(graph, region, asked, timeout=60)
        assert found.status is (Status.VERIFIED if off > 0 else Status.FALSIFIED), (seed, off, found)
        if off < 0:
            check_witness(graph, region, asked, found)


@pytest.mark.parametrize("memory", [2**28, 2**15], ids=["together", "in groups"])
def test_several_boxes_each_get_their_own_verdict(memory: int) -> None:
    """Groups of boxes with few inputs are bounded by zonotopes, others by rows."""
    for maker, seed in ((mlp, 3), (shrinking, 4)):
        graph = maker(seed)
        region, spec = box(graph, seed, 0.25, batch=6), spec_of(graph, seed, None, batch=6)
        places = [torch.tensor([i]) for i in range(6)]
        least = [least_by_milp(graph, region[i], spec[i]) for i in places]
        off = torch.tensor([0.03, -0.03, 0.5, -0.5, 1e-3, -1e-3], dtype=torch.float64)
        shift = (off - torch.tensor(least))[:, None]
        asked = bounds.Spec(spec.matrix, spec.offset + shift)
        found = verify(graph, region, asked, memory=memory)
        wanted = [Status.VERIFIED if o > 0 else Status.FALSIFIED for o in off]
        assert [each.status for each in found] == wanted
        for i, each in enumerate(found):
            if each.witness is not None:
                check_witness(graph, region, asked, each, i)


@pytest.mark.parametrize(
    ("name", "memory"), [("few inputs", 1000), pytest.param("convolutions", 5000, marks=pytest.mark.slow)]
)
def test_what_is_missing_encloses_the_truth(name: str, memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a search that ends for want of memory; cuts have brought its bound nearer."""
    every = Schedule._ways
    monkeypatch.setattr(Schedule, "_ways", lambda self: every(self)[:1])
    seed = 0 if name == "few inputs" else 2
    graph = NETS[name](seed)
    region, spec = box(graph, seed, 0.3), spec_of(graph, seed, None)
    asked = shifted(spec, 1e-3 - least_by_milp(graph, region, spec))
    [early], [late] = (verify(graph, region, asked, timeout=60, pool=pool) for pool in (0, memory))
    [decided] = verify(graph, region, asked, timeout=60)
    assert early.gap is not None and late.gap is not None and decided.gap is None
    assert early.status is late.status is Status.UNKNOWN and early.domains < late.domains
    assert early.gap.root == late.gap.root <= early.gap.bound < late.gap.bound <= 0.0
    assert 1e-3 - 1e-6 <= late.gap.attack <= early.gap.attack < torch.inf


@pytest.mark.parametrize("inputs", [2, 14])
@pytest.mark.parametrize("op", [Sigmoid(), Tanh()])
def test_smooth_activations(op: Sigmoid | Tanh, inputs: int) -> None:
    """Fourteen inputs come together in two numbers, so that a grid over these is an oracle for both."""
    for seed in range(2):
        net = Net((inputs,), seed)
        if inputs > 2:
            net.linear(2)
        net.linear(6).add(op).linear(5).add(op).linear(2)
        graph = net.build()
        region, spec = box(graph, seed, 0.5), spec_of(graph, seed, None)
        least = _least_on_grid(graph, region, spec)
        for off in (0.03 if inputs == 2 else 0.15, -0.03):
            asked = shifted(spec, off - least)
            [found] = verify(graph, region, asked, timeout=60)
            assert found.status is (Status.VERIFIED if off > 0 else Status.FALSIFIED), (seed, off, found)
            if off < 0:
                check_witness(graph, region, asked, found)


def _least_on_grid(graph: bounds.Graph, region: bounds.Box, spec: bounds.Spec) -> float:
    """The least value on a grid, and, over more inputs than two, from many gradient walks beside."""
    lower, upper = region.lower[0], region.upper[0]
    if len(lower) == 2:
        t = torch.linspace(0, 1, 400, dtype=torch.float64)
        x = lower + torch.cartesian_prod(t, t) * (upper - lower)
        return float(spec.worst(spec.evaluate(graph(x))).min())
    g = torch.Generator().manual_seed(0)
    x = lower + torch.rand(300, len(lower), generator=g, dtype=torch.float64) * (upper - lower)
    for step in range(200):
        x.requires_grad_()
        values = spec.worst(spec.evaluate(graph(x)))
        [slope] = torch.autograd.grad(values.sum(), x)
        move = slope.sign() * (upper - lower) * 0.3 * 0.97**step
        x = torch.minimum(torch.maximum(x.detach() - move, lower), upper)
    return float(spec.worst(spec.evaluate(graph(x))).min())


@pytest.mark.parametrize("inputs", [1, pytest.param(13, marks=pytest.mark.slow)])
def test_no_verdict_against_exact_rationals(inputs: int) -> None:
    """Truths that are off by a few units in the last place: what is verified is true exactly."""
    verdicts = set()
    for seed in range(6):
        net = Net((inputs,), seed)
        if inputs > 1:
            net.linear(1)
        graph = net.linear(4).relu().linear(4).relu().linear(1).build().to(torch.float64)
        region = box(graph, seed, 0.5)
        tail, low, high = exactly.funnelled(graph, region.lower[0].tolist(), region.upper[0].tolist())
        least = exactly.least(tail, low, high, [Fraction(1)], Fraction(0))
        for ulps in (-4.0, 0.0, 4.0, 1e3, 1e6):
            offset = -float(least) + ulps * 2.0**-52 * max(1.0, abs(float(least)))
            spec = bounds.Spec(torch.ones(1, 1, 1), torch.tensor([[offset]], dtype=torch.float64))
            [found] = verify(graph, region, spec, timeout=0.5)
            verdicts.add(found.status)
            if found.status is Status.VERIFIED:
                assert least + Fraction(offset) > 0, (seed, ulps)
            if found.status is Status.FALSIFIED:
                check_witness(graph, region, spec, found)
    assert {Status.VERIFIED, Status.FALSIFIED} <= verdicts


@pytest.mark.parametrize("norm", [2, 1])
def test_balls_that_are_no_boxes(norm: float) -> None:
    """Neurons are cut, and with all of them decided multipliers alone must close what is left."""
    g = torch.Generator().manual_seed(1)
    for seed in range(4):
        graph = shrinking(seed).to(torch.float64)
        ball = bounds.Ball(torch.rand(1, 16, generator=g, dtype=torch.float64), 1.0, norm=norm)
        spec = spec_of(graph, seed, None)
        x = ball[torch.zeros(4000, dtype=torch.long)].project(
            ball.center + 2 * torch.randn(4000, 16, generator=g, dtype=torch.float64)
        )
        least = float(spec.worst(spec.evaluate(graph(x))).min())
        [found] = verify(graph, ball, shifted(spec, -0.3 - least), timeout=20)
        assert found.status is Status.FALSIFIED
        check_witness(graph, ball, shifted(spec, -0.3 - least), found)
        [found] = verify(graph, ball, shifted(spec, 0.8 - least), timeout=20)
        assert found.status is not Status.TIMEOUT
        if found.status is Status.FALSIFIED:
            check_witness(graph, ball, shifted(spec, 0.8 - least), found)


def test_a_tie_is_a_counterexample() -> None:
    net = Net((3,), 0)
    net.linear(4).relu()
    row = net.draw(1, 4)
    graph = net.add(Linear(), torch.cat([row, row]), torch.zeros(2)).build().to(torch.float64)
    region = box(graph, 0, 0.1)
    [found] = verify(graph, region, bounds.margins(torch.tensor([0]), 2))
    assert found.status is Status.FALSIFIED
    check_witness(graph, region, bounds.margins(torch.tensor([0]), 2), found)
    assert found.witness is not None
    assert not found.witness.is_inference()  # so that a network with gradients takes it


def test_a_point_is_decided_by_running_it() -> None:
    graph = shrinking(0)
    x = torch.rand(2, 16, generator=torch.Generator().manual_seed(0))
    y = graph(x)[:, 0]
    rows = torch.tensor([[[1.0, 0.0, 0.0]]]).expand(2, -1, -1)
    spec = bounds.Spec(rows, -y[:, None] + torch.tensor([[1e-3], [-1e-3]]))
    found = verify(graph, bounds.Box(x, x), spec)
    assert [each.status for each in found] == [Status.VERIFIED, Status.FALSIFIED]


def hard(share: float = 0.6) -> tuple[bounds.Graph, bounds.Box, bounds.Spec]:
    """Neither proved nor broken in any short time: the offset lies between bounds and attacks.

    share: how near to the bounds.
    """
    graph = mlp(0, (24, 150, 150, 150, 150, 3))
    region, spec = box(graph, 0, 0.4), spec_of(graph, 0, None)
    lower = spec.worst(bounds.bound(graph, region, spec, "alpha-crown").lower)
    g = torch.Generator().manual_seed(0)
    x = region.lower + torch.rand(2000, 24, generator=g, dtype=torch.float64) * 0.8
    upper = spec.worst(spec.evaluate(graph(x.float()).double())).min()
    return graph, region, shifted(spec, float(-share * lower - (1 - share) * upper))


@pytest.mark.parametrize("seconds", [0.0, 0.05, 1.0])
def test_time_is_kept(seconds: float) -> None:
    graph, region, spec = hard()
    began = time.monotonic()
    [found] = verify(graph, region, spec, timeout=seconds)
    assert found.status is Status.TIMEOUT
    assert time.monotonic() - began < seconds + 2


def test_time_that_easy_parts_leave_is_for_the_hard_ones() -> None:
    """Thirty easy boxes and one that takes longer than its share of the time: nobody is given up early."""
    graph = mlp(3)
    region, spec = box(graph, 3, 0.25, batch=31), spec_of(graph, 3, None, batch=31)
    least = torch.tensor(
        [least_by_milp(graph, region[i : i + 1], spec[torch.tensor([i])]) for i in range(31)]
    )
    off = torch.full((31, 1), 1.0, dtype=torch.float64)
    off[7] = 1e-4
    asked = bounds.Spec(spec.matrix, spec.offset + off - least[:, None])
    found = verify(graph, region, asked, timeout=20, memory=2**13)
    assert {each.status for each in found} == {Status.VERIFIED}
    assert found[7].domains > max(each.domains for each in found if each is not found[7])


@pytest.mark.slow
def test_memory_is_kept() -> None:
    """No way to cut gets far with so little."""
    [found] = verify(*hard(0.1), timeout=20, pool=2**12)
    assert found.status is Status.UNKNOWN
    assert found.seconds < 15


def test_an_attack_is_asked_and_not_believed() -> None:
    graph, region, spec = hard()
    asked: list[Tensor | None] = []

    def falsify(region: bounds.InputSet, spec: bounds.Spec, starts: Tensor | None) -> Tensor:
        asked.append(starts)
        with torch.enable_grad():  # gradients must be possible there
            x = region.box().centre.clone().requires_grad_()
            graph(x.float()).sum().backward()
        return region.box().upper + 1.0  # outside of the region

    [found] = verify(graph, region, spec, timeout=1.0, falsify=falsify)
    assert found.status is Status.TIMEOUT
    assert asked[0] is None
    assert len(asked) > 1
    assert asked[1] is not None


def test_one_counterexample_ends_a_joint_property() -> None:
    graph, region, spec = hard()
    both = bounds.Box(region.lower.repeat(2, 1), region.upper.repeat(2, 1))
    sure = bounds.Spec(spec.matrix.repeat(2, 1, 1), torch.cat([spec.offset, spec.offset - 1e6]))
    began = time.monotonic()
    found = verify(graph, both, sure, timeout=20, joint=True)
    assert [each.status for each in found] == [Status.UNKNOWN, Status.FALSIFIED]
    assert time.monotonic() - began < 10


def test_numbers_that_overflow_the_search_end_it_in_order() -> None:
    graph = mlp(0, (16, 6, 6, 2))
    with torch.no_grad():
        graph.nodes[1].params[0].mul_(1e30)
        graph.nodes[3].params[0].mul_(1e30)
    region, spec = box(graph, 0, 0.5), bounds.Spec(torch.tensor([[[1.0, 0.3]]]), torch.zeros(1, 1))
    for level in bounds.Level:
        [found] = verify(graph, region, spec, timeout=2, level=level)
        assert found.status is not Status.VERIFIED


def test_bad_input_is_named() -> None:
    graph, region, spec = hard()
    with pytest.raises(InvalidInput, match="timeout"):
        verify(graph, region, spec, timeout=-1.0)
    with pytest.raises(InvalidInput, match="shape"):
        verify(graph, bounds.Box(region.lower[:, :3], region.upper[:, :3]), spec)
    with pytest.raises(InvalidInput, match="outputs"):
        verify(graph, region, bounds.margins(torch.tensor([0]), 5))
    with pytest.raises(InvalidInput, match="level 'exact' is not known"):
        verify(graph, region, spec, level="exact")


def test_layers_over_an_axis_of_size_one_with_mostly_dead_neurons(data_dir: Path) -> None:
    folder = data_dir / "vnncomp" / "nn4sys"
    graph = bounds.read_onnx(folder / "onnx" / "pensieve_small_parallel.onnx.gz")
    region, spec = read_vnnlib(folder / "vnnlib" / "pensieve_parallel_26.vnnlib.gz")
    boxes = (end.view(len(region), *graph.input_shape) for end in (region.lower, region.upper))
    found = verify(graph, bounds.Box(*boxes), spec, timeout=30, joint=True)
    assert {each.status for each in found} == {Status.VERIFIED}
