"""Exact noise on 8-bit images: its law, its radius against enumerated truths, and what floats give away."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from scipy.stats import chisquare

import certify as ct
from certify.errors import UsageError
from certify.noise import Draws, stream_key
from certify.query import Query
from certify.smoothing import Smoothing
from certify.smoothing.exact.images import levels
from certify.smoothing.intervals import lower_bounds
from certify.smoothing.laws import DiscreteGaussian, Gaussian, NoiseLaw
from tests.certify.smoothing.models import halfspace, model_of

CPU = torch.device("cpu")
UNIT = 1 << 60
ULP32 = 2.0**-32


def draws(count: int, first: int = 0, seed: int = 0, dtype: torch.dtype = torch.float32) -> Draws:
    return Draws(stream_key(seed, "test", 0, "test"), first, count, CPU, dtype)


def pixel_laws(law: DiscreteGaussian) -> list[list[int]]:
    """For each pixel v the law of the noisy one, in 2^-60: masses of noise, what lies outside clipped."""
    masses, laws = law.table().masses(), []
    for v in range(256):
        found = [0] * 256
        for k, mass in zip(range(-255, 256), masses, strict=True):
            found[min(max(v + k, 0), 255)] += mass
        laws.append(found)
    return laws


def certified(law: NoiseLaw, p_lower: float, p_other: float | None = None) -> float:
    other = 1 - p_lower if p_other is None else p_other
    return float(law.radius(np.array([p_lower]), np.array([other]))[0])


def below(share: Fraction) -> float:
    return math.nextafter(float(share), -1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1,), (3,), (2, 4, 4)])
def test_perturbed_images_are_images(dtype, shape):
    x = (torch.arange(math.prod(shape)) * 7).to(dtype).div(255).view(shape)
    kept = x.clone()
    noisy = DiscreteGaussian(0.3).perturb(x, draws(50))
    assert noisy.shape == (50, *shape)
    assert noisy.dtype == dtype
    assert torch.equal(x, kept)
    whole = (noisy * 255).round()
    assert torch.equal(whole / 255, noisy)
    assert whole.min() >= 0
    assert whole.max() <= 255
    assert len(whole.unique()) > 20


def test_a_copy_depends_on_its_own_draw_alone():
    x, law = torch.full((5,), 0.2), DiscreteGaussian(0.1)
    whole = law.perturb(x, draws(40))
    assert torch.equal(law.perturb(x, draws(7, first=13)), whole[13:20])
    assert not torch.equal(law.perturb(x, draws(40, seed=1)), whole)


def test_noise_is_the_same_for_every_image_and_dtype():
    law = DiscreteGaussian(0.05)
    images = [torch.tensor([100.0, 120.0, 140.0], dtype=dtype) for dtype in (torch.float32, torch.float64)]
    first, second = (law.perturb(x / 255, draws(30)) * 255 - x for x in images)
    assert torch.equal(first.round(), second.round().float())
    moved = law.perturb((images[0] + 9) / 255, draws(30)) * 255 - images[0] - 9
    assert torch.equal(first.round(), moved.round())


@pytest.mark.parametrize("v", [3, 128])
def test_noisy_pixels_follow_the_exact_law(v):
    count, law = 200_000, DiscreteGaussian(0.08)
    noisy = law.perturb(torch.full((2,), float(v)) / 255, draws(count // 2, seed=v))
    seen = np.bincount((noisy * 255).round().int().flatten().numpy(), minlength=256)
    expected = np.array(pixel_laws(law)[v], dtype=np.float64) / UNIT * count
    common = expected >= 20
    observed = np.append(seen[common], seen[~common].sum())
    assert chisquare(observed, np.append(expected[common], expected[~common].sum())).pvalue > 1e-4


def test_off_grid_and_large_inputs_are_refused():
    with pytest.raises(UsageError, match="8-bit images"):
        DiscreteGaussian(0.25).perturb(torch.tensor([0.5]), draws(2))
    with pytest.raises(UsageError, match="elements=3"):
        DiscreteGaussian(0.25, elements=2).perturb(torch.zeros(3), draws(2))


def test_values():
    assert DiscreteGaussian(1) == DiscreteGaussian(1.0)
    assert repr(DiscreteGaussian(1)) == "DiscreteGaussian(sigma=1.0, elements=1048576)"
    assert DiscreteGaussian.domain == "8-bit images"
    for sigma in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="sigma"):
            DiscreteGaussian(sigma)
    for elements in (0, 1.5, True):
        with pytest.raises(UsageError, match="elements"):
            DiscreteGaussian(0.5, elements)


def test_total_variation_grows_with_the_elements():
    one = Fraction(DiscreteGaussian(0.25, 1).total_variation)
    assert DiscreteGaussian(0.25).table().total_variation <= one < 2 * 255 * Fraction(1, 1 << 61)
    many = Fraction(DiscreteGaussian(0.25, 3072).total_variation)
    assert one * 3071 < many < one * 3073


def test_radius_loses_almost_nothing():
    p = np.linspace(0.5, 0.9999, 301)
    ours, formula = DiscreteGaussian(0.4).radius(p, 1 - p), Gaussian(0.4).radius(p, 1 - p)
    assert (ours <= formula).all()
    assert (ours >= formula * (1 - 2.0**-21) - 1e-7).all()
    assert ours[0] == 0
    assert (np.diff(ours) > 0).all()
    assert certified(DiscreteGaussian(0.4), 0.4, 0.2) > 0.1
    assert certified(DiscreteGaussian(0.4), 0.2, 0.4) == 0
    assert certified(DiscreteGaussian(0.4), 0.0) == certified(DiscreteGaussian(0.4), 0.0, 0.0) == 0


@pytest.mark.parametrize("elements", [1, 1 << 20, 1 << 44, 1 << 48, 1 << 50])
def test_radius_survives_both_steps_between_the_laws(elements):
    """At the radius the label leads by the distance of the laws, there and back; a little beyond, no more."""
    law = DiscreteGaussian(0.5, elements)
    t = mpmath.mpf(law.total_variation)

    def lead(p: float, q: float, r: float) -> mpmath.mpf:
        a, b = (mpmath.sqrt(2) * mpmath.erfinv(2 * each - 1) for each in (p - t, q + t))
        step = mpmath.mpf(r) / law.sigma
        return (mpmath.ncdf(a - step) - t) - (mpmath.ncdf(b + step) + t)

    some = 0
    with mpmath.workdps(40):
        for p in (0.51, 0.6, 0.75, 0.9, 0.99, 0.9999):
            for q in (1 - p, (1 - p) / 2, 0.01 * (1 - p)):
                r = certified(law, p, q)
                if r > 0:
                    some += 1
                    assert lead(p, q, r) >= 0
                    assert elements > 1 << 20 or lead(p, q, r + 1e-4) < 0
    assert some >= 10


@pytest.mark.parametrize("sigma", [0.02, 0.1])
@pytest.mark.parametrize("v", [5, pytest.param(128, marks=pytest.mark.slow), 250])
def test_worst_classifier_of_one_pixel(sigma, v):
    """For every set that is worst by Neyman & Pearson, exactly: its votes hold wherever they are certified.

    Sets are filled in the order of the likelihood ratio, in integers, so that no other classifier with as
    many votes at v has fewer at w. The radius then ends less than a step before the truth.
    """
    law = DiscreteGaussian(sigma)
    laws, gaps = pixel_laws(law), []
    for w in [w for w in range(256) if 0 < abs(w - v) < 4 * 255 * sigma]:
        here, there = laws[v], laws[w]
        atoms = [z for z in range(256) if here[z] > 0]
        atoms.sort(key=lambda z: Fraction(there[z], here[z]))
        votes, kept = 0, 0
        for z in atoms:
            votes, kept = votes + here[z], kept + there[z]
            r = certified(law, below(Fraction(votes, UNIT)))
            if 2 * kept <= UNIT:  # the label does not hold at w: w must lie outside
                assert r * 255 <= abs(w - v)
                last = r
        gaps.append(abs(w - v) - last * 255)
    assert len(gaps) > 10
    assert min(gaps) < 0.6


def test_every_attack_on_two_pixels():
    """All 65,536 images of two pixels and three classes with curved borders: labels hold where certified."""
    law = DiscreteGaussian(0.06)
    kernel = np.array(pixel_laws(law), dtype=np.float64) / UNIT
    a, b = np.meshgrid(np.arange(256) / 40, np.arange(256) / 40, indexing="ij")
    classes = np.stack([np.sin(a * b), np.cos(a + 0.5 * b * b), 0.3 - np.sin(b)]).argmax(0)
    share = np.stack([kernel @ (classes == c) @ kernel.T for c in range(3)])  # votes, good to 1e-13
    label, order = share.argmax(0), np.sort(share, axis=0)
    radii = law.radius(order[2].ravel() - 1e-12, order[1].ravel() + 1e-12).reshape(256, 256) * 255
    generator, near = np.random.default_rng(0), 0.0
    assert (radii > 5).mean() > 0.2
    rows, columns = np.indices((256, 256))
    for i, j in generator.integers(0, 256, (300, 2)):
        squares = (rows - i) ** 2 + (columns - j) ** 2
        inside = squares < radii[i, j] ** 2
        assert (label[inside] == label[i, j]).all()
        truth = math.sqrt(squares[label != label[i, j]].min())
        near = max(near, radii[i, j] / truth)
    assert near > 0.8  # some radius comes close to the truth: a formula a quarter larger would fail


def last_bits(x: torch.Tensor) -> torch.Tensor:
    """Whether all small numbers are multiples of 2^-32, as sums with 1/255 are that end near zero."""
    small = x.abs() < 2.0**-10
    whole = (x / ULP32) == (x / ULP32).round()
    return (~small | whole).all(1)


def vote(law: NoiseLaw, x: torch.Tensor, n: int) -> int:
    return int(last_bits(law.perturb(x, draws(n))).sum())


class Textbook(Gaussian):
    """The product and the sum rounded one after the other, as noise is usually written down."""

    def perturb(self, x: torch.Tensor, draws: Draws) -> torch.Tensor:
        return draws.normal(tuple(x.shape)) * self.sigma + x


def test_floating_point_noise_is_fooled_and_exact_noise_is_not():
    """Jin, Ohrimenko & Rubinstein (2022), in their spirit: the last bits of a sum tell its summands.

    A float near zero is a multiple of tiny powers of two; the sum of noise and 1/255 is one of 2^-32 only. So
    a classifier can tell two images under noise, though in real arithmetic their noisy copies are alike.
    """
    n, alpha, x = 500, 1e-3, torch.zeros(4096)
    attacked = torch.full((4096,), 1.0) / 255
    distance = math.sqrt(4096) / 255
    naive, exact = Textbook(0.12), DiscreteGaussian(0.12)

    hits = n - vote(naive, x, n)
    p_lower = float(lower_bounds(np.array([hits]), n, alpha)[0])
    assert certified(naive, p_lower) > distance
    assert n - vote(naive, attacked, n) < 0.01 * n  # the certified label has lost almost every vote

    hits = vote(exact, x, n)
    p_lower = float(lower_bounds(np.array([hits]), n, alpha)[0])
    assert certified(exact, p_lower) > distance
    assert vote(exact, attacked, n) == hits


def test_certifies_as_a_law_of_smoothing():
    """A half-space of images whose distances are known: certified below them, and close."""
    smoothing = Smoothing(sigma=0.1, n=4000, law="discrete-gaussian")
    x = torch.tensor([[60.0, 7.0], [110.0, 30.0], [150.0, 255.0]]) / 255

    def split(z: torch.Tensor) -> torch.Tensor:
        score = z[:, 0] - 129.5 / 255
        return torch.stack([-score, score], dim=1)

    result = smoothing.certify(split, x)
    distance = torch.tensor([69.5, 19.5, 20.5], dtype=torch.float64) / 255
    assert result.label.tolist() == [0, 0, 1]
    assert (result.radius < distance).all()
    assert (result.radius[1:] > distance[1:] - 0.02).all()
    with pytest.raises(UsageError, match="8-bit images"):
        smoothing.certify(split, x + 0.001)


def test_records_name_the_domain():
    model = model_of(halfspace, shape=(2,), valid=(0, 1))
    for law, domain in (("discrete-gaussian", "8-bit images"), ("gaussian", "real inputs")):
        smoothing = Smoothing(sigma=0.1, n=100, law=law)
        query = Query(
            smoothing.smoothed(model), torch.full((1, 2), 0.2), torch.tensor([1]), ct.L2(0.01), samples=(0,)
        )
        [evidence] = smoothing.decide(query, ct.Run())
        assert str(evidence.detail["domain"]).startswith(domain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_distances_of_floats_do_not_stretch_the_radius(dtype):
    """The theorem measures in 255ths, callers in floats nearest to them, which may lie closer together."""
    floats = [Fraction(value) for value in levels(dtype, torch.device("cpu")).tolist()]
    closest = min((floats[b] - floats[a]) * 255 / (b - a) for b in range(256) for a in range(b))
    p = 0.99
    with mpmath.workdps(30):
        ideal = mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(p) - 1) / 4
        in_floats = ideal * closest.numerator / closest.denominator
        found = float(DiscreteGaussian(0.25).radius(np.array([p]), np.array([1 - p]))[0])
    assert found <= in_floats
    assert found > ideal * (1 - 1e-6)
