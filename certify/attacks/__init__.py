"""Attacks: deciders that search for counterexamples."""

from certify.attacks.base import Attack
from certify.attacks.differences import FiniteDifferences
from certify.attacks.eot import EoT
from certify.attacks.fab import FAB
from certify.attacks.fgsm import FGSM
from certify.attacks.losses import LOSSES
from certify.attacks.parameters import ParameterSearch
from certify.attacks.patch import PatchSearch
from certify.attacks.pgd import PGD
from certify.attacks.universal import Universal, UniversalPGD
from certify.attacks.universal_patch import PatchEoT, UniversalPatch

__all__ = [
    "FAB",
    "FGSM",
    "LOSSES",
    "PGD",
    "Attack",
    "EoT",
    "FiniteDifferences",
    "ParameterSearch",
    "PatchEoT",
    "PatchSearch",
    "Universal",
    "UniversalPGD",
    "UniversalPatch",
]
