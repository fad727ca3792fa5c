"""The whole procedure against truths known without it: closed forms, simulation, brute force."""

import math

import pytest
import torch
from scipy.stats import binom, norm
from torch import Tensor

from certify.smoothing import Smoothing
from tests.certify.smoothing.models import halfspace


def test_linear_classifier_closed_form():
    """For a half-space the smoothed radius is the distance to the plane, whatever sigma is."""
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(6, generator=generator)
    x = torch.randn(12, 6, generator=generator) * 0.4
    score = (x @ weight + 0.3).double()
    distance = score.abs() / weight.double().norm()

    def linear(z: Tensor) -> Tensor:
        s = z @ weight + 0.3
        return torch.stack([-s, s], dim=1)

    smoothing = Smoothing(sigma=0.5, n0=2000, n=20_000, alpha=1e-3)  # n0: the class is never missed
    result = smoothing.certify(linear, x)
    certified = result.label >= 0
    assert torch.equal(result.label[certified], (score > 0).long()[certified])
    assert (result.radius <= distance).all()
    # the estimate lies a few standard errors below: what is lost is the price of n, not a wrong formula
    p = norm.cdf(distance.numpy() / 0.5)
    near = (p > 0.55) & (p < 0.999)
    expected = 0.5 * norm.ppf(p - 6 * (p * (1 - p) / 20_000) ** 0.5)
    assert near.sum() >= 5
    assert (result.radius.numpy()[near] > expected[near]).all()


@pytest.mark.parametrize("p", [0.5, 0.55, 0.75, 0.9])
def test_failure_probability_by_simulation(p):
    """Selection and estimation together claim too much in at most a share alpha of 3000 runs.

    At p = 1/2 both classes tie, so that every claim is a failure: using the selection's draws again for the
    estimate would double the share there.
    """
    runs, alpha, sigma = 3000, 0.1, 0.7
    distance = sigma * norm.ppf(p)
    x = torch.full((runs, 1), distance, dtype=torch.float64)
    result = Smoothing(sigma, n0=40, n=40, alpha=alpha, batch_size=10_000).certify(halfspace, x)
    wrong = (result.label == 0) | ((result.label == 1) & (result.radius > distance))
    if p == 0.5:
        wrong = result.label >= 0
    assert int(wrong.sum()) <= binom.ppf(1 - 1e-4, runs, alpha)
    # Clopper-Pearson at n = 40 fails in at least 5% of runs here, so that a vacuous bound would show
    assert int(wrong.sum()) >= binom.ppf(1e-4, runs, 0.045)


def rings(z: Tensor) -> Tensor:
    """Three classes in the plane with curved borders and an island."""
    radius, angle = z.norm(dim=1), torch.atan2(z[:, 1], z[:, 0])
    inner = 0.9 + 0.3 * torch.sin(3 * angle) - radius
    island = 0.35 - (z - torch.tensor([0.3, 0.2], dtype=z.dtype)).norm(dim=1)
    return torch.stack([inner, -inner, 4 * island], dim=1)


def smoothed_probabilities(x: Tensor, sigma: float, steps: int = 241) -> Tensor:
    """P[rings(x + noise) = c] by quadrature over +-5 sigma: (points, 3), good to about 1e-3."""
    axis = torch.linspace(-5, 5, steps, dtype=torch.float64)
    weight = torch.exp(-axis.square() / 2)
    noise = sigma * torch.cartesian_prod(axis, axis)
    mass = torch.outer(weight, weight).flatten()
    mass = mass / mass.sum()
    votes = [torch.nn.functional.one_hot(rings(point + noise).argmax(1), 3) for point in x]
    return torch.stack([mass @ vote.double() for vote in votes])


def test_no_attack_inside_the_certified_ball():
    """Brute force over directions: the smoothed label holds on the certified ball's rim and within."""
    sigma = 0.4
    x = torch.tensor([[0.0, -0.2], [-0.5, 0.1], [1.4, 0.6], [0.2, 0.2], [-1.2, -1.0]], dtype=torch.float64)
    result = Smoothing(sigma, n=50_000).certify(rings, x)
    assert (result.label >= 0).sum() >= 4
    assert len(set(result.label.tolist())) >= 2
    angles = torch.arange(12, dtype=torch.float64) * (math.pi / 6)
    around = torch.stack([angles.cos(), angles.sin()], dim=1)
    for point, label, radius in zip(x, result.label.tolist(), result.radius.tolist(), strict=True):
        if label < 0:
            continue
        attacks = torch.cat([point + share * radius * around for share in (0.5, 1.0)])
        assert (smoothed_probabilities(attacks, sigma)[:, label] > 0.5 - 2e-3).all()
