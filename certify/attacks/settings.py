"""Checks of the settings that attacks share, and the schedules of their steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from certify.attacks.losses import LOSSES
from certify.errors import UsageError


def check_counts(owner: str, least: int, **counts: int) -> None:
    """Raises ``UsageError`` for a count below ``least``."""
    for name, value in counts.items():
        if value < least:
            raise UsageError(f"{name} of {owner} is {value}; give an integer >= {least}")


def check_between(owner: str, low: float, high: float, **numbers: float) -> None:
    """Raises ``UsageError`` for a number that is not finite, not above ``low`` or above ``high``."""
    for name, value in numbers.items():
        if not (math.isfinite(value) and low < value <= high):
            limit = f" and at most {high:g}" if math.isfinite(high) else ""
            raise UsageError(f"{name} of {owner} is {value}; give a number above {low:g}{limit}")


def check_loss(owner: str, loss: str) -> None:
    """Raises ``UsageError`` for a loss that there is not."""
    if loss not in LOSSES:
        raise UsageError(f"unknown loss {loss!r} of {owner}; choose one of {', '.join(sorted(LOSSES))}")


def cosine(first: float, last: float, step: int, steps: int) -> float:
    """From ``first`` at step 0 to ``last`` at ``steps`` along half a period (Loshchilov & Hutter 2017)."""
    return last + (first - last) * (1 + math.cos(math.pi * step / steps)) / 2


# The share of the first step's length that a step has, by its number and that of all steps.
SCHEDULES: Mapping[str, Callable[[int, int], float]] = {
    "constant": lambda step, steps: 1.0,
    "linear": lambda step, steps: 1 - step / steps,
    "cosine": lambda step, steps: cosine(1.0, 0.0, step, steps),
}
