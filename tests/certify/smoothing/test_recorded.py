"""Certification logs published by Cohen et al. (2019): their radii are on our grid of radii."""

import csv

import numpy as np
import pytest
from scipy.stats import beta, norm

from certify.smoothing import Gaussian
from certify.smoothing.intervals import lower_bounds

N = 100_000


def nearest_counts(radii: np.ndarray, sigma: float, alpha: float) -> np.ndarray:
    """The counts whose radii, by plain formulas, lie closest to the recorded ones."""
    counts = np.arange(N // 2, N + 1)
    plain = sigma * norm.ppf(beta.ppf(alpha, counts, N - counts + 1))
    above = np.searchsorted(plain, radii).clip(1, len(plain) - 1)
    return counts[above - (radii - plain[above - 1] < plain[above] - radii)]


@pytest.mark.parametrize(("sigma", "alpha"), [(0.12, 1e-3), (0.25, 1e-2), (0.5, 1e-2)])
def test_recorded_radii(data_dir, sigma, alpha):
    path = data_dir / "datasets" / "cohen_certify_logs" / f"cifar10_resnet110_sigma{sigma:.2f}.tsv"
    with path.open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    radii = np.array([float(r["radius"]) for r in rows if r["predict"] != "-1"])
    assert len(radii) > 300
    p_lower = lower_bounds(nearest_counts(radii, sigma, alpha), N, alpha)
    ours = Gaussian(sigma).radius(p_lower, 1 - p_lower)
    assert [f"{r:.3g}" for r in ours] == [f"{r:.3g}" for r in radii]
    # the largest is N of N: another alpha would put it elsewhere
    p_top = lower_bounds(np.array([N]), N, alpha)
    top = Gaussian(sigma).radius(p_top, 1 - p_top)[0]
    assert f"{radii.max():.3g}" == f"{top:.3g}"
