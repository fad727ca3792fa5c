"""What attacks show: accuracy under attack, distances to the nearest failures, and what they cost."""

from certify.empirical.attacked import Attacked, attack, union
from certify.empirical.export import nearest_image, robustbench
from certify.empirical.nearest import Distances, distances, tightness

__all__ = [
    "Attacked",
    "Distances",
    "attack",
    "distances",
    "nearest_image",
    "robustbench",
    "tightness",
    "union",
]
