"""Fixed parameters: what is kept of them is never stale, and in nobody's way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from torch import Tensor, nn

import bounds
from tests.bounds.trace.onnx_nets import save


@pytest.fixture
def graph(tmp_path: Path) -> bounds.Graph:
    """Two layers, read from a file."""
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=(6, 6)).astype(np.float32) for name in ("v", "w")}
    nodes = [
        helper.make_node("Gemm", ["x", "v"], ["y"]),
        helper.make_node("Relu", ["y"], ["z"]),
        helper.make_node("Gemm", ["z", "w"], ["out"], transB=1),
    ]
    return bounds.read_onnx(save(tmp_path / "net.onnx", nodes, ["batch", 6], weights, "out"))


def _box(dtype: torch.dtype = torch.float32) -> bounds.Box:
    x = torch.linspace(-1, 1, 18, dtype=dtype).view(3, 6)
    return bounds.Box(x - 0.1, x + 0.1)


def _lower(graph: bounds.Graph, box: bounds.Box | None = None) -> Tensor:
    with torch.no_grad():
        return bounds.bound(graph, box or _box(), method="ibp", level="float").lower


def _first(graph: bounds.Graph) -> Tensor:
    return next(node.params[0] for node in graph.nodes if node.params)


def test_magnitudes_of_a_file_are_kept_and_those_of_a_module_are_not(graph: bounds.Graph) -> None:
    assert len(graph.magnitudes) == 2 and graph.magnitudes is graph.magnitudes
    assert not bounds.trace(nn.Linear(6, 2), torch.zeros(1, 6)).magnitudes


def _in_place(p: Tensor) -> None:
    with torch.no_grad():
        p.mul_(-3.0)


def _by_an_optimizer(p: Tensor) -> None:
    p.requires_grad_()
    p.grad = torch.full_like(p, 2.0)
    torch.optim.Adam([p], lr=1.0).step()


@pytest.mark.parametrize("edit", [_in_place, _by_an_optimizer])
def test_edits_are_seen(graph: bounds.Graph, edit: Callable[[Tensor], None]) -> None:
    before = _lower(graph)
    edit(_first(graph))
    fresh = graph.map_params(lambda p: p.detach().clone())
    assert not fresh.fixed
    assert torch.equal(_lower(graph), _lower(fresh))
    assert not torch.equal(_lower(graph), before)


def test_edits_of_a_module_behind_the_back_of_autograd_are_seen() -> None:
    module = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)).requires_grad_(False)
    graph = bounds.trace(module, torch.zeros(1, 6))
    _lower(graph)
    for p in module.parameters():
        p.data.mul_(-2.0)
    assert torch.equal(_lower(graph), _lower(bounds.trace(module, torch.zeros(1, 6))))


def test_gradients_flow_after_magnitudes_were_kept(graph: bounds.Graph) -> None:
    _lower(graph)
    p = _first(graph).requires_grad_()
    x = torch.zeros(1, 6, requires_grad=True)
    bounds.bound(graph, bounds.Box(x - 0.1, x + 0.1), method="ibp").lower.sum().backward()
    assert p.grad is not None and x.grad is not None
    # By the widths alone: at the centre 0 the first layer's outputs do not depend on its weights.
    assert bool(p.grad.any())


def test_another_dtype(graph: bounds.Graph) -> None:
    """Converted on the way, in inference mode; and before."""
    wide, box = graph.to(torch.float64), _box(torch.float64)
    assert wide.fixed and len(wide.magnitudes) == 2
    torch.testing.assert_close(_lower(graph, box), _lower(wide, box), rtol=0, atol=0)
    assert graph.to(torch.float32) is graph


def test_read_in_inference_mode(tmp_path: Path) -> None:
    with torch.inference_mode():
        weights = {"w": np.eye(6, dtype=np.float32)}
        nodes = [helper.make_node("Gemm", ["x", "w"], ["out"])]
        graph = bounds.read_onnx(save(tmp_path / "net.onnx", nodes, ["batch", 6], weights, "out"))
        assert not graph.magnitudes
    torch.testing.assert_close(_lower(graph), _box().lower)
