"""Real networks: never looser than the recorded peer, and never above what an attack reaches."""

from pathlib import Path

import numpy as np
import pytest
import torch

import bounds

NETS = [
    "mnistfc_2",
    "mnistfc_4",
    "mnistfc_6",
    "mnist_cnn_a_adv",
    "mnist_conv_small",
    "cifar_cnn_a_mix",
    "oval_base",
    "oval_wide",
    "oval_deep",
    "resnet2b",
]
METHODS = {"ibp": "IBP", "crown-ibp": "CROWN-IBP", "crown": "CROWN"}
# Float noise of two float32 computations whose intermediate values are far larger than their margins.
NOISE = 1e-4


def load(
    data_dir: Path, net: str, count: int
) -> tuple[bounds.Graph, bounds.Box, bounds.Spec, dict[str, np.ndarray]]:
    with np.load(data_dir / "bounds" / f"{net}.npz") as file:
        data = {key: file[key][:count] if file[key].ndim else file[key] for key in file.files}
    graph = bounds.read_onnx(data_dir / "bounds" / f"{net}.onnx")
    region = bounds.Box(torch.tensor(data["lo"]), torch.tensor(data["hi"]))
    return graph, region, bounds.margins(torch.tensor(data["y"]), 10), data


def check_against_the_peer(data_dir: Path, net: str, count: int) -> None:
    graph, region, spec, data = load(data_dir, net, count)
    for method, recorded in METHODS.items():
        peer = torch.tensor(data[f"{recorded}_b32"])
        ours = bounds.bound(graph, region, spec, method).lower
        looser = ours < peer - NOISE * peer.abs().clamp_min(1)
        assert not looser.any(), f"{method}: {int(looser.sum())} margins, worst {float((ours - peer).min())}"


@pytest.mark.parametrize("net", NETS)
def test_never_looser_than_the_recorded_peer(data_dir: Path, net: str) -> None:
    check_against_the_peer(data_dir, net, 4)


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS)
def test_never_looser_than_the_recorded_peer_on_all_samples(data_dir: Path, net: str) -> None:
    check_against_the_peer(data_dir, net, 32)


@pytest.mark.parametrize("net", ["mnistfc_2", "mnist_conv_small", "oval_base"])
def test_level_real_costs_next_to_nothing_and_holds_under_attack(data_dir: Path, net: str) -> None:
    graph, region, spec, data = load(data_dir, net, 4)
    plain, real, deployed = (
        bounds.bound(graph, region, spec, "crown", torch.float64, level).lower
        for level in ("float", "real", "deployed")
    )
    assert (deployed < real).all() and (real - deployed).max() < 0.1
    assert (real <= plain + 1e-9).all() and (plain - real).max() < 1e-5
    z = torch.tensor(data["x"]).double()
    box = region.to(torch.float64)
    for _ in range(20):  # signed gradient steps on the smallest margin
        z = z.requires_grad_()
        rows = spec.to(torch.float64).evaluate(graph(z))
        assert (rows >= real).all()
        step = torch.autograd.grad(rows.min(1).values.sum(), z)[0].sign()
        z = box.project(z.detach() - step * (box.upper - box.lower) / 8)
