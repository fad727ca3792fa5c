"""Attacks: deciders that search for counterexamples."""

from certify.attacks.base import Attack
from certify.attacks.fgsm import FGSM
from certify.attacks.losses import LOSSES
from certify.attacks.pgd import PGD

__all__ = ["FGSM", "LOSSES", "PGD", "Attack"]
