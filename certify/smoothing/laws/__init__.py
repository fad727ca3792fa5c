"""Laws of noise, one file each; ``LAWS`` names them all."""

from collections.abc import Callable, Mapping

from certify.smoothing.laws.ablation import Ablation
from certify.smoothing.laws.base import NoiseLaw, Perturbation
from certify.smoothing.laws.covering import covering
from certify.smoothing.laws.discrete_gaussian import DiscreteGaussian
from certify.smoothing.laws.ellipsoid import Ellipsoid
from certify.smoothing.laws.gaussian import Gaussian
from certify.smoothing.laws.laplace import Laplace
from certify.smoothing.laws.uniform import Uniform, UniformLinf

# Those that one scale in input units determines.
SCALED: Mapping[str, Callable[[float], NoiseLaw]] = {
    "discrete-gaussian": DiscreteGaussian,
    "gaussian": Gaussian,
    "laplace": Laplace,
    "uniform": Uniform,
}
LAWS: Mapping[str, Callable[..., NoiseLaw]] = {
    **SCALED,
    "ablation": Ablation,
    "ellipsoid": Ellipsoid,
    "uniform-linf": UniformLinf,
}

__all__ = [
    "LAWS",
    "SCALED",
    "Ablation",
    "DiscreteGaussian",
    "Ellipsoid",
    "Gaussian",
    "Laplace",
    "NoiseLaw",
    "Perturbation",
    "Uniform",
    "UniformLinf",
    "covering",
]
