"""What every law of noise must satisfy, given two hooks."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields

import mpmath
import numpy as np
import pytest
import torch
from certify.smoothing.law import LAWS, NoiseLaw
from torch import Tensor


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class NoiseLawConformance:
    """Inherit, give the two hooks, and get every check.

    ``law``: the law to check. ``exact_radius``: its formula in mpmath, for p in (1/2, 1).
    """

    def law(self) -> NoiseLaw:
        raise NotImplementedError

    def exact_radius(self, p: mpmath.mpf) -> mpmath.mpf:
        raise NotImplementedError

    def test_is_a_frozen_value(self):
        law = self.law()
        assert law == self.law()
        assert hash(law) == hash(self.law())
        assert repr(law) == repr(self.law())
        with pytest.raises(FrozenInstanceError):
            setattr(law, fields(law)[0].name, 1.0)  # type: ignore[arg-type]

    def test_is_registered_and_names_its_theorem(self):
        assert type(self.law()) in LAWS.values()
        assert any(c.isdigit() for c in self.law().reference)
        assert self.law().norm in (0, 1, 2, math.inf)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("shape", [(1,), (3,), (2, 4, 4)])
    @pytest.mark.parametrize("count", [1, 17])
    def test_perturb_shape_and_dtype(self, dtype, shape, count):
        x = torch.linspace(0, 1, math.prod(shape), dtype=dtype).view(shape)
        kept = x.clone()
        noisy = self.law().perturb(x, count, generator())
        assert noisy.shape == (count, *shape)
        assert noisy.dtype == dtype
        assert torch.equal(x, kept)

    def test_randomness_is_the_generators_alone(self):
        x, law = torch.zeros(5), self.law()
        before = torch.get_rng_state()
        first = law.perturb(x, 50, generator(1))
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(first, law.perturb(x, 50, generator(1)))
        assert not torch.equal(first, law.perturb(x, 50, generator(2)))

    def test_draws_and_coordinates_are_uncorrelated(self):
        draws = 20_000
        noise = self.law().perturb(torch.zeros(4, dtype=torch.float64), draws, generator())
        together = torch.cat([noise[:-1], noise[1:]], dim=1)  # neighbours in a row of draws, too
        off = torch.corrcoef(together.T) - torch.eye(8, dtype=torch.float64)
        assert off.abs().max() < 5 / math.sqrt(draws)

    def test_radius_rises_from_zero_and_never_exceeds_the_formula(self):
        p = np.unique(np.concatenate([np.linspace(0, 1, 203)[:-1], 1 - 10.0 ** -np.arange(3, 16)]))
        radius = self.law().radius(p)
        assert radius.shape == p.shape
        assert radius.dtype == np.float64
        assert (radius[p <= 0.5] == 0).all()
        assert (np.diff(radius) >= 0).all()
        with mpmath.workdps(50):
            for value, r in zip(p[p > 0.5].tolist(), radius[p > 0.5].tolist(), strict=True):
                exact = self.exact_radius(mpmath.mpf(value))
                assert exact * (1 - mpmath.mpf(10) ** -12) <= mpmath.mpf(r) <= exact

    @pytest.mark.parametrize("share", [0.6, 0.8, 0.95])
    @pytest.mark.parametrize("kind", ["halfspace", "ball"])
    def test_votes_survive_inside_the_radius(self, kind, share):
        """Sampling oracle: a class with probability ``share`` at x keeps a majority within the radius."""
        draws, law = 200_000, self.law()
        x = torch.tensor([0.3, -0.2], dtype=torch.float64)
        score = _scores(law.perturb(x, draws, generator(3)), kind)
        threshold = score.quantile(1 - share)
        radius = float(law.radius(np.array([share]))[0])
        for step in _steps(law.norm):
            moved = _scores(law.perturb(x + radius * step, draws, generator(4)), kind)
            assert (moved > threshold).double().mean() > 0.5 - 5 * 0.5 / math.sqrt(draws)


def _scores(z: Tensor, kind: str) -> Tensor:
    """Scores of which the upper level sets are half-spaces or discs."""
    return z[:, 0] + 0.5 * z[:, 1] if kind == "halfspace" else -z.square().sum(1)


def _steps(norm: float) -> list[Tensor]:
    """Directions of length 1 in the norm, the worst for the half-space among them."""
    angles = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    around = torch.stack([angles.cos(), angles.sin()], dim=1)
    worst = -torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    every = torch.cat([around, worst])
    return list(every / torch.linalg.vector_norm(every, ord=norm, dim=1, keepdim=True))
