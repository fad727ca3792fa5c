"""Attacks: deciders that search for counterexamples."""

from certify.attacks.base import Attack
from certify.attacks.differences import FiniteDifferences
from certify.attacks.eot import EoT
from certify.attacks.fab import FAB
from certify.attacks.fgsm import FGSM
from certify.attacks.losses import LOSSES
from certify.attacks.parameters import ParameterSearch
from certify.attacks.pgd import PGD

__all__ = ["FAB", "FGSM", "LOSSES", "PGD", "Attack", "EoT", "FiniteDifferences", "ParameterSearch"]
