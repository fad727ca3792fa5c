"""``trace``: the graph is the module, stays so while that trains, and errors name what cannot be traced."""

import time
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bounds
from bounds.ops.registry import TORCH, Call, Registry, Values

from . import cases_torch, cases_torch_composite
from .cases_torch import Function

PLAIN, COMPOSITE = cases_torch.CASES, cases_torch_composite.CASES
CASES = {name: [*PLAIN.get(name, []), *COMPOSITE.get(name, [])] for name in {**PLAIN, **COMPOSITE}}
SETTINGS = [(name, shape, f) for name, rows in CASES.items() for shape, f in rows]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


class Module(nn.Module):
    """A function as a module."""

    def __init__(self, f: Function) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x)


def draw(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def agree(module: nn.Module, graph: bounds.Graph, x: Tensor, tolerance: float = 1e-5) -> None:
    module.eval()
    torch.testing.assert_close(graph(x), module(x.clone()), rtol=tolerance, atol=tolerance)


def test_every_importer_has_a_case() -> None:
    assert set(CASES) == set(TORCH.importers)
    assert all(CASES.values())


class Many(nn.Module):
    """Several functions of one input, their results side by side: tracing once is quicker."""

    def __init__(self, functions: list[Function]) -> None:
        super().__init__()
        self.held = nn.ModuleList([f for f in functions if isinstance(f, nn.Module)])
        self.functions = functions

    def parts(self, x: Tensor) -> list[Tensor]:
        return [f(x.clone()).flatten(1) for f in self.functions]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(self.parts(x), 1)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("shape", dict.fromkeys(shape for _, shape, _ in SETTINGS))
def test_each_importer(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    run, seen = Registry.run, set()

    def spy(self: Registry, call: Call) -> Values:
        seen.add(call.operator)
        return run(self, call)

    monkeypatch.setattr(Registry, "run", spy)
    chosen = [(name, f) for name, at, f in SETTINGS if at == shape]
    module = Many([f for _, f in chosen]).eval()
    graph = bounds.trace(module, draw(1, *shape))
    x = draw(3, *shape)
    expected = module.parts(x)
    got = graph(x).split([part.shape[1] for part in expected], dim=1)
    for (name, _), a, b in zip(chosen, got, expected, strict=True):
        assert name in seen
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


class Residual(nn.Module):
    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if inner != outer:
            self.shortcut = nn.Sequential(nn.Conv2d(inner, outer, 1, stride), nn.BatchNorm2d(outer))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += self.shortcut(x)
        return self.relu(y)


class Functional(nn.Module):
    """The styles that people write networks in, in one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.fc = nn.Linear(8 * 16 + 4, 6)
        self.out = nn.Linear(6, 5)
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1), persistent=False)
        self.std = torch.tensor([0.2, 0.3, 0.2]).view(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / self.std
        y = F.relu(self.conv(x), inplace=True)
        left, right = torch.split(y, 4, dim=1)
        y = torch.cat((right, left), 1)
        y = F.pad(y, (1, 1, 1, 1))[:, :, 1:-1, 1:-1].permute(0, 2, 3, 1).contiguous()
        y = torch.cat([y.view(y.size(0), -1), x.mean((2, 3)), x.flatten(1)[:, :1]], dim=-1)
        y = F.dropout(self.fc(y).clamp(-2, 2), 0.5, self.training)
        return F.linear(torch.tanh(y), self.out.weight, self.out.bias) * 0.5 - 1


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(3 * 64, 16),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(16, 8),
        nn.Sigmoid(),
        nn.Linear(8, 4),
    )


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, dilation=2, padding=2),
        nn.LeakyReLU(0.1),
        nn.Conv2d(6, 8, 3, groups=2, padding=(0, 1)),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 5),
    )


def resnet() -> nn.Module:
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        Residual(6, 6, 1),
        Residual(6, 12, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
    )
    with torch.no_grad():
        for m in net.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.running_mean.copy_(draw(m.num_features))
                m.running_var.copy_(draw(m.num_features, seed=4).abs() + 0.2)
                m.weight.copy_(draw(m.num_features, seed=5))
    return net


NETS: dict[str, Callable[[], nn.Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet": resnet,
    "functional": Functional,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("net", NETS)
def test_networks(net: str, dtype: torch.dtype) -> None:
    module = NETS[net]().to(dtype)
    graph = bounds.trace(module, draw(2, 3, 8, 8).to(dtype))
    tolerance = 1e-5 if dtype is torch.float32 else 1e-12
    agree(module, graph, draw(7, 3, 8, 8, seed=1).to(dtype), tolerance)
    assert graph.input_shape == (3, 8, 8)


def test_parameters_are_those_of_the_module() -> None:
    module = resnet()
    graph = bounds.trace(module, draw(1, 3, 8, 8))
    held = {p.data_ptr() for node in graph.nodes for p in node.params}
    assert {p.data_ptr() for p in module.parameters()} <= held
    assert {b.data_ptr() for name, b in module.named_buffers() if "num_batches" not in name} <= held


class Learned(nn.Module):
    """Parameters that reach the graph by other ways than layers: views, constants of arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.shift, self.scale = nn.Parameter(torch.randn(4)), nn.Parameter(torch.rand(1, 4) + 0.5)
        self.matrix = nn.Parameter(torch.randn(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        y = (self.scale * x - self.shift) / self.scale
        return (self.shift - F.relu(self.fc(y))) @ self.matrix.t()[:, 1:]


@pytest.mark.parametrize(
    "factory", [Learned, lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh())]
)
def test_graph_follows_training(factory: Callable[[], nn.Module]) -> None:
    module = factory()
    graph = bounds.trace(module, draw(2, 4))
    x = draw(5, 4)
    before = graph(x).detach()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.05)
    for _ in range(2):
        optimiser.zero_grad()
        graph(x).square().mean().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
        optimiser.step()
    module.train()
    module(x)
    agree(module, graph, x)
    assert (graph(x) - before).abs().max() > 1e-3


def test_computed_weights_are_frozen() -> None:
    module = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
    graph = bounds.trace(module, draw(1, 4))
    agree(module, graph, draw(5, 4))
    bias, weight = (
        any(p.requires_grad and p.shape == s for p in graph.nodes[1].params) for s in ((3,), (3, 4))
    )
    assert bias and not weight


def test_mode_and_state_are_left_alone() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Sequential(nn.Dropout(), nn.BatchNorm2d(2))
    )
    module[2].eval()
    modes = [m.training for m in module.modules()]
    state = {name: t.clone() for name, t in module.state_dict().items()}
    example = draw(4, 3, 8, 8)
    copy = example.clone()
    bounds.trace(module, example)
    assert [m.training for m in module.modules()] == modes
    assert torch.equal(example, copy)
    for name, t in module.state_dict().items():
        assert torch.equal(t, state[name])


def test_first_operator_may_write_its_input() -> None:
    module = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2))
    example = draw(2, 4)
    graph = bounds.trace(module, example)
    agree(module, graph, draw(3, 4))
    assert (example < 0).any()


