"""Models: the normalisation against a formula, digests, copies, recorded networks, bad arguments."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper, numpy_helper
from safetensors.torch import save_file
from torch import Tensor, nn

import bounds
from certify.attacks import PGD
from certify.decide import evaluate
from certify.deterministic import CROWN
from certify.errors import ArtefactRejected, CertifyError, UsageError
from certify.model import Model, load
from certify.threat import Linf
from certify.verdict import Verdict
from tests.certify.networks import small_cnn

SHAPE = (3, 6, 6)
FACTORY = "tests.certify.networks:small_cnn"
MEAN, STD = (0.5, 0.25, 0.1), (0.5, 0.3, 0.2)


def inputs(count: int = 5) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(3))


def reference(module: nn.Module, x: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """The normalised network in float64, channel by channel."""
    module = copy.deepcopy(module).double().eval()
    channels = [(x[:, c].double() - m) / s for c, (m, s) in enumerate(zip(mean, std, strict=True))]
    return module(torch.stack(channels, dim=1)).detach()


def write_onnx(path: Path, weight: np.ndarray, op: str = "Relu") -> Path:
    """x (batch, 3) -> Gemm -> op."""
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], name="first"),
        helper.make_node(op, ["h"], ["y"], name="second"),
    ]
    kind = helper.np_dtype_to_tensor_dtype(weight.dtype)
    source = helper.make_tensor_value_info("x", kind, ["batch", 3])
    result = helper.make_tensor_value_info("y", kind, ["batch", 2])
    graph = helper.make_graph(nodes, "g", [source], [result], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


WEIGHT = np.array([[1.0, -2.0], [0.5, 0.25], [3.0, -1.0]], dtype=np.float32)


def test_forward_and_graph_are_the_normalised_module() -> None:
    module = small_cnn()
    model = load(module, input_shape=SHAPE, mean=MEAN, std=STD)
    expected = reference(module, inputs(), MEAN, STD)
    assert model.graph is not None
    assert torch.allclose(model(inputs()).double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.allclose(model.graph(inputs().double()), expected, rtol=1e-5, atol=1e-5)
    assert (model.input_shape, model.num_classes, model.name) == (SHAPE, 5, "Sequential")


def test_one_number_serves_all_channels() -> None:
    model = load(small_cnn(), input_shape=SHAPE, std=0.5)
    expected = reference(small_cnn(), inputs(), (0.0,) * 3, (0.5,) * 3)
    assert torch.allclose(model(inputs()).double(), expected, rtol=1e-5, atol=1e-5)


def test_eps_is_in_input_units() -> None:
    linear = nn.Linear(2, 2, bias=False)
    linear.weight.data = torch.tensor([[1.0, 0.0], [0.0, -2.0]])
    model = load(linear, input_shape=(2,), mean=(0.5, 0.25), std=(0.5, 0.25))
    assert model.graph is not None
    x = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    result = bounds.bound(model.graph, bounds.Ball(x, 0.125))
    assert torch.allclose(result.lower, torch.tensor([[-0.25, -3.0]], dtype=torch.float64))
    assert torch.allclose(result.upper, torch.tensor([[0.25, -1.0]], dtype=torch.float64))


def test_the_callers_module_stays_as_it_is() -> None:
    module = small_cnn()
    before = copy.deepcopy(module.state_dict())
    model = load(module, input_shape=SHAPE)
    y = model(inputs())
    assert all(m.training for m in module.modules())
    assert all(p.requires_grad for p in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    with torch.no_grad():
        for p in module.parameters():
            p.add_(1.0)
    assert torch.equal(model(inputs()), y)
    assert model.graph is not None
    assert torch.allclose(model.graph(inputs()), y, rtol=1e-5, atol=1e-5)


def test_gradients_reach_the_input() -> None:
    x = inputs().requires_grad_()
    load(small_cnn(), input_shape=SHAPE, mean=MEAN, std=STD)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", "nested.pt"])
def test_weight_files_with_a_factory_give_the_module(tmp_path: Path, suffix: str) -> None:
    module, path = small_cnn(), tmp_path / f"w{suffix}"
    nn.init.normal_(module[0].weight, generator=torch.Generator().manual_seed(9))
    if suffix == ".safetensors":
        save_file(module.state_dict(), path)
    else:
        torch.save(
            {"state_dict": module.state_dict(), "epoch": 3} if "nested" in suffix else module.state_dict(),
            path,
        )
    expected = load(module, input_shape=SHAPE)
    for model in (
        load(path, factory=FACTORY, input_shape=SHAPE),
        load(str(path), factory="tests.certify.networks:Factories.build", input_shape=SHAPE),
        load(small_cnn(), weights=path, input_shape=SHAPE),
    ):
        assert torch.equal(model(inputs()), expected(inputs()))
        assert model.digest == expected.digest


def test_onnx_runs_as_its_graph_in_float32(tmp_path: Path) -> None:
    model = load(write_onnx(tmp_path / "n.onnx", WEIGHT), mean=0.5, std=2.0, name="net")
    x = torch.tensor([[1.0, 0.0, 0.5]])
    assert torch.allclose(model(x), torch.tensor([[0.125, 0.0]]))
    assert model(x).dtype is torch.float32
    assert (model.input_shape, model.num_classes, model.name) == ((3,), 2, "net")


def test_the_digest_covers_everything_that_decides(tmp_path: Path) -> None:
    changed = small_cnn()
    with torch.no_grad():
        changed[0].bias[0] = torch.nextafter(changed[0].bias[0], torch.tensor(torch.inf))
    leaky = small_cnn()
    leaky[2] = nn.LeakyReLU()
    base = load(small_cnn(), input_shape=SHAPE)
    others = [
        load(changed, input_shape=SHAPE),
        load(leaky, input_shape=SHAPE),
        load(small_cnn(), input_shape=SHAPE, input_range=(0.0, 2.0)),
        load(small_cnn(), input_shape=SHAPE, input_range=None),
        load(small_cnn(), input_shape=SHAPE, mean=MEAN),
        load(small_cnn(), input_shape=SHAPE, std=STD),
        load(small_cnn(), input_shape=SHAPE, std=STD[::-1]),
    ]
    digests = {model.digest for model in (base, *others)}
    assert len(digests) == 1 + len(others)
    assert load(small_cnn(), input_shape=SHAPE, name="other").digest == base.digest


def test_a_model_moves_as_a_whole(tmp_path: Path) -> None:
    for model in (
        load(small_cnn(), input_shape=SHAPE, mean=MEAN, std=STD),
        load(write_onnx(tmp_path / "n.onnx", WEIGHT)),
    ):
        moved = model.to("meta")
        x = torch.zeros(2, *model.input_shape, device="meta")
        assert moved.graph is not None
        assert moved(x).device.type == moved.graph(x).device.type == "meta"
        assert model(torch.zeros(2, *model.input_shape)).device.type == "cpu"
        assert moved.digest == model.digest


def small_module() -> nn.Module:
    return nn.Linear(3, 2)


BAD_ARGUMENTS: list[tuple[Callable[[Path], Model], type[CertifyError], str]] = [
    (lambda p: load(small_module()), UsageError, "give input_shape"),
    (lambda p: load(small_module(), input_shape=()), UsageError, "input_shape is ()"),
    (lambda p: load(small_module(), input_shape=(4,)), ArtefactRejected, "Linear"),
    (lambda p: load(small_module(), input_shape=(3,), factory="a:b"), UsageError, "a module needs none"),
    (lambda p: load(small_module(), input_shape=(3,), input_range=(1.0, 0.0)), UsageError, "low < high"),
    (
        lambda p: load(small_module(), input_shape=(3,), mean=(0.0, 1.0)),
        UsageError,
        "mean has 2 values for 3",
    ),
    (lambda p: load(small_module(), input_shape=(3,), std=0.0), UsageError, "std is 0.0"),
    (lambda p: load(small_module(), input_shape=(3,), mean=float("nan")), UsageError, "mean is nan"),
    (lambda p: load(nn.Linear(3, 2, dtype=torch.float64), input_shape=(3,)), ArtefactRejected, "float64"),
    (lambda p: load(p / "w.pt", input_shape=(3,)), UsageError, "give factory"),
    (
        lambda p: load(p / "w.pt", factory="nothing", input_shape=(3,)),
        UsageError,
        "'package.module:callable'",
    ),
    (lambda p: load(p / "w.pt", factory="no.such:f", input_shape=(3,)), UsageError, "PYTHONPATH"),
    (lambda p: load(p / "w.pt", factory="tests.certify.networks:f", input_shape=(3,)), UsageError, "'f'"),
    (
        lambda p: load(p / "w.pt", factory="tests.certify.networks:failing"),
        UsageError,
        "OSError: no such weights",
    ),
    (lambda p: load(p / "w.pt", factory="tests.certify.networks:no_module"), UsageError, "returned a str"),
    (lambda p: load(p / "w.pt", factory=FACTORY, weights=p / "w.pt"), UsageError, "drop one"),
    (lambda p: load(p / "w.pt", factory=FACTORY, input_shape=SHAPE), ArtefactRejected, "missing keys 0.bias"),
    (lambda p: load(p / "n.onnx", factory=FACTORY), UsageError, "is ONNX and needs none"),
    (lambda p: load(p / "n.onnx", input_shape=(2,)), CertifyError, "n.onnx"),
]


@pytest.mark.parametrize(("call", "kind", "words"), BAD_ARGUMENTS)
def test_arguments_that_do_not_fit_are_refused(
    tmp_path: Path, call: Callable[[Path], Model], kind: type[CertifyError], words: str
) -> None:
    torch.save(small_module().state_dict(), tmp_path / "w.pt")
    write_onnx(tmp_path / "n.onnx", WEIGHT)
    with pytest.raises(kind) as caught:
        call(tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_networks_that_cannot_be_bounded_name_file_and_operator(tmp_path: Path) -> None:
    for op in ("Det", "NoSuchOperator"):
        with pytest.raises(ArtefactRejected) as caught:
            load(write_onnx(tmp_path / "bad.onnx", WEIGHT, op))
        assert "bad.onnx" in str(caught.value)
        assert op in str(caught.value)

    class Sorted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sort(dim=1).values

    with pytest.raises(ArtefactRejected, match=r"aten::sort.*Sorted"):
        load(Sorted(), input_shape=(3,))


def test_float64_weights_that_float32_does_not_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactRejected, match=r"n\.onnx: node 'first' has float64 weights"):
        load(write_onnx(tmp_path / "n.onnx", WEIGHT.astype(np.float64) / 3))
    model = load(write_onnx(tmp_path / "exact.onnx", WEIGHT.astype(np.float64)))
    assert model(torch.ones(1, 3)).tolist() == [[4.5, 0.0]]


def test_a_network_that_overflows_in_its_range_is_refused() -> None:
    linear = nn.Linear(2, 2)
    linear.weight.data.fill_(3e38)
    with pytest.raises(ArtefactRejected, match="NaN or Inf"):
        load(nn.Sequential(linear, nn.Linear(2, 2)), input_shape=(2,), input_range=(1e3, 2e3))


def layers(words: list[str]) -> nn.Sequential:
    """The architecture in the words of models.json."""
    simple: dict[str, Callable[[], nn.Module]] = {
        "relu": nn.ReLU,
        "sigmoid": nn.Sigmoid,
        "flatten": nn.Flatten,
    }
    result: list[nn.Module] = []
    for word in words:
        kind, *sizes = word.split()
        numbers = [int(size.lstrip("ksp")) for size in sizes]
        if kind == "conv":
            result.append(nn.Conv2d(numbers[0], numbers[1], *numbers[2:]))
        elif kind == "linear":
            result.append(nn.Linear(*numbers))
        else:
            result.append(simple[kind]())
    return nn.Sequential(*result)


def recorded(data_dir: Path) -> list[dict[str, object]]:
    records = json.loads((data_dir / "models" / "models.json").read_text())
    return [record for record in records if isinstance(record["arch"], list)]


def check_recorded_accuracy(data_dir: Path, record: dict[str, object]) -> None:
    mnist = record["dataset"] == "MNIST"
    images = np.load(data_dir / "datasets" / "sdp200.npz")
    x, y = images["mnist_x" if mnist else "cifar_x"], images["mnist_y" if mnist else "cifar_y"]
    pixels = torch.from_numpy(x)[:, None] if mnist else torch.from_numpy(x).permute(0, 3, 1, 2)
    model = load(
        layers(record["arch"]),
        weights=data_dir / "models" / str(record["file"]),
        input_shape=tuple(pixels.shape[1:]),
        mean=record["mean"],
        std=record["std"],
    )
    correct = model(pixels / 255).argmax(1) == torch.from_numpy(y)
    assert float(correct.float().mean()) == pytest.approx(record["clean_sdp200"], abs=1e-6), record["name"]


def test_normalised_networks_reach_their_recorded_accuracy(data_dir: Path) -> None:
    names = {"eran/mnist_conv_small_nat", "oval/cifar_base"}
    for record in recorded(data_dir):
        if record["name"] in names:
            names.remove(str(record["name"]))
            check_recorded_accuracy(data_dir, record)
    assert not names


@pytest.mark.slow
def test_all_recorded_networks_reach_their_recorded_accuracy(data_dir: Path) -> None:
    records = recorded(data_dir)
    assert len(records) == 18
    for record in records:
        check_recorded_accuracy(data_dir, record)


def test_a_model_leaves_its_input_alone():
    """A first layer that works in place must not change the samples that verdicts are about."""
    module = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4, 2))
    model = load(module, input_shape=(1, 2, 2), input_range=(-1.0, 1.0))
    x = torch.tensor([[[[-0.5, 0.5], [-1.0, 1.0]]]])
    before = x.clone()
    model(x)
    assert torch.equal(x, before)


def test_one_output_is_a_binary_classifier(tmp_path: Path) -> None:
    """By module and by ONNX alike: class 1 where the logit is above 0, with bounds and attacks."""
    weight = np.array([[1.0], [-2.0], [0.5]], dtype=np.float32)
    module = nn.Sequential(nn.Linear(3, 1, bias=False), nn.LeakyReLU(1.0))
    with torch.no_grad():
        module[0].weight.copy_(torch.from_numpy(weight.T))
    path = write_onnx(tmp_path / "binary.onnx", weight, "Identity")
    x = torch.rand(6, 3, generator=torch.Generator().manual_seed(0))
    z = module(x).detach()
    y = (z[:, 0] > 0).long()
    for model in (load(module, input_shape=(3,)), load(path)):
        assert model.num_classes == 2
        torch.testing.assert_close(model(x), torch.cat([torch.zeros_like(z), z], 1))
        result = evaluate(model, x, y, Linf(0.05), [PGD(10), CROWN()])
        assert result.clean_accuracy == 1
        truth = (z[:, 0].abs() > 0.05 * 3.5).tolist()  # unclipped is at least as strong as clipped
        verified = [each.verdict is Verdict.VERIFIED for each in result.samples]
        assert all(v for v, t in zip(verified, truth, strict=True) if t)
        assert result.undecided == 0
