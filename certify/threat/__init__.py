"""Threat models: frozen values that say what an adversary may do to an input, in input units."""

from __future__ import annotations

from certify.errors import UsageError
from certify.threat.base import Budgeted, Threat
from certify.threat.colour import Brightness, Contrast
from certify.threat.norms import L0, L1, L2, Linf, Pixels
from certify.threat.parametric import Parametric
from certify.threat.patch import Patch, PatchAt
from certify.threat.spatial import Rotation, Spatial, Translation
from certify.threat.tabular import Tabular

THREATS: dict[str, type[Budgeted]] = {
    "linf": Linf,
    "l2": L2,
    "l1": L1,
    "l0": L0,
    "pixels": Pixels,
    "patch": Patch,
    "brightness": Brightness,
    "contrast": Contrast,
}

__all__ = [
    "L0",
    "L1",
    "L2",
    "THREATS",
    "Brightness",
    "Budgeted",
    "Contrast",
    "Linf",
    "Parametric",
    "Patch",
    "PatchAt",
    "Pixels",
    "Rotation",
    "Spatial",
    "Tabular",
    "Threat",
    "Translation",
    "named",
]


def named(threat: Threat) -> tuple[str, float]:
    """A threat's name in ``THREATS`` and its budget; raises ``UsageError`` for one that has none."""
    for name, kind in THREATS.items():
        if isinstance(threat, kind):
            return name, threat.eps
    raise UsageError(f"{threat!r} has no name and budget; known are {', '.join(THREATS)}")
