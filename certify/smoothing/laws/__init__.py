"""Laws of noise, one file each; ``LAWS`` names those that one scale in input units determines."""

from collections.abc import Callable

from certify.smoothing.laws.base import NoiseLaw
from certify.smoothing.laws.gaussian import Gaussian

LAWS: dict[str, Callable[[float], NoiseLaw]] = {"gaussian": Gaussian}

__all__ = ["LAWS", "Gaussian", "NoiseLaw"]
