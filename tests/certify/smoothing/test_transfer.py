"""Certificates carried over to a near model: coverage by simulation, and the formula."""

import dataclasses
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from scipy.stats import binom, norm
from torch import Tensor, nn

from certify.demo.network import digits_cnn
from certify.demo.train import ASSETS
from certify.errors import UsageError
from certify.loading import read_weights
from certify.run import Run
from certify.smoothing import Execution, Smoothing, Transfer, TwoSided
from tests.certify.smoothing.models import halfspace, thirds

SIGMA = 0.5
CERTIFIER = Smoothing(SIGMA, n0=20, n=500, alpha=0.05)
X = torch.tensor([[0.5, 0.0], [-0.4, 0.2], [0.9, 0.1]])


class Shifted:
    """``halfspace`` with its boundary moved: class 1 where the first coordinate is > t."""

    def __init__(self, t: float) -> None:
        self.t = t

    def __call__(self, x: Tensor) -> Tensor:
        return halfspace(x - self.t)


def test_coverage_where_every_difference_is_lost():
    """All that f' answers differently it takes from the class, so that both bounds are needed in full."""
    count, at, t, alpha, n = 500, 0.5, 0.1, 0.1, 150
    x = torch.tensor([[at, 0.0]]).expand(count, 2)
    certifier = dataclasses.replace(CERTIFIER, n=n, alpha=alpha)
    certified = certifier.certify(halfspace, x)
    found = Transfer(n=n, alpha=alpha).certify(certifier, certified, halfspace, Shifted(t), x)
    true, near = norm.cdf(at / SIGMA), norm.cdf((at - t) / SIGMA)
    zeta = found.zeta.numpy()
    missed = int((zeta < true - near).sum())
    assert missed <= binom.isf(1e-6, count, alpha)
    assert missed > 0.02 * count  # no tighter bound would do
    assert (
        int((found.differing.numpy() / n < true - near).sum()) > 0.4 * count
    )  # the share alone covers nothing
    assert int((found.result.p_lower.numpy() > near).sum()) <= binom.isf(1e-6, count, 2 * alpha)
    assert int((found.result.radius.numpy() > at - t).sum()) <= binom.isf(1e-6, count, 2 * alpha)
    assert found.result.alpha == 0.2


def test_follows_the_formula_and_never_gains():
    certified = CERTIFIER.certify(halfspace, X)
    found = Transfer(n=300, alpha=0.01).certify(CERTIFIER, certified, halfspace, Shifted(0.03), X)
    assert (found.differing > 0).any()
    for i in range(len(X)):
        k, zeta = int(found.differing[i]), float(found.zeta[i])
        tail = sum(
            math.comb(300, j) * Fraction(zeta) ** j * (1 - Fraction(zeta)) ** (300 - j) for j in range(k + 1)
        )
        assert 0.0099999 < tail <= Fraction(0.01)  # Clopper & Pearson's upper end, from outside
        p_lower, p_other = (Fraction(float(p[i])) for p in (certified.p_lower, certified.p_other))
        low, other = float(found.result.p_lower[i]), float(found.result.p_other[i])
        assert Fraction(low) <= p_lower - Fraction(zeta)
        assert Fraction(other) >= min(p_other + Fraction(zeta), 1)
        with mpmath.workdps(40):
            quantile = mpmath.sqrt(2) * mpmath.erfinv(2 * (mpmath.mpf(float(p_lower)) - zeta) - 1)
            radius = max(SIGMA * quantile, 0)
        assert 0 <= float(radius) - float(found.result.radius[i]) < 1e-9
    assert (found.result.radius < certified.radius).all()
    assert found.result.mode == "Fixed(n=500), then Transfer(n=300, alpha=0.01)"
    assert Fraction(found.result.alpha) >= Fraction(0.05) + Fraction(0.01)


def test_the_same_model_costs_little_and_another_everything():
    certified = CERTIFIER.certify(halfspace, X)
    same = Transfer(n=10_000).certify(CERTIFIER, certified, halfspace, halfspace, X)
    assert same.differing.tolist() == [0, 0, 0]
    assert math.isclose(float(same.zeta[0]), 1 - 1e-3 ** (1 / 10_000), rel_tol=1e-9)
    assert torch.equal(same.result.label, certified.label)
    assert (certified.radius - same.result.radius < 0.01).all()
    turned = Transfer(n=100).certify(CERTIFIER, certified, halfspace, lambda x: -halfspace(x), X)
    assert turned.zeta.tolist() == [1.0, 1.0, 1.0]
    assert turned.result.label.tolist() == [-1, -1, -1]
    assert turned.result.radius.tolist() == [0.0, 0.0, 0.0]
    assert turned.result.p_other.tolist() == [1.0, 1.0, 1.0]


