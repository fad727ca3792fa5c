"""Minimal distances on real networks, against the best that peers were measured to find."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from certify.attacks import DDN, FAB, FMN
from certify.attacks.minimal import DistanceAttack
from certify.model import holds
from tests.certify.attacks.oracles import minimum
from tests.certify.attacks.test_recorded import network


def distances(folder: Path, attack: DistanceAttack, name: str, norm: float) -> torch.Tensor:
    """Of the first 100 images that the network gets right."""
    model, x, y = network(folder, name, 100)
    with torch.no_grad():
        right = model(x).argmax(1) == y
    found = minimum(attack, model, x[right], y[right], norm)
    keep = found.found.nonzero()[:, 0]
    for one in keep.split(1):  # a failure must be one in other company, too
        with torch.no_grad():
            assert not holds(model.spec(y[right][one]), model(found.points[one])).any()
    return found.distance


def best(folder: Path, name: str, kind: str) -> tuple[float, float]:
    """The smallest mean and the smallest median among peers that always succeeded with 100 gradients."""
    rows = [
        row
        for row in json.loads((folder / "attacks" / "peer.json").read_text())
        if (row["task"], row["kind"]) == (name, kind) and row["success"] == 1 and row["bwd_per_sample"] <= 100
    ]
    return min(row["mean_norm"] for row in rows), min(row["median_norm"] for row in rows)


@pytest.mark.parametrize(
    ("name", "norm", "kind"),
    [
        ("cifar", 2, "min_l2"),
        ("mnist", 2, "min_l2"),
        ("cifar", math.inf, "min_linf"),
        ("mnist", math.inf, "min_linf"),
    ],
)
def test_fmn_finds_less_than_every_peer_of_as_many_gradients(
    data_dir: Path, name: str, norm: float, kind: str
) -> None:
    found = distances(data_dir, FMN(), name, norm)
    assert found.isfinite().all()
    mean, median = best(data_dir, name, kind)
    assert float(found.mean()) <= mean
    assert float(np.median(found)) <= median


def test_fmn_leaves_less_accuracy_than_the_strongest_ensemble_did(data_dir: Path) -> None:
    found = distances(data_dir, FMN(), "cifar", math.inf)
    assert int((found > 2 / 255).sum()) <= 48


@pytest.mark.parametrize(("name", "mean", "median"), [("cifar", 0.63, 0.475), ("mnist", 2.08, 2.06)])
def test_ddn_finds_what_peers_found_by_it(data_dir: Path, name: str, mean: float, median: float) -> None:
    found = distances(data_dir, DDN(), name, 2)
    assert found.isfinite().all()
    assert float(found.mean()) <= mean
    assert float(np.median(found)) <= median


@pytest.mark.slow
def test_fab_is_as_strong_as_the_strongest_on_its_own(data_dir: Path) -> None:
    found = distances(data_dir, FAB(steps=20, targets=9), "cifar", math.inf)
    assert int((found > 2 / 255).sum()) <= 48