@pytest.mark.parametrize(
    ("f", "error", "words"),
    [
        (lambda x: torch.digamma(x.relu()), bounds.Unsupported, "aten::digamma at node 'digamma'"),
        (lambda x: (x, x), bounds.Unsupported, "returns a tuple"),
        (lambda x: x * 2 if x.sum() > 0 else x, bounds.Unsupported, "cannot trace"),
        (lambda x: x.flatten(), bounds.InvalidGraph, "batch on axis 0"),
        (lambda x: x.transpose(0, 1), bounds.InvalidGraph, "batch on axis 0"),
        (lambda x: x - x.mean(0), bounds.Unsupported, "aten::mean at node 'mean' in Module: .*batch axis"),
        (lambda x: x.squeeze(), bounds.Unsupported, "batch axis"),
        (lambda x: x.unsqueeze(0).squeeze(0) + x.unsqueeze(0).sum(1), bounds.InvalidGraph, "batch|shape"),
        (lambda x: x.double(), bounds.Unsupported, "float64 in a model of torch.float32"),
        (lambda x: x + torch.rand(3, 4), bounds.Unsupported, "is random"),
        (lambda x: F.dropout(x, 0.5, True), bounds.Unsupported, "native_dropout"),
        (lambda x: torch.ones(len(x), 2), bounds.Unsupported, "does not depend on its input"),
        (lambda x: x * 1e38 * 100, bounds.InvalidInput, "NaN or Inf"),
        (lambda x: x @ x, bounds.InvalidInput, "fails on a batch"),
        (lambda x: x[[0, 0]], bounds.Unsupported, "aten::index .*batch axis"),
        (lambda x: x.masked_fill(torch.eye(3, 4) > 0, float("-inf")).relu(), bounds.Unsupported, "infinity"),
        (lambda x: x.masked_fill(torch.eye(3, 4) > 0, float("inf")).relu(), bounds.Unsupported, "infinity"),
        (
            lambda x: x.masked_fill(torch.eye(3, 4) > 0, float("-inf")).sigmoid(),
            bounds.Unsupported,
            "softmax",
        ),
        (lambda x: x.median(1).values, bounds.Unsupported, "aten::median"),
        (lambda x: x[:, :, 0].tril(), bounds.Unsupported, "triangle"),
        (lambda x: x.cumsum(0), bounds.Unsupported, "aten::cumsum .*batch axis"),
        (lambda x: torch.einsum("bij,cij->bci", x, x), bounds.Unsupported, "aten::einsum .*batch axis"),
        (lambda x: x.sort(1).values, bounds.Unsupported, "aten::sort"),
        (lambda x: (x - 9).relu().bool() * x, bounds.Unsupported, "aten::_to_copy .*out of numbers"),
        (lambda x: x.floor().logical_not() * x, bounds.Unsupported, "aten::logical_not .*out of numbers"),
        (
            lambda x: (x > x.relu().logical_and(x)) * x,
            bounds.Unsupported,
            "aten::logical_and .*out of numbers",
        ),
        (lambda x: ((x > 9) + (x > 8)).float(), bounds.Unsupported, "aten::add .*out of numbers"),
    ],
)
def test_what_cannot_be_traced_is_named(
    f: Function, error: type[Exception], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(error, match=words) as caught:
        bounds.trace(Module(f), draw(2, 3, 4))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_submodule_is_named() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), Module(torch.digamma)))
    with pytest.raises(
        bounds.Unsupported, match=r"aten::digamma at node 'digamma' in module '1.1' \(Module\) of Sequential"
    ):
        bounds.trace(module, draw(1, 4))


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


