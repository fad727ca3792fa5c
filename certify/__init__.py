"""Certified robustness of neural networks: what is provable, what is attackable, and the evidence for both.

Names load on first use, so that ``import certify`` costs little.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from certify.attacks import (
        ALMA,
        APGD,
        BIM,
        DDN,
        EAD,
        FAB,
        FGSM,
        FMN,
        MIFGSM,
        PGD,
        AttackEnsemble,
        CarliniWagner,
        CarliniWagnerLinf,
        DeepFool,
        EoT,
        FiniteDifferences,
        FromBounds,
        HopSkipJump,
        ParameterSearch,
        PatchEoT,
        PatchSearch,
        SigmaZero,
        Square,
        SuperDeepFool,
        UniversalPGD,
    )
    from certify.checkup import health
    from certify.decide import evaluate
    from certify.deterministic import CROWN, IBP, BranchAndBound
    from certify.diagnosis import Health
    from certify.empirical import Attacked, Distances, attack, distances
    from certify.errors import CertifyError, Contradiction
    from certify.evidence import Evidence
    from certify.model import Model, load
    from certify.portfolio import Portfolio
    from certify.query import Query
    from certify.radius import CertifiedRadii, certified_radius
    from certify.reporting import report
    from certify.result import Result, SampleResult
    from certify.run import Run
    from certify.smoothadv import SmoothAdv
    from certify.smoothing import Smoothed, Smoothing
    from certify.threat import (
        L0,
        L1,
        L2,
        Brightness,
        Contrast,
        Linf,
        Patch,
        PatchAt,
        Pixels,
        Rotation,
        Spatial,
        Tabular,
        Translation,
    )
    from certify.verdict import Verdict

_HOME = {
    "Portfolio": "certify.portfolio",
    "distances": "certify.empirical",
    "attack": "certify.empirical",
    "Distances": "certify.empirical",
    "Attacked": "certify.empirical",
    "HopSkipJump": "certify.attacks",
    "MIFGSM": "certify.attacks",
    "BIM": "certify.attacks",
    "APGD": "certify.attacks",
    "AttackEnsemble": "certify.attacks",
    "Square": "certify.attacks",
    "SuperDeepFool": "certify.attacks",
    "DeepFool": "certify.attacks",
    "FMN": "certify.attacks",
    "ALMA": "certify.attacks",
    "EAD": "certify.attacks",
    "CarliniWagner": "certify.attacks",
    "CarliniWagnerLinf": "certify.attacks",
    "SigmaZero": "certify.attacks",
    "FAB": "certify.attacks",
    "DDN": "certify.attacks",
    "EoT": "certify.attacks",
    "FGSM": "certify.attacks",
    "FromBounds": "certify.attacks",
    "FiniteDifferences": "certify.attacks",
    "PGD": "certify.attacks",
    "PatchSearch": "certify.attacks",
    "PatchEoT": "certify.attacks",
    "UniversalPGD": "certify.attacks",
    "ParameterSearch": "certify.attacks",
    "Result": "certify.result",
    "SampleResult": "certify.result",
    "evaluate": "certify.decide",
    "health": "certify.checkup",
    "BranchAndBound": "certify.deterministic",
    "CROWN": "certify.deterministic",
    "IBP": "certify.deterministic",
    "CertifyError": "certify.errors",
    "Contradiction": "certify.errors",
    "Health": "certify.diagnosis",
    "Evidence": "certify.evidence",
    "Model": "certify.model",
    "load": "certify.model",
    "Query": "certify.query",
    "CertifiedRadii": "certify.radius",
    "certified_radius": "certify.radius",
    "report": "certify.reporting",
    "Run": "certify.run",
    "SmoothAdv": "certify.smoothadv",
    "Smoothed": "certify.smoothing",
    "Smoothing": "certify.smoothing",
    "L0": "certify.threat",
    "L1": "certify.threat",
    "L2": "certify.threat",
    "Linf": "certify.threat",
    "Patch": "certify.threat",
    "Brightness": "certify.threat",
    "Contrast": "certify.threat",
    "PatchAt": "certify.threat",
    "Rotation": "certify.threat",
    "Spatial": "certify.threat",
    "Tabular": "certify.threat",
    "Translation": "certify.threat",
    "Pixels": "certify.threat",
    "Verdict": "certify.verdict",
}

__all__ = [
    "ALMA",
    "APGD",
    "BIM",
    "CROWN",
    "DDN",
    "EAD",
    "FAB",
    "FGSM",
    "FMN",
    "IBP",
    "L0",
    "L1",
    "L2",
    "MIFGSM",
    "PGD",
    "AttackEnsemble",
    "Attacked",
    "BranchAndBound",
    "Brightness",
    "CarliniWagner",
    "CarliniWagnerLinf",
    "CertifiedRadii",
    "CertifyError",
    "Contradiction",
    "Contrast",
    "DeepFool",
    "Distances",
    "EoT",
    "Evidence",
    "FiniteDifferences",
    "FromBounds",
    "Health",
    "HopSkipJump",
    "Linf",
    "Model",
    "ParameterSearch",
    "Patch",
    "PatchAt",
    "PatchEoT",
    "PatchSearch",
    "Pixels",
    "Portfolio",
    "Query",
    "Result",
    "Rotation",
    "Run",
    "SampleResult",
    "SigmaZero",
    "SmoothAdv",
    "Smoothed",
    "Smoothing",
    "Spatial",
    "Square",
    "SuperDeepFool",
    "Tabular",
    "Translation",
    "UniversalPGD",
    "Verdict",
    "attack",
    "certified_radius",
    "distances",
    "evaluate",
    "health",
    "load",
    "report",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'certify' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
