"""Laws of noise: the checks that all share, and what is particular to each."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from scipy.stats import kstest

from certify.errors import UsageError
from certify.smoothing.laws import (
    LAWS,
    SCALED,
    Ablation,
    DiscreteGaussian,
    Ellipsoid,
    Gaussian,
    Laplace,
    NoiseLaw,
    Uniform,
    UniformLinf,
    covering,
)
from certify.threat import L0, L1, L2, Linf, Patch, Pixels
from tests.certify.smoothing.conformance import AdditiveConformance, NoiseLawConformance, draws

FACTOR = torch.tensor([[0.3, 0.0], [0.2, 0.6]])


def normal_quantile(p):
    return mpmath.sqrt(2) * mpmath.erfinv(2 * p - 1)


def laplace_quantile(p):
    return mpmath.log(2 * p) if p < 0.5 else -mpmath.log(2 * (1 - p))


class TestGaussian(AdditiveConformance):
    reach = 2.4

    def law(self):
        return Gaussian(0.4)

    def flat(self, d):
        return Gaussian(0.4)

    def density(self, z):
        return torch.exp(-z.square().sum(1) / (2 * 0.4**2))

    def exact_radius(self, p_lower, p_other):
        return mpmath.mpf(0.4) / 2 * (normal_quantile(p_lower) - normal_quantile(p_other))


class TestUniform(AdditiveConformance):
    reach = 0.8

    def law(self):
        return Uniform(0.4)

    def flat(self, d):
        return Uniform(0.4)

    def density(self, z):
        return (z.abs() <= Uniform(0.4).lam).all(1).double()

    def exact_radius(self, p_lower, p_other):
        return mpmath.mpf(Uniform(0.4).lam) * (p_lower - p_other)


class TestUniformLinf(TestUniform):
    def law(self):
        return UniformLinf(0.4, 6)

    def flat(self, d):
        return UniformLinf(0.4, d)

    def exact_radius(self, p_lower, p_other):
        kept = (1 - (p_lower - p_other) / 2) ** (mpmath.mpf(1) / 6)
        return 2 * mpmath.mpf(UniformLinf(0.4, 6).lam) * (1 - kept)


class TestLaplace(AdditiveConformance):
    reach = 3.0

    def law(self):
        return Laplace(0.4)

    def flat(self, d):
        return Laplace(0.4)

    def density(self, z):
        return torch.exp(-z.abs().sum(1) / Laplace(0.4).scale)

    def exact_radius(self, p_lower, p_other):
        scale = mpmath.mpf(Laplace(0.4).scale)
        return scale / 2 * (laplace_quantile(p_lower) - laplace_quantile(p_other))

    def test_is_at_least_the_published_forms(self):
        p, q = np.array([[p, q] for p in np.linspace(0.3, 0.99, 30) for q in (0.01, 0.1, 0.3) if q < 1 - p]).T
        published = np.maximum(np.log(p / q) / 2, -np.log(1 - p + q)) * Laplace(0.4).scale
        assert (Laplace(0.4).radius(p, q) >= published * (1 - 1e-12)).all()


class TestDiagonal(AdditiveConformance):
    """Standard deviations of their own; the shortest axis is the second."""

    shape = (2,)
    reach = 2.0

    def law(self):
        return Ellipsoid(torch.tensor([0.5, 0.25], dtype=torch.float64))

    def flat(self, d):
        return Ellipsoid(torch.tensor([0.5, 0.25][-d:], dtype=torch.float64))

    def density(self, z):
        return torch.exp(-(z / self.flat(z.shape[1]).factor).square().sum(1) / 2)

    def exact_radius(self, p_lower, p_other):
        return mpmath.mpf(0.25) / 2 * (normal_quantile(p_lower) - normal_quantile(p_other))


class TestCholesky(TestDiagonal):
    def law(self):
        return Ellipsoid(FACTOR)

    def flat(self, d):
        return Ellipsoid(FACTOR[:d, :d])

    def density(self, z):
        inverse = torch.linalg.inv(self.flat(z.shape[1]).factor)
        return torch.exp(-(z @ inverse.T).square().sum(1) / 2)

    def directions(self, d):
        factor = self.flat(d).factor
        return torch.cat([super().directions(d), torch.linalg.svd(factor).U[:, -1:].T])

    def exact_radius(self, p_lower, p_other):
        a, b, c = (mpmath.mpf(float(FACTOR[i, j])) for i, j in ((0, 0), (1, 0), (1, 1)))
        trace, determinant = a**2 + b**2 + c**2, (a * c) ** 2
        shortest = mpmath.sqrt((trace - mpmath.sqrt(trace**2 - 4 * determinant)) / 2)
        return shortest / 2 * (normal_quantile(p_lower) - normal_quantile(p_other))

    def test_every_direction_of_the_ellipsoid_is_tight(self):
        law = self.flat(2)
        p, q = 0.8, 0.15
        radius = float(law.radius(np.array([p]), np.array([q]))[0])
        bound = law.mahalanobis(radius)
        angles = torch.arange(6, dtype=torch.float64) * (math.pi / 6)
        for direction in torch.stack([angles.cos(), angles.sin()], dim=1) @ law.factor.T:
            assert abs(self.true_radius(direction, p, q, bound) / bound - 1) < 0.02


class TestAblation(NoiseLawConformance):
    """Three positions of two channels, of which two are kept."""

    def law(self):
        return Ablation(keep=2, pixels=3, null=-1)

    def exact_radius(self, p_lower, p_other):
        return certified_changes(3, 2, p_lower, p_other) + mpmath.mpf("0.5")

    def test_choices_are_uniform_and_hide_all_channels(self):
        x = self.input().view(2, 3, 1)
        copies = self.law().perturb(x, draws(6000))
        kept = copies != -1
        assert torch.equal(kept[:, 0], kept[:, 1])
        assert torch.equal(copies[kept], x.expand_as(copies)[kept])
        found = Counter(map(tuple, kept[:, 0, :, 0].tolist()))
        assert len(found) == 3
        assert all(sum(choice) == 2 and abs(n - 2000) < 5 * 37 for choice, n in found.items())

    @pytest.mark.parametrize(("pixels", "keep"), [(6, 2), (5, 1), (7, 3), (4, 4)])
    def test_radius_is_the_worst_case_of_all_votes(self, pixels, keep):
        """Every number of votes for the class and for one other, against changes of rho pixels, listed."""
        choices = list(itertools.combinations(range(pixels), keep))
        law, total = Ablation(keep, pixels, 0.0), math.comb(pixels, keep)
        changed = [sum(any(i < rho for i in c) for c in choices) for rho in range(pixels + 1)]
        for top in range(total + 1):
            for other in range(total - top + 1):
                # the changed copies that voted for the class are lost, and all others of them gained
                worst = [(top - min(top, n)) - (other + n - max(0, n - total + other)) for n in changed]
                holds = [rho for rho in range(pixels + 1) if min(worst[: rho + 1]) > 0]
                # a quarter of a vote decides no question about whole votes, but hides the floats' rounding
                found = law.radius(np.array([top / total]), np.array([(other + 0.25) / total]))[0]
                assert found == max(holds, default=-0.5) + 0.5

    def test_thresholds_are_exact_for_images(self):
        law = Ablation(keep=45, pixels=1024, null=0.5)
        for rho in (1, 5, 12):
            edge = 2 * (1 - Fraction(math.comb(1024 - rho, 45), math.comb(1024, 45)))
            below, above = (float(1 + edge * (1 + s * Fraction(1, 10**12))) / 2 for s in (-1, 1))
            assert law.radius(np.array([below]), np.array([1 - below]))[0] == rho - 0.5
            assert law.radius(np.array([above]), np.array([1 - above]))[0] == rho + 0.5


def certified_changes(pixels, keep, p_lower, p_other):
    """The largest rho with p_lower - p_other > 2 Delta."""
    rho = 0
    while rho < pixels and p_lower - p_other > 2 * (
        1 - mpmath.mpf(math.comb(pixels - rho - 1, keep)) / math.comb(pixels, keep)
    ):
        rho += 1
    return rho


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("law", "name", "args"),
    [
        (Gaussian(0.4), "norm", (2.0, 0.4)),
        (Laplace(0.4), "laplace", (2.0, 0.4 / math.sqrt(2))),
        (Uniform(0.4), "uniform", (2.0 - math.sqrt(3) * 0.4, 2 * math.sqrt(3) * 0.4)),
    ],
)
def test_margins_of_the_draws(dtype, law, name, args):
    noisy = law.perturb(torch.full((3,), 2.0, dtype=dtype), draws(20_000, dtype=dtype))
    for column in noisy.double().T:
        assert kstest(column.numpy(), name, args=args).pvalue > 1e-4
    assert float(noisy.double().std()) == pytest.approx(0.4, rel=0.02)


@pytest.mark.parametrize("kind", SCALED.values())
def test_whole_numbers_are_the_same_value(kind):
    assert repr(kind(1)) == repr(kind(1.0))
    assert repr(kind(1)).startswith(f"{kind.__name__}(sigma=1.0")


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("kind", [*SCALED.values(), lambda sigma: UniformLinf(sigma, 3)])
def test_scale_outside_its_domain(kind, sigma):
    with pytest.raises(UsageError, match="sigma"):
        kind(sigma)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: UniformLinf(1.0, 0), "dimension"),
        (lambda: UniformLinf(1.0, 2.5), "dimension"),
        (lambda: Ablation(0, 5, 0.0), "keep is 0"),
        (lambda: Ablation(6, 5, 0.0), "give at most 5"),
        (lambda: Ablation(2, 5.0, 0.0), "pixels"),
        (lambda: Ablation(2, 5, math.nan), "null"),
        (lambda: Ellipsoid(torch.tensor([1.0, 0.0])), "diagonal > 0"),
        (lambda: Ellipsoid(torch.tensor([1.0, math.inf])), "finite"),
        (lambda: Ellipsoid(torch.ones(2, 2)), "above its diagonal"),
        (lambda: Ellipsoid(torch.ones(2, 3)), "shape"),
        (lambda: Ellipsoid(torch.tensor([1, 2])), "floating-point"),
        (lambda: Ellipsoid(torch.tensor([[1.0, 0.0], [1e20, 1.0]])), "singular"),
    ],
)
def test_parameters_outside_their_domain(make, match):
    with pytest.raises(UsageError, match=match):
        make()


@pytest.mark.parametrize(
    "law",
    [UniformLinf(1.0, 4), Ellipsoid(torch.ones(4)), Ablation(2, 4, 0.0)],
    ids=lambda law: type(law).__name__,
)
def test_inputs_of_another_size(law: NoiseLaw):
    assert law.perturb(torch.zeros(4), draws(3, dtype=torch.float32)).shape == (3, 4)
    with pytest.raises(UsageError, match="not 5"):
        law.perturb(torch.zeros(5), draws(3, dtype=torch.float32))


def test_a_factor_is_known_by_its_values():
    factor = torch.eye(2)
    law = Ellipsoid(factor)
    factor[0, 0] = 3.0
    assert law == Ellipsoid(torch.eye(2)) != Ellipsoid(factor)
    assert repr(law) != repr(Ellipsoid(factor))
    assert Ellipsoid(torch.ones(2)) != law  # its noise is drawn by another product


def test_every_law_is_checked():
    cases = [case for case in _below(NoiseLawConformance) if case is not AdditiveConformance]
    checked = {type(case().law()) for case in cases}
    assert checked == set(LAWS.values()) - {DiscreteGaussian}  # tested by enumeration


def _below(kind):
    return [each for sub in kind.__subclasses__() for each in (sub, *_below(sub))]


SHAPE = (3, 4, 5)


@pytest.mark.parametrize(
    ("law", "threat", "expected"),
    [
        (Gaussian(1), L2(0.3), 0.3),
        (Gaussian(1), L1(0.3), 0.3),
        (Gaussian(1), Linf(0.3), 0.3 * math.sqrt(60)),
        (Gaussian(1), L0(1), None),
        (Laplace(1), Linf(0.1), 6.0),
        (Uniform(1), L2(0.1), 0.1 * math.sqrt(60)),
        (UniformLinf(1, 60), L2(0.1), 0.1),
        (Ablation(2, 20, 0), L0(3), 3),
        (Ablation(2, 20, 0), Pixels(3), 3),
        (Ablation(2, 20, 0), Patch(3), 9),
        (Ablation(2, 20, 0), Patch(9), 20),
        (Ablation(2, 20, 0), L1(0.1), None),
    ],
)
def test_covering_ball(law, threat, expected):
    found = covering(law.norm, threat, SHAPE)
    if expected is None:
        assert found is None
    else:
        assert found == pytest.approx(expected, rel=1e-12)
        assert found >= expected * (1 - 2.0**-52)


def test_a_patch_on_more_channel_axes_changes_more_pixels():
    """Ablation's pixel has the channels of the first axis alone, a patch those of all axes but two."""
    x = torch.zeros(2, 3, 4, 4)
    other = x.clone()
    other[:, :, 1:3, 1:3] = 1
    assert Patch(2).around(x[None], (0.0, 1.0)).contains(other[None]).all()
    changed = int((x != other).any(0).sum())
    assert changed == 12
    assert covering(0, Patch(2), tuple(x.shape)) >= changed