def test_other_modes_and_abstentions_are_carried_over():
    certifier = Smoothing(SIGMA, n0=50, mode=TwoSided(2000), alpha=0.05)
    x = torch.tensor([[0.3, 0.1], [math.pi / 12, 0.0]])
    certified = certifier.certify(thirds, x)
    found = Transfer(n=2000).certify(certifier, certified, thirds, thirds, x)
    expected = certifier.noise.radius(
        np.clip(certified.p_lower.numpy() - found.zeta.numpy(), 0, 1),
        np.clip(certified.p_other.numpy() + found.zeta.numpy(), 0, 1),
    )
    np.testing.assert_allclose(found.result.radius.numpy(), expected, rtol=1e-9)
    none = dataclasses.replace(certified, radius=torch.zeros(2, dtype=torch.float64))
    assert Transfer(n=500).certify(certifier, none, thirds, thirds, x).result.abstains.all()


def rounded(module: nn.Module, bits: int) -> nn.Module:
    """Weights on a grid of so many bits, symmetric, one scale per tensor."""
    with torch.no_grad():
        for parameter in module.parameters():
            step = parameter.abs().max() / (2 ** (bits - 1) - 1)
            parameter.copy_((parameter / step).round() * step)
    return module


@pytest.fixture(scope="module")
def network() -> nn.Module:
    module = digits_cnn().eval().requires_grad_(False)
    module.load_state_dict(read_weights(ASSETS / "digits_cnn.safetensors"))
    return module


def test_a_quantised_network_keeps_most_of_its_radii(network):
    x = torch.from_numpy(np.load(ASSETS / "digits.npz")["x"][:6])
    certifier = Smoothing(0.25, n=2000)
    certified = certifier.certify(network, x)
    copies = {bits: digits_cnn().eval().requires_grad_(False) for bits in (8, 3)}
    lost = {}
    for bits, copy in copies.items():
        copy.load_state_dict(network.state_dict())
        found = Transfer(n=2000).certify(certifier, certified, network, rounded(copy, bits), x)
        own = certifier.certify(copy, x)  # by the same draws: near what a new certificate gives
        assert (found.result.radius <= own.radius + 0.1).all()
        lost[bits] = float((certified.radius - found.result.radius).mean())
    assert 0 < lost[8] < 0.05
    assert lost[3] > 1.5 * lost[8]


def test_draws_are_keyed_and_shared_by_both_models():
    seen: list[list[Tensor]] = [[], []]

    def watched(place: int):
        def forward(x: Tensor) -> Tensor:
            seen[place].append(x.clone())
            return halfspace(x)

        return forward

    certified = CERTIFIER.certify(halfspace, X)
    Transfer(n=50).certify(CERTIFIER, certified, watched(0), watched(1), X, samples=(4, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))
    a, b, c = (
        Transfer(n=2000).certify(CERTIFIER, certified, halfspace, Shifted(0.1), X, run, ids).differing
        for run, ids in ((Run(), (4, 5, 6)), (Run(), (4, 5, 6)), (Run(seed=1), (4, 5, 6)))
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_refuses_what_does_not_belong_together():
    certified = CERTIFIER.certify(halfspace, X)

    def transfer(certifier=CERTIFIER, base=halfspace, near=halfspace, x=X, own=Transfer(n=20)):  # noqa: B008
        return own.certify(certifier, certified, base, near, x)

    for changed, message in (
        ({"certifier": Smoothing(0.25)}, "law Gaussian"),
        ({"certifier": Smoothing(SIGMA, execution=Execution("bfloat16"))}, "execution"),
        ({"x": X[:2]}, "3 certificates for 2 inputs"),
        ({"near": thirds}, "2 and 3 classes"),
        ({"own": Transfer(n=20, alpha=0.96)}, "alpha is 1.0"),
    ):
        with pytest.raises(UsageError, match=message):
            transfer(**changed)
    with pytest.raises(UsageError, match="NaN"):
        transfer(near=lambda x: torch.where(x[:, :1] > 0.9, math.nan, halfspace(x)), own=Transfer(n=500))
    with pytest.raises(UsageError):
        Transfer(n=0)
    with pytest.raises(UsageError):
        Transfer(alpha=1.0)
