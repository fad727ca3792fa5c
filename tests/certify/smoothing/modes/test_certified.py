"""Modes inside the certifier: the engine's votes, batches, and draws that are not made twice."""

import pytest
import torch

from certify.run import Run
from certify.smoothing import Anytime, Decide, Fixed, Grid, Planned, Smoothing, TwoSided
from certify.smoothing.votes import InMemory
from tests.certify.smoothing.models import halfspace, thirds

X = torch.zeros(12, 2)
X[:, 0] = torch.linspace(-0.6, 1.2, 12)
MODES = [
    TwoSided(500),
    Decide(0.2, n_max=3000),
    Grid((0.1, 0.3, 0.6), n_max=3000),
    Planned(0.1, n_max=2000, pilot=200),
    Anytime(500),
]


def smoothing(mode, batch_size=1000) -> Smoothing:
    return Smoothing(sigma=0.5, n0=30, mode=mode, alpha=0.01, batch_size=batch_size)


@pytest.mark.parametrize("mode", MODES, ids=repr)
def test_true_radii_are_not_exceeded(mode):
    """The half-space's radius is the distance |x_0|; clear cases are certified."""
    result = smoothing(mode).certify(halfspace, X, Run())
    assert (result.radius <= X[:, 0].abs()).all()
    assert (result.radius[-3:] > 0).all()
    assert (result.label[-3:] == 1).all()


@pytest.mark.parametrize("mode", MODES, ids=repr)
def test_batches_and_company_change_nothing(mode):
    whole = smoothing(mode).certify(thirds, X, Run())
    for batch_size in (37, 512):
        again = smoothing(mode, batch_size).certify(thirds, X, Run())
        assert torch.equal(again.radius, whole.radius)
        assert torch.equal(again.n, whole.n)
    alone = smoothing(mode).certify(thirds, X[5:6], Run(), samples=[5])
    assert alone.n[0] == whole.n[5]
    assert alone.p_lower[0] == whole.p_lower[5]


def test_sequential_modes_stop_early():
    decided = smoothing(Decide(0.2)).certify(halfspace, X, Run())
    clear = (X[:, 0].abs() - 0.2).abs() > 0.15
    assert (decided.n[clear] < 2000).all()
    assert torch.equal(decided.radius > 0, X[:, 0].abs() > 0.2)


def test_topping_up_makes_only_the_missing_draws():
    """The longer run with the shorter one's votes equals the longer one from scratch."""
    rows = 0

    def counted(z: torch.Tensor) -> torch.Tensor:
        nonlocal rows
        rows += len(z)
        return halfspace(z)

    memory = InMemory()
    smoothing(Anytime(500)).certify(counted, X, Run(), votes=memory)
    rows = 0
    longer = smoothing(Anytime(2000)).certify(counted, X, Run(), votes=memory)
    assert 12 * 1500 <= rows < 12 * 1500 + 1100  # a probe, and the last batch is filled up
    scratch = smoothing(Anytime(2000)).certify(halfspace, X, Run())
    assert torch.equal(longer.hits, scratch.hits)
    assert torch.equal(longer.radius, scratch.radius)
    fixed = smoothing(Fixed(2000)).certify(halfspace, X, Run())
    assert torch.equal(fixed.hits, scratch.hits)
    assert (fixed.radius >= scratch.radius).all()
