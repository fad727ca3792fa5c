"""Randomized smoothing: what a classifier that votes over noisy copies of its input provably does.

``noise`` numbers that depend on what they are for alone; ``laws`` how an input is perturbed, and what votes
over such copies certify; ``exact`` noise without floating point; ``modes`` how many draws, and what is
concluded from them; ``intervals`` bounds from counts; ``engine`` draws and counts for many inputs side by
side; ``certifier`` puts the stages together; ``smoothed`` is the model that all of this speaks about;
``derandomized`` smoothing by all copies of a finite law, where nothing is left to chance;
``statements`` what certificates of many inputs say together; ``transfer`` carries them over to a model that
nearly always agrees, such as an exported or quantised one.
"""

from certify.smoothing.certifier import Smoothing
from certify.smoothing.derandomized import FINITE_LAWS, Bands, Blocks, Derandomized, Enumerated, Splitting
from certify.smoothing.exact import nearest_images
from certify.smoothing.execution import Execution
from certify.smoothing.laws import (
    LAWS,
    Ablation,
    DiscreteGaussian,
    Ellipsoid,
    Gaussian,
    Laplace,
    NoiseLaw,
    Uniform,
    UniformLinf,
)
from certify.smoothing.modes import MODES, Anytime, Decide, Fixed, Grid, Mode, Planned, TwoSided
from certify.smoothing.result import CertifiedAccuracy, SmoothingResult, certified_accuracy
from certify.smoothing.smoothed import Smoothed
from certify.smoothing.transfer import Transfer, Transferred

__all__ = [
    "FINITE_LAWS",
    "LAWS",
    "MODES",
    "Ablation",
    "Anytime",
    "Bands",
    "Blocks",
    "CertifiedAccuracy",
    "Decide",
    "Derandomized",
    "DiscreteGaussian",
    "Ellipsoid",
    "Enumerated",
    "Execution",
    "Fixed",
    "Gaussian",
    "Grid",
    "Laplace",
    "Mode",
    "NoiseLaw",
    "Planned",
    "Smoothed",
    "Smoothing",
    "SmoothingResult",
    "Splitting",
    "Transfer",
    "Transferred",
    "TwoSided",
    "Uniform",
    "UniformLinf",
    "certified_accuracy",
    "nearest_images",
]
