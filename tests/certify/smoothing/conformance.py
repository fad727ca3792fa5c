"""What every law of noise must satisfy: inherit, give the hooks, and get every check."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

from certify.noise import Draws, stream_key
from certify.smoothing.laws import LAWS, NoiseLaw

CPU = torch.device("cpu")


def draws(count: int, seed: int = 0, first: int = 0, dtype: torch.dtype = torch.float64) -> Draws:
    return Draws(stream_key(seed, "law", 0, "test"), first, count, CPU, dtype)


class NoiseLawConformance:
    """``law``: one for inputs of ``shape``. ``exact_radius``: its formula in mpmath, p_lower > p_other."""

    shape: tuple[int, ...] = (2, 3)

    def law(self) -> NoiseLaw:
        raise NotImplementedError

    def exact_radius(self, p_lower: mpmath.mpf, p_other: mpmath.mpf) -> mpmath.mpf:
        raise NotImplementedError

    def input(self, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.linspace(0.1, 1, math.prod(self.shape), dtype=dtype).view(self.shape)

    def test_is_a_frozen_value(self):
        law = self.law()
        assert law == self.law()
        assert hash(law) == hash(self.law())
        assert repr(law) == repr(self.law())
        with pytest.raises(FrozenInstanceError):
            setattr(law, fields(law)[0].name, 1.0)

    def test_is_registered_and_names_its_theorem(self):
        assert type(self.law()) in LAWS.values()
        assert any(c.isdigit() for c in self.law().reference)
        assert self.law().norm in (0, 1, 2, math.inf)
        assert "inputs" in self.law().domain

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("count", [1, 17])
    def test_perturb_shape_and_dtype(self, dtype, count):
        x = self.input(dtype)
        kept = x.clone()
        noisy = self.law().perturb(x, draws(count, dtype=dtype))
        assert noisy.shape == (count, *self.shape)
        assert noisy.dtype == dtype
        assert torch.equal(x, kept)

    def test_a_copy_is_a_function_of_its_own_draw(self):
        x, law = self.input(), self.law()
        before = torch.get_rng_state()
        whole = law.perturb(x, draws(50, 1))
        assert torch.equal(torch.get_rng_state(), before)
        parts = [law.perturb(x, draws(n, 1, first)) for first, n in ((0, 7), (7, 33), (40, 10))]
        torch.testing.assert_close(whole, torch.cat(parts), rtol=1e-14, atol=1e-14)
        assert not torch.equal(whole, law.perturb(x, draws(50, 2)))

    def probabilities(self) -> list[tuple[float, float]]:
        tops = [0.5 + 1e-9, *np.linspace(0.51, 0.99, 25).tolist(), *(1 - 10.0 ** -np.arange(3, 15)).tolist()]
        binary = [(p, float(np.nextafter(1 - p, 1))) for p in tops]
        return binary + [(p, share * (1 - p)) for p in (0.3, 0.45, 0.5, 0.7, 0.9) for share in (0.1, 0.4)]

    def test_radius_never_exceeds_the_formula(self):
        pairs = self.probabilities()
        found = self.law().radius(*np.array(pairs).T)
        assert found.shape == (len(pairs),)
        assert found.dtype == np.float64
        with mpmath.workdps(60):
            for (p, q), radius in zip(pairs, found.tolist(), strict=True):
                exact = self.exact_radius(mpmath.mpf(p), mpmath.mpf(q))
                # relative, but the lead p - q of probabilities is only good to an ulp of them
                below = exact * (1 - mpmath.mpf(10) ** -12) * (1 - mpmath.mpf(2) ** -51 / (p - q))
                assert below <= mpmath.mpf(radius) <= exact

    def test_radius_is_zero_without_a_lead_and_monotone(self):
        p = np.linspace(0, 1, 203)[:-1]
        rest = np.nextafter(1 - p, 1)
        found = self.law().radius(p, rest)
        assert (found[p <= 0.5] == 0).all()
        assert (np.diff(found) >= 0).all()
        assert found[-1] > 0
        assert (self.law().radius(p, rest / 2) >= found).all()


class AdditiveConformance(NoiseLawConformance):
    """A law that adds noise. Hooks: ``flat(d)``, the law for inputs (d,); ``density(z)``, its density at the
    noise z (points, d) up to a factor; ``reach``, half the width of a box that holds nearly all noise.

    The truth is the worst that the lemma of Neyman & Pearson allows, found on a grid without any formula: the
    class holds the cells that a shift makes least likely, another class those it makes most likely.
    """

    reach: float

    def flat(self, d: int) -> NoiseLaw:
        raise NotImplementedError

    def density(self, z: Tensor) -> Tensor:
        raise NotImplementedError

    def directions(self, d: int) -> Tensor:
        """Directions of length 1 in the law's norm, axes and diagonals among them."""
        if d == 1:
            return torch.ones(1, 1, dtype=torch.float64)
        angles = torch.arange(8, dtype=torch.float64) * (math.pi / 8)
        around = torch.stack([angles.cos(), angles.sin()], dim=1)
        return around / torch.linalg.vector_norm(around, ord=self.flat(d).norm, dim=1, keepdim=True)

    def test_draws_and_coordinates_are_uncorrelated(self):
        noise = self.flat(2).perturb(torch.zeros(2, dtype=torch.float64), draws(20_001))
        together = torch.cat([noise[:-1], noise[1:]], dim=1)  # neighbours in a row of draws, too
        off = torch.corrcoef(together.T)[:2, 2:]
        assert off.abs().max() < 5 / math.sqrt(20_000)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_draws_follow_the_density(self, dtype):
        """Chi-square over 24 x 24 cells that hold all but the rarest noise."""
        n, sides = 100_000, 24
        x = torch.tensor([0.5, -2.0], dtype=dtype)
        noise = self.flat(2).perturb(x, draws(n, dtype=dtype)).double() - x.double()
        points, width = _grid(2, sides * 15, self.reach)
        mass = _normalised(self.density(points))
        place = ((points + self.reach) / (width * 15)).long()
        expected = torch.zeros(sides, sides, dtype=torch.float64)
        expected.index_put_((place[:, 0], place[:, 1]), n * mass, accumulate=True)
        cell = ((noise + self.reach) / (width * 15)).floor().long().clamp(0, sides - 1)
        observed = torch.zeros_like(expected)
        observed.index_put_((cell[:, 0], cell[:, 1]), torch.ones(n, dtype=torch.float64), accumulate=True)
        full = expected > 20
        statistic = ((observed - expected).square() / expected)[full].sum()
        cells = int(full.sum())
        assert cells > 60
        assert statistic < cells + 6 * math.sqrt(2 * cells)
        assert observed[~full].sum() < expected[~full].sum() + 6 * math.sqrt(float(expected[~full].sum()) + 1)

    @pytest.mark.parametrize(
        ("d", "p", "q"),
        [(1, 0.6, 0.4), (1, 0.9, 0.1), (1, 0.45, 0.2), (1, 0.7, 0.1), (2, 0.9, 0.1), (2, 0.45, 0.2)],
    )
    def test_radius_is_the_worst_case(self, d, p, q):
        """Against every direction the truth is at least the radius, and the worst direction attains it."""
        radius = float(self.flat(d).radius(np.array([p]), np.array([q]))[0])
        true = [self.true_radius(direction, p, q, radius) for direction in self.directions(d)]
        assert radius * 0.98 < min(true) < radius * 1.02

    def true_radius(self, direction: Tensor, p: float, q: float, radius: float) -> float:
        """Where along a direction the class first may lose its lead; at most three radii."""
        low, high = 0.0, 3 * radius
        while high - low > radius / 200:
            middle = (low + high) / 2
            kept = self.worst_lead(middle * direction, p, q) > 0
            low, high = (middle, high) if kept else (low, middle)
        return (low + high) / 2

    def worst_lead(self, shift: Tensor, p: float, q: float) -> float:
        sides = 40_001 if len(shift) == 1 else 251
        points, _ = _grid(len(shift), sides, self.reach + float(shift.abs().max()))
        total = self.density(points).sum()
        here, there = self.density(points) / total, self.density(points - shift) / total
        ratio = torch.where(here > 0, there / here, torch.inf)
        order = ratio.argsort()
        return _kept(here[order], there[order], p) - _kept(here[order.flip(0)], there[order.flip(0)], q)


def _grid(d: int, sides: int, reach: float) -> tuple[Tensor, float]:
    """The middles of cells of a box around 0, (sides^d, d), and the cells' width."""
    width = 2 * reach / sides
    axis = -reach + width * (torch.arange(sides, dtype=torch.float64) + 0.5)
    return torch.cartesian_prod(*[axis] * d).view(-1, d), width


def _normalised(density: Tensor) -> Tensor:
    return density / density.sum()


def _kept(here: Tensor, there: Tensor, mass: float) -> float:
    """What the first cells that hold ``mass`` before the shift hold after it; the last one in part."""
    before = here.cumsum(0)
    share = ((mass - before + here) / here.where(here > 0, torch.ones(()).double())).clamp(0, 1)
    share = share.where(here > 0, (before < mass).double())
    return float((there * share).sum())
