"""Defended models: values that wrap a model into another one, with a name and a digest of its own.

``JPEG(75).around(model)``, ``MeanLogits().of(a, b)``. Gradient attacks on them are adaptive by default:
steps without a useful gradient carry another backward pass, random ones are averaged by ``EoT``, and a model
that may abstain says in its specification what an attack has to achieve.
"""

from certify.defences.base import Defence, Defended, Transform
from certify.defences.bpda import straight_through
from certify.defences.ensemble import Ensemble, MajorityVote, MeanLogits, MeanProbabilities
from certify.defences.jpeg import JPEG
from certify.defences.randomised import Randomisation, Randomised, RandomNoise, RandomPadding
from certify.defences.reject import ABSTAINS, Detector, LowConfidence, Rejecting, Squeezing
from certify.defences.spatial import Mean, Median
from certify.defences.squeezing import BitDepth
from certify.defences.temperature import Temperature

__all__ = [
    "ABSTAINS",
    "JPEG",
    "BitDepth",
    "Defence",
    "Defended",
    "Detector",
    "Ensemble",
    "LowConfidence",
    "MajorityVote",
    "Mean",
    "MeanLogits",
    "MeanProbabilities",
    "Median",
    "RandomNoise",
    "RandomPadding",
    "Randomisation",
    "Randomised",
    "Rejecting",
    "Squeezing",
    "Temperature",
    "Transform",
    "straight_through",
]
