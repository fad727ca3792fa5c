"""A small project as a user would have it: a network, samples and a configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import certify.reporting
from certify.cli import main

EPS = (0.02, 0.05, 0.15)
INPUTS, HIDDEN, CLASSES, SAMPLES = 6, 16, 3, 20

CONFIG = f"""
[model]
path = "net.onnx"
input_range = [0, 1]

[data]
path = "data.npz"

[threat]
norm = "linf"
eps = {list(EPS)}

[deciders]
use = ["pgd", "crown"]

[deciders.pgd]
steps = 5

[smoothing]
sigma = 0.1
n0 = 20
n = 100
samples = 8

[run]
batch_size = 6
seed = 3
"""


RULES = """
name = "toy"
[[rules]]
id = "proof"
kind = "verified-accuracy"
norm = "linf"
eps = {eps}
at_least = 0.3
"""


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    """The parameters of a two-layer ReLU network."""
    rng = np.random.default_rng(2 + seed)
    shapes = {"w1": (INPUTS, HIDDEN), "b1": (HIDDEN,), "w2": (HIDDEN, CLASSES), "b2": (CLASSES,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def forward(x: np.ndarray, seed: int = 0) -> np.ndarray:
    """The same network in numpy."""
    w = weights(seed)
    return np.maximum(x @ w["w1"] + w["b1"], 0) @ w["w2"] + w["b2"]


def network(seed: int = 0, activation: str = "Relu") -> onnx.ModelProto:
    """The network as ONNX."""
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="first"),
        helper.make_node(activation, ["h"], ["a"], name="middle"),
        helper.make_node("Gemm", ["a", "w2", "b2"], ["y"], name="last"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", INPUTS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in weights(seed).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def module() -> nn.Module:
    """The architecture of the network."""
    return nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))


def state(seed: int = 0) -> dict[str, torch.Tensor]:
    """The parameters of the network, named as in ``module``."""
    names = {"w1": "0.weight", "b1": "0.bias", "w2": "2.weight", "b2": "2.bias"}
    return {names[name]: torch.from_numpy(value.T.copy()) for name, value in weights(seed).items()}


def samples() -> dict[str, np.ndarray]:
    """Inputs with the network's own answers, but for the last two labels."""
    x = np.random.default_rng(1).uniform(0, 1, size=(SAMPLES, INPUTS)).astype(np.float32)
    y = forward(x).argmax(1)
    y[-2:] = (y[-2:] + 1) % CLASSES
    return {"x": x, "y": y}


def make(folder: Path) -> Path:
    """Write the project into a folder; returns its configuration."""
    onnx.save(network(), folder / "net.onnx")
    np.savez(folder / "data.npz", **samples())
    (folder / "config.toml").write_text(CONFIG)
    return folder / "config.toml"


def judged(folder: Path, eps: float, tail: str = "", sign: bool = False) -> int:
    """A project with a key, run and judged by one rule at some eps; returns the gate's exit code.

    tail: of the configuration.
    """
    config, key, policy = make(folder), folder / "key", folder / "policy.toml"
    config.write_text(f"{config.read_text()}\n{tail}")
    policy.write_text(RULES.format(eps=eps))
    assert main(["keygen", str(key)]) == 0
    arguments = ["gate", str(config), "--out", str(folder / "run"), "--policy", str(policy)]
    with without_pictures():
        return main([*arguments, "--sign", str(key)] if sign else arguments)


@contextmanager
def without_pictures() -> Iterator[None]:
    """Reports without what is slow to draw."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(certify.reporting, "render", lambda report, folder: None)
        yield


@contextmanager
def with_the_curve_alone() -> Iterator[None]:
    """Reports and their pages with the first of their pictures."""
    drawn = certify.reporting.pictures
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(certify.reporting, "pictures", lambda report: drawn(report)[:1])
        yield


def change(config: Path, old: str, new: str) -> None:
    """Replace a part of the configuration that must be there."""
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
