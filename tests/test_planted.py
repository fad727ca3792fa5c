"""Counterexamples that attacks miss are not proved away."""

from fractions import Fraction

import pytest

from benchmarks import exactly
from benchmarks.planted import missed, planted
from bounds.search import Status, verify


@pytest.mark.parametrize(
    ("seed", "inputs", "width"), [(0, 5, 16), pytest.param(1, 8, 32, marks=pytest.mark.slow)]
)
def test_no_level_says_verified(seed: int, inputs: int, width: int) -> None:
    net = planted(seed, inputs, width)
    [exact] = exactly.value(net.graph, [Fraction(v) for v in net.point.tolist()])
    assert exact < 0
    assert float(net.graph(net.point[None])) < 0
    assert missed(net, 500, seed) > 0
    for level in ("float", "real", "deployed"):
        [found] = verify(net.graph, net.region, net.spec, level=level, timeout=2)
        assert found.status is not Status.VERIFIED


def test_the_search_finds_what_attacks_miss() -> None:
    net = planted(0, 5, 16)
    [found] = verify(net.graph, net.region, net.spec, timeout=20)
    assert found.status is Status.FALSIFIED
    assert found.witness is not None
    assert float(net.graph(found.witness[None])) <= 0
