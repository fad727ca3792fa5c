"""Attack strength on real networks, against what other libraries' attacks were measured to reach."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import bounds
from certify.attacks import APGD, PGD, Square
from certify.attacks.base import Attack
from certify.decide import evaluate
from certify.deterministic import CROWN
from certify.model import Model
from certify.result import Result
from certify.run import Run
from certify.threat import L2, Linf, Threat
from tests.certify.toys import model_of

THREATS = {
    ("cifar", "linf"): Linf(2 / 255),
    ("cifar", "l2"): L2(0.25),
    ("mnist", "linf"): Linf(0.3),
    ("mnist", "l2"): L2(1.5),
}
ONE = 0.015  # one image of the 100, which a random start may decide


def network(folder: Path, name: str, n: int) -> tuple[Model, torch.Tensor, torch.Tensor]:
    graph = bounds.read_onnx(folder / "attacks" / f"{name}_cnn_a_adv.onnx")
    with np.load(folder / "attacks" / f"{name}_cnn_a_adv.npz") as data:
        x, y = (torch.from_numpy(data[key][:n]) for key in ("x", "y"))
    return model_of(graph, graph.input_shape, 10, (0.0, 1.0), graph), x, y


def recorded(folder: Path, name: str, norm: str, attack: str) -> list[float]:
    """Robust accuracies on the first 100 images, one per library that ran the attack."""
    rows = json.loads((folder / "attacks" / "peer.json").read_text())
    eps = pytest.approx(THREATS[name, norm].eps)
    return [
        row["robust_acc"]
        for row in rows
        if (row["task"], row["kind"]) == (name, norm)
        and row["attack"].startswith(attack)
        and row["eps"] == eps
    ]


def attacked(folder: Path, name: str, threat: Threat, attack: Attack) -> Result:
    model, x, y = network(folder, name, 100)
    return evaluate(model, x, y, threat, [attack], run=Run(batch_size=100))


@pytest.mark.parametrize(("name", "norm"), list(THREATS))
def test_pgd_is_as_strong_as_the_peers(data_dir: Path, name: str, norm: str) -> None:
    result = attacked(data_dir, name, THREATS[name, norm], PGD(steps=50))
    assert result.clean_accuracy == {"cifar": 0.66, "mnist": 0.98}[name]
    assert result.robust_accuracy[1] <= min(recorded(data_dir, name, norm, "PGD-50 x1")) + ONE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "norm", "best"), [("cifar", "linf", "AutoAttack"), ("mnist", "linf", "APGD-T")]
)
def test_targeted_pgd_is_as_strong_as_the_strongest(data_dir: Path, name: str, norm: str, best: str) -> None:
    result = attacked(data_dir, name, THREATS[name, norm], PGD(steps=50, targets=9))
    assert result.robust_accuracy[1] <= min(recorded(data_dir, name, norm, best)) + 0.005


@pytest.mark.parametrize(("name", "norm"), list(THREATS))
def test_auto_pgd_is_as_strong_as_the_peers(data_dir: Path, name: str, norm: str) -> None:
    result = attacked(data_dir, name, THREATS[name, norm], APGD())
    assert result.robust_accuracy[1] <= min(recorded(data_dir, name, norm, "APGD-CE 100")) + ONE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar", "mnist"])
def test_targeted_auto_pgd_is_as_strong_as_the_peer(data_dir: Path, name: str) -> None:
    best = min(recorded(data_dir, name, "linf", "APGD-T"))
    result = attacked(data_dir, name, THREATS[name, "linf"], APGD(loss="dlr", targets=9))
    assert result.robust_accuracy[1] <= best + 1e-9


@pytest.mark.parametrize(("name", "most"), [("cifar", 0.58), ("mnist", 0.82)])
def test_square_comes_near_without_gradients(data_dir: Path, name: str, most: float) -> None:
    assert attacked(data_dir, name, THREATS[name, "linf"], Square(500)).robust_accuracy[1] <= most


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "threat"), [("cifar", Linf(2 / 255)), ("mnist", Linf(0.1)), ("cifar", L2(0.1))]
)
def test_certificates_and_attacks_agree(data_dir: Path, name: str, threat: Threat) -> None:
    """No contradiction, and no certified margin above what an attack has seen inside the region."""
    model, x, y = network(data_dir, name, 20)
    result = evaluate(model, x, y, threat, [CROWN(), PGD(targets=3)])
    assert result.verified_accuracy > 0
    for sample in result.samples:
        seen = [e.detail["smallest_margin"] for e in sample.evidence if "smallest_margin" in e.detail]
        assert all(sample.margin is None or sample.margin <= value + 1e-5 for value in seen)
