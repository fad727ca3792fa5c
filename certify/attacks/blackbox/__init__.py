"""Attacks that are told scores or decisions alone: no gradients, and a budget of queries per sample."""

from certify.attacks.blackbox.boundary import Boundary
from certify.attacks.blackbox.estimates import NES, SPSA
from certify.attacks.blackbox.geoda import GeoDA
from certify.attacks.blackbox.hopskipjump import HopSkipJump
from certify.attacks.blackbox.rays import RayS
from certify.attacks.blackbox.substitute import Substitute
from certify.attacks.blackbox.transfer import TransferAttack

__all__ = ["NES", "SPSA", "Boundary", "GeoDA", "HopSkipJump", "RayS", "Substitute", "TransferAttack"]
