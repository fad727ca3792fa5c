"""Distances on real networks, against what other libraries reached with as many queries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from certify.attacks import Boundary, GeoDA, HopSkipJump
from certify.attacks.blackbox.search import DecisionAttack
from certify.attacks.minimal import nearby
from certify.query import Query
from certify.run import Run
from certify.threat import L2
from tests.certify.attacks.test_recorded import network

KINDS = [(HopSkipJump, "HSJ-10"), (GeoDA, "HSJ-10"), (Boundary, "Boundary-1000")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar", "mnist"])
@pytest.mark.parametrize(("kind", "peer"), KINDS, ids=lambda each: getattr(each, "__name__", each))
def test_decisions_come_nearer_than_the_peers(
    data_dir: Path, name: str, kind: type[DecisionAttack], peer: str
) -> None:
    rows = json.loads((data_dir / "attacks" / "peer.json").read_text())
    (row,) = (row for row in rows if (row["task"], row["attack"]) == (name, peer))
    model, x, y = network(data_dir, name, 25)
    right = model(x).argmax(1) == y
    x, y = x[right], y[right]
    attack = kind(int(row["fwd_per_sample"]))
    problem = nearby(Query(model, x, y, L2(1.0), tuple(range(len(x)))), 2, repr(attack), Run())
    found = attack.find(problem)
    assert found.found.all()
    assert max(problem.tally.forwards.values()) <= row["fwd_per_sample"]
    assert found.distance.mean() < 0.8 * row["mean_norm"]
