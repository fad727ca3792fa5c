"""Attacks: deciders that search for counterexamples."""

from collections.abc import Mapping
from typing import Any

from certify.attacks.alma import ALMA
from certify.attacks.apgd import APGD
from certify.attacks.base import Attack
from certify.attacks.bim import BIM, MIFGSM
from certify.attacks.blackbox import NES, SPSA, Boundary, GeoDA, HopSkipJump, RayS, Substitute, TransferAttack
from certify.attacks.carlini_wagner import CarliniWagner, CarliniWagnerLinf
from certify.attacks.ddn import DDN
from certify.attacks.deepfool import DeepFool, SuperDeepFool
from certify.attacks.differences import FiniteDifferences
from certify.attacks.ead import EAD
from certify.attacks.ensemble import AttackEnsemble
from certify.attacks.eot import EoT
from certify.attacks.fab import FAB
from certify.attacks.fgsm import FGSM
from certify.attacks.fmn import FMN
from certify.attacks.from_bounds import FromBounds
from certify.attacks.losses import LOSSES
from certify.attacks.parameters import ParameterSearch
from certify.attacks.patch import PatchSearch
from certify.attacks.pgd import PGD
from certify.attacks.sigma_zero import SigmaZero
from certify.attacks.square import Square
from certify.attacks.universal import Universal, UniversalPGD
from certify.attacks.universal_patch import PatchEoT, UniversalPatch

# By their names in configurations: all whose parameters are numbers and words.
ATTACKS: Mapping[str, type[Any]] = {
    "fgsm": FGSM,
    "bim": BIM,
    "mifgsm": MIFGSM,
    "pgd": PGD,
    "apgd": APGD,
    "square": Square,
    "attack-ensemble": AttackEnsemble,
    "fab": FAB,
    "deepfool": DeepFool,
    "superdeepfool": SuperDeepFool,
    "ddn": DDN,
    "fmn": FMN,
    "carliniwagner": CarliniWagner,
    "carliniwagnerlinf": CarliniWagnerLinf,
    "ead": EAD,
    "alma": ALMA,
    "sigmazero": SigmaZero,
    "nes": NES,
    "spsa": SPSA,
    "boundary": Boundary,
    "hopskipjump": HopSkipJump,
    "geoda": GeoDA,
    "rays": RayS,
    "patchsearch": PatchSearch,
    "parametersearch": ParameterSearch,
    "frombounds": FromBounds,
}

__all__ = [
    "ALMA",
    "APGD",
    "ATTACKS",
    "BIM",
    "DDN",
    "EAD",
    "FAB",
    "FGSM",
    "FMN",
    "LOSSES",
    "MIFGSM",
    "NES",
    "PGD",
    "SPSA",
    "Attack",
    "AttackEnsemble",
    "Boundary",
    "CarliniWagner",
    "CarliniWagnerLinf",
    "DeepFool",
    "EoT",
    "FiniteDifferences",
    "FromBounds",
    "GeoDA",
    "HopSkipJump",
    "ParameterSearch",
    "PatchEoT",
    "PatchSearch",
    "RayS",
    "SigmaZero",
    "Square",
    "Substitute",
    "SuperDeepFool",
    "TransferAttack",
    "Universal",
    "UniversalPGD",
    "UniversalPatch",
]
