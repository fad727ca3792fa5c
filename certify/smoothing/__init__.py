"""Randomized smoothing: what a classifier that votes over noisy copies of its input provably does.

``law`` what noise, and the radius it certifies; ``sampling`` counts votes; ``intervals`` turns counts into
bounds that hold with probability 1 - alpha; ``certifier`` puts the stages together; ``smoothed`` is the
model that all of this speaks about.
"""

from certify.smoothing.certifier import Smoothing
from certify.smoothing.law import LAWS, Gaussian, NoiseLaw
from certify.smoothing.result import CertifiedAccuracy, SmoothingResult, certified_accuracy
from certify.smoothing.smoothed import Smoothed

__all__ = [
    "LAWS",
    "CertifiedAccuracy",
    "Gaussian",
    "NoiseLaw",
    "Smoothed",
    "Smoothing",
    "SmoothingResult",
    "certified_accuracy",
]
