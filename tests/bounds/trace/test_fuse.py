"""Functions that networks write out are recognised, and nothing else is taken for one of them."""

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnx import helper
from torch import Tensor, nn

import bounds
from bounds.graph import Graph
from bounds.kinds import Bilinear
from bounds.trace import fuse

from .onnx_nets import save
from .test_module import Module, draw

WRITTEN: dict[str, Callable[[Tensor], Tensor]] = {
    "SiLU": lambda x: x * torch.sigmoid(x),
    "SiLU of 1.702 x": lambda x: torch.sigmoid(1.702 * x) * x,
    "Softsign": F.softsign,
    "Tanhshrink": F.tanhshrink,
    "ErfGate": lambda x: 0.5 * x * (1 + torch.erf(x / 1.41421)),
    "SiLU by factors": lambda x: torch.arange(1.0, 7.0) * x * torch.sigmoid(x),
    "ErfGate by a factor": lambda x: x * (torch.erf(x * 0.7071) + 1) * 0.5,
}
OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "another value": lambda x: x * torch.sigmoid(x.flip(1)),
    "another shift": lambda x: x / (x.abs() + 1.5),
    "another order": lambda x: x * torch.sigmoid(x.abs()),
    "a factor per element": lambda x: x * torch.sigmoid(torch.arange(1.0, 7.0) * x),
    "a sum": lambda x: x + torch.tanh(x),
}


def ops(graph: Graph) -> set[str]:
    return {type(node.op).__name__ for node in graph.nodes}


def unfused(f: Callable[[Tensor], Tensor], patch: pytest.MonkeyPatch) -> Graph:
    with patch.context() as plain:
        plain.setattr(importlib.import_module("bounds.trace.module"), "fused", lambda graph: graph)
        return bounds.trace(Module(f), draw(1, 6) + 3)


@pytest.mark.parametrize("name", WRITTEN)
def test_written_out_functions_are_recognised(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, plain = bounds.trace(Module(WRITTEN[name]), draw(1, 6) + 3), unfused(WRITTEN[name], monkeypatch)
    assert name.split(maxsplit=1)[0] in ops(graph)
    assert not any(isinstance(node.op, Bilinear) for node in graph.nodes)
    x = 4 * draw(50, 6).double()
    torch.testing.assert_close(graph(x), plain(x), rtol=1e-12, atol=1e-12)
    ball = bounds.Ball(x[:3], 0.5)
    tight, loose = (bounds.bound(g, ball, method="crown") for g in (graph, plain))
    assert bool((tight.lower >= loose.lower - 1e-9).all()) and bool((tight.upper <= loose.upper + 1e-9).all())
    assert float((tight.upper - tight.lower).sum()) < 0.995 * float((loose.upper - loose.lower).sum())


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ops(bounds.trace(Module(OTHERS[name]), draw(1, 6))) == ops(unfused(OTHERS[name], monkeypatch))


class Learned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.rate * x)


def test_learned_numbers_stay_live() -> None:
    module = Learned()
    graph = bounds.trace(module, draw(1, 6))
    with torch.no_grad():
        module.rate.mul_(2)
    x = draw(3, 6)
    torch.testing.assert_close(graph(x), module(x))


def test_a_graph_without_such_functions_is_itself() -> None:
    graph = bounds.trace(nn.Sequential(nn.Linear(6, 3), nn.ReLU()), draw(1, 6))
    assert fuse.fused(graph) is graph


def test_onnx_mish(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Softplus", ["x"], ["s"]),
        helper.make_node("Tanh", ["s"], ["t"]),
        helper.make_node("Mul", ["x", "t"], ["y"]),
    ]
    graph = bounds.read_onnx(save(tmp_path / "net.onnx", nodes, [1, 6], {}, "y"))
    assert ops(graph) == {"Input", "Mish"}
    x = draw(5, 6)
    np.testing.assert_allclose(graph(x), F.mish(x), rtol=1e-6)
