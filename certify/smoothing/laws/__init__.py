"""Laws of noise, one file each; ``LAWS`` names those that one scale in input units determines."""

from collections.abc import Callable

from certify.smoothing.laws.base import NoiseLaw
from certify.smoothing.laws.discrete_gaussian import DiscreteGaussian
from certify.smoothing.laws.gaussian import Gaussian

LAWS: dict[str, Callable[[float], NoiseLaw]] = {
    "discrete-gaussian": DiscreteGaussian,
    "gaussian": Gaussian,
}

__all__ = ["LAWS", "DiscreteGaussian", "Gaussian", "NoiseLaw"]
