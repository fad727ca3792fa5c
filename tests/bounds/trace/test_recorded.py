"""Real networks: the imported graph against onnxruntime and against the recorded outputs."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

import bounds

from .onnx_nets import run_one_by_one

NETWORKS = (
    *("bounds/cifar_cnn_a_mix", "bounds/mnist_cnn_a_adv", "bounds/mnist_conv_small", "bounds/mnistfc_2"),
    *("bounds/mnistfc_4", "bounds/mnistfc_6", "bounds/oval_base", "bounds/oval_deep", "bounds/oval_wide"),
    *("bounds/resnet2b", "bounds/resnet4b", "attacks/cifar_cnn_a_adv", "attacks/mnist_cnn_a_adv"),
)
READABLE = 64  # of the 73 competition networks; the others need operators that are not there yet


def relative_error(got: torch.Tensor, expected: np.ndarray) -> float:
    wanted = torch.from_numpy(expected)
    assert got.shape == wanted.shape
    return float((got - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("name", NETWORKS)
def test_network_agrees_with_onnxruntime_and_the_record(data_dir: Path, name: str) -> None:
    path = data_dir / f"{name}.onnx"
    graph = bounds.read_onnx(path)
    with np.load(path.with_suffix(".npz")) as record:
        x, y, logits = record["x"], record["y"], record["logits"]
    with torch.no_grad():
        got = graph(torch.from_numpy(x))
    assert relative_error(got, logits) < 1e-5
    assert relative_error(got[:16], run_one_by_one(path, x[:16])) < 1e-5
    assert int((got.argmax(1).numpy() == y).sum()) == int((logits.argmax(1) == y).sum())


def test_competition_networks(data_dir: Path) -> None:
    rng = np.random.default_rng(0)
    read = 0
    for path in sorted((data_dir / "vnncomp").glob("*/onnx/*.onnx.gz")):
        try:
            graph = bounds.read_onnx(path)
        except bounds.Unsupported as error:
            assert path.name in str(error), "an error names its file"
            continue
        read += 1
        x = rng.uniform(size=(2, *graph.input_shape)).astype(np.float32)
        with torch.no_grad():
            got = graph(torch.from_numpy(x))
        expected = run_one_by_one(gzip.decompress(path.read_bytes()), x)
        assert relative_error(got, expected.reshape(got.shape)) < 1e-4, path.name
    assert read >= READABLE
