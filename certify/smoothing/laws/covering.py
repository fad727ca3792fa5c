"""What a threat asks of a theorem that is about balls of one norm."""

from __future__ import annotations

import math

from certify.threat import L0, L1, L2, Linf, Patch, Pixels, Threat


def covering(norm: float, threat: Threat, shape: tuple[int, ...]) -> float | None:
    """The radius of the smallest ball of a norm that holds all the threat reaches, rounded up.

    shape: of one input. None where no such ball says enough: counted changes are about ablation alone.
    """
    if norm == 0:
        return _counted(threat, shape)
    if not isinstance(threat, Linf | L2 | L1):
        return None
    power = 1 / norm - 1 / threat.norm
    if power <= 0:
        return threat.eps
    return float(threat.eps * math.prod(shape) ** power * (1 + 2.0**-50))


def _counted(threat: Threat, shape: tuple[int, ...]) -> float | None:
    """How many pixels may change; an element is part of one."""
    if isinstance(threat, L0 | Pixels):
        return threat.eps
    if isinstance(threat, Patch) and len(shape) > 1:
        channels = math.prod(shape[1:-2])  # those beside the first axis, which ablation's pixels do not join
        return channels * min(threat.eps, shape[-2]) * min(threat.eps, shape[-1])
    return None
