"""The demo's checkpoint: one network in two formats, small, right, and apart from what it was trained on."""

from pathlib import Path

import numpy as np
import pytest
import torch

import certify as ct
from certify.demo import CONFIG
from certify.demo.data import splits

ASSETS = CONFIG.parent


def images() -> tuple[torch.Tensor, torch.Tensor]:
    with np.load(ASSETS / "digits.npz") as file:
        return torch.tensor(file["x"]), torch.tensor(file["y"])


def models() -> list[ct.Model]:
    weights = ct.load(
        ASSETS / "digits_cnn.safetensors", factory="certify.demo.network:digits_cnn", input_shape=(1, 8, 8)
    )
    return [weights, ct.load(ASSETS / "digits_cnn.onnx")]


def test_both_formats_hold_the_same_network() -> None:
    x, _ = images()
    a, b = (model(x) for model in models())
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_it_classifies_the_images() -> None:
    x, y = images()
    for model in models():
        assert (model(x).argmax(1) == y).float().mean() > 0.95


@pytest.mark.parametrize("name", ["digits_cnn.safetensors", "digits_cnn.onnx"])
def test_it_is_small(name: str) -> None:
    assert Path(ASSETS / name).stat().st_size < 300_000


def test_no_image_was_trained_on() -> None:
    pytest.importorskip("sklearn")
    train, test = splits()
    x, _ = images()
    seen = {row.numpy().tobytes() for row in train.x}
    held_out = {row.numpy().tobytes() for row in test.x}
    assert all(row.numpy().tobytes() in held_out and row.numpy().tobytes() not in seen for row in x)
