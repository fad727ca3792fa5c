"""Bugs planted in the engine make it verify what is false; the checker turns its proofs down."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper

import bounds
from bounds.proof import Refused
from bounds.proving import prove
from bounds.proving.notary import Notary
from bounds.search import Status, verify
from bounds.search.witness import Judge

from ..proof.nets import onnx_bytes, two_shifts
from ..test_mutation import MUTANTS
from .test_prove import FEW, MANY, network, question, read_back, shifted

Case = tuple[bounds.Graph, bytes, bounds.Box, bounds.Spec]
DENSE = (
    "upper slope 5% low",
    "lower slope 5% high",
    "one intercept lost",
    "bias of linear layers dropped",
    "bounds shrunk by 5%",
)


def convolution(folder: Path) -> tuple[bounds.Graph, bytes]:
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.normal(size=(2, 1, 3, 3)),
        "b": rng.normal(size=2) + 0.3,
        "v": rng.normal(size=(3, 50)) / 4,
        "c": rng.normal(size=3),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["z"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["z"], ["a"]),
        helper.make_node("Flatten", ["a"], ["f"]),
        helper.make_node("Gemm", ["f", "v", "c"], ["y"], transB=1),
    ]
    data = onnx_bytes(nodes, {k: v.astype(np.float32) for k, v in constants.items()}, ["batch", 1, 5, 5])
    return read_back(data, folder)


def false(folder: Path, convolutional: bool) -> Iterator[Case]:
    """Questions whose answer is no, by a little or by more."""
    for seed, eps in itertools.product(range(3), (0.01, 0.1, 0.25)):
        for widths in (FEW, MANY):
            graph, data = convolution(folder) if convolutional else network(widths, seed, folder)
            region, spec = question(graph, seed, None, eps=eps)
            yield graph, data, region, shifted(graph, region, spec, -1e-5)


def nearly_true(folder: Path) -> Iterator[Case]:
    """x + m - m <= 0.25, where sums in floats lose all of x."""
    graph, data = read_back(two_shifts(2.0**54), folder)
    region = bounds.Box(*(torch.tensor([[end]], dtype=torch.float64) for end in (0.3, 0.4)))
    yield graph, data, region, bounds.Spec(-torch.ones(1, 1, 1).double(), torch.tensor([[0.25]]).double())


def caught(cases: Iterator[Case], patch: pytest.MonkeyPatch) -> bool:
    """Whether the engine verifies a false one of these, and gives no proof of it that the checker accepts.

    No counterexample is believed, as if attacks had missed it; the engine is believed while it searches for a
    proof, so that this is one that only the checker can see through.
    """
    patch.setattr(
        Judge, "confirmed", lambda self, points, sample: (torch.full((len(points),), torch.inf), [])
    )
    patch.setattr(Notary, "_proved", lambda self, question, leaves: np.ones(len(leaves), np.bool_))
    for graph, data, region, spec in cases:
        [found] = verify(graph, region, spec, timeout=0.5)
        if found.status is Status.VERIFIED:
            try:
                return prove(graph, region, spec, data, timeout=3).proof is None
            except Refused as refusal:
                return "its bound" in refusal.reason
    return False


@pytest.mark.parametrize("name", DENSE)
def test_bugs_of_dense_networks(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name](monkeypatch)
    assert caught(false(tmp_path, False), monkeypatch)


def test_bugs_of_convolutions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS["bias of convolutions dropped"](monkeypatch)
    assert caught(false(tmp_path, True), monkeypatch)


def test_rounding_that_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS["rounding not counted"](monkeypatch)
    assert caught(nearly_true(tmp_path), monkeypatch)


def test_without_a_bug_nothing_false_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not caught(false(tmp_path, False), monkeypatch)
