"""Reduction of the bit depth, which every value of the input passes by itself."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from certify.defences.base import Transform
from certify.defences.bpda import rounded
from certify.errors import UsageError


@dataclass(frozen=True)
class BitDepth(Transform):
    """Values rounded to ``2^bits`` equal steps of the input range (Xu, Evans & Qi 2018, section 3.1).

    Ties go to the even step. Gradient attacks see the identity.
    Raises ``UsageError`` unless 1 <= bits <= 16.
    """

    bits: int

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 16:
            raise UsageError(f"bits of BitDepth is {self.bits}; give an integer from 1 to 16")

    def check(self, shape: tuple[int, ...]) -> None:
        """Any shape will do."""

    def __call__(self, x: Tensor, valid: tuple[float, float]) -> Tensor:
        low, high = valid
        steps = (1 << self.bits) - 1
        level = rounded((x - low) * (steps / (high - low)))
        return level * ((high - low) / steps) + low