def test_modules_of_another_form() -> None:
    with pytest.raises(bounds.Unsupported, match=r"several inputs \(x, y\)"):
        bounds.trace(TwoInputs(), draw(1, 4))
    with pytest.raises(bounds.Unsupported, match="changes its buffers calls"):
        bounds.trace(Counter(), draw(1, 4))


@pytest.mark.parametrize("example", [torch.zeros(3), torch.zeros(0, 3), torch.zeros(1, 3, dtype=torch.int64)])
def test_examples_of_another_form(example: Tensor) -> None:
    with pytest.raises(bounds.InvalidInput, match="example"):
        bounds.trace(nn.Identity(), example)


def test_a_deep_network_is_traced_in_seconds() -> None:
    module = nn.Sequential(*[Residual(4, 4, 1) for _ in range(12)])
    bounds.trace(mlp(), draw(1, 3, 8, 8))
    start = time.perf_counter()
    bounds.trace(module, draw(1, 4, 8, 8))
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: x ** x.relu(), "both depend on the input; write it as exp"),
        (lambda x: (-2.0) ** x.round(), "base -2.0; use a positive number other than 1"),
        (lambda x: torch.tensor([1.5, 2.0]) ** x, "bases that differ from element to element"),
    ],
)
def test_powers_that_are_refused(f: Function, message: str) -> None:
    with pytest.raises(bounds.Unsupported, match=message):
        bounds.trace(Module(f), torch.ones(1, 2))


def test_a_tangent_beyond_one_branch_is_not_bounded() -> None:
    """Infinite, which is what it is; within (-pi/2, pi/2) its ends."""
    graph = bounds.trace(Module(torch.tan), torch.zeros(1, 1))
    box = bounds.Box(torch.tensor([[1.5], [-1.2]]).double(), torch.tensor([[1.7], [1.2]]).double())
    for method in ("ibp", "forward", "crown"):
        b = bounds.bound(graph, box, method=method)
        assert (b.lower[0, 0], b.upper[0, 0]) == (-torch.inf, torch.inf)
        torch.testing.assert_close(b.upper[1], box.upper[1].tan())


def test_a_process_whose_default_is_float64_can_trace() -> None:
    x = draw(2, 3).double()
    torch.set_default_dtype(torch.float64)
    try:
        module = nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(0.25), nn.Linear(4, 2))
        assert torch.equal(bounds.trace(module, x[:1])(x), module(x))
    finally:
        torch.set_default_dtype(torch.float32)
