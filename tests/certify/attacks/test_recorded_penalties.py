"""Minimal distances on real networks, against what other libraries' attacks were measured to reach."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from certify.attacks import ALMA, CarliniWagner, CarliniWagnerLinf
from certify.attacks.minimal import Minimal
from tests.certify.attacks.oracles import minimum
from tests.certify.attacks.test_recorded import network


def measured(folder: Path, name: str, attack: Minimal[Any]) -> Tensor:
    """The distances of the first 100 images that are classified right; all are found."""
    model, x, y = network(folder, name, 100)
    right = model(x).argmax(1) == y
    (norm,) = attack.norms
    found = minimum(attack, model, x[right], y[right], norm)
    assert found.found.all()
    assert (model(found.points).argmax(1) != y[right]).all()
    assert ((found.points >= 0) & (found.points <= 1)).all()
    return found.distance


def best(folder: Path, name: str, norm: str, attack: str) -> tuple[float, float]:
    """The least mean and median of the libraries whose attack of this name always succeeds."""
    rows = json.loads((folder / "attacks" / "peer.json").read_text())
    kept = [
        (row["mean_norm"], row["median_norm"])
        for row in rows
        if (row["task"], row["kind"], row.get("success")) == (name, norm, 1.0) and row["attack"] == attack
    ]
    assert kept
    return min(mean for mean, _ in kept), min(median for _, median in kept)


@pytest.mark.parametrize(
    ("name", "norm", "attack", "peer"),
    [
        ("cifar", "min_l2", ALMA(), "ALMA-100"),
        ("mnist", "min_l2", ALMA(), "DDN-100"),
        pytest.param("cifar", "min_l2", CarliniWagner(), "C&W 9x200", marks=pytest.mark.slow),
        pytest.param("mnist", "min_l2", CarliniWagner(), "DDN-100", marks=pytest.mark.slow),
        pytest.param("mnist", "min_linf", CarliniWagnerLinf(), "FMN-100", marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_distances_are_as_small_as_the_peers(
    data_dir: Path, name: str, norm: str, attack: Minimal[Any], peer: str
) -> None:
    found, (mean, median) = measured(data_dir, name, attack), best(data_dir, name, norm, peer)
    assert found.mean() <= mean
    assert found.quantile(0.5) <= median * 1.002


@pytest.mark.slow
def test_the_portfolio_is_nearer_than_any_of_its_attacks(data_dir: Path) -> None:
    both = torch.stack([measured(data_dir, "cifar", attack) for attack in (ALMA(), CarliniWagner())])
    assert both.amin(0).mean() < 0.62
