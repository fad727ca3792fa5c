"""Laws of noise: the checks that all share, and what is particular to each."""

import math

import mpmath
import pytest
import torch
from scipy.stats import kstest

from certify.errors import UsageError
from certify.smoothing import Gaussian
from tests.certify.smoothing.conformance import NoiseLawConformance, generator


class TestGaussian(NoiseLawConformance):
    def law(self):
        return Gaussian(0.4)

    def exact_radius(self, p):
        return mpmath.mpf(0.4) * mpmath.sqrt(2) * mpmath.erfinv(2 * p - 1)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_distribution(self, dtype):
        noisy = Gaussian(0.4).perturb(torch.full((3,), 2.0, dtype=dtype), 20_000, generator())
        for column in noisy.double().T:
            assert kstest(column.numpy(), "norm", args=(2.0, 0.4)).pvalue > 1e-4

    def test_is_tight_on_a_halfspace(self):
        """Beyond the radius the worst half-space does lose its majority: the check above can fail."""
        law, p = Gaussian(0.4), 0.9
        radius = law.radius(torch.tensor([p], dtype=torch.float64).numpy())[0]
        noise = law.perturb(torch.zeros(1, dtype=torch.float64), 200_000, generator())
        assert (noise - 1.05 * radius > noise.quantile(1 - p)).double().mean() < 0.49

    def test_whole_numbers_are_the_same_value(self):
        assert repr(Gaussian(1)) == repr(Gaussian(1.0)) == "Gaussian(sigma=1.0)"

    @pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
    def test_scale_outside_its_domain(self, sigma):
        with pytest.raises(UsageError, match="sigma"):
            Gaussian(sigma)
