"""The normal law on whole numbers, as integer thresholds for words of 60 fair bits."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from certify.smoothing.exact.normal import BITS, half_mass

# Between two pixels lie at most 255 steps: larger noise ends at the same clipped pixel as noise of 255.
REACH = 255
WORD_BITS = 60
_HALF = 1 << (WORD_BITS - 1)
_GUIDE_BITS = 14
_UNSURE = -(1 << 15)


@dataclass(frozen=True, eq=False)
class Table:
    """The law of k = clip(round(scale * g), -255, 255), as it is sampled; g is standard normal.

    thresholds: int64 (510,), rising. A word's upper 60 bits, read as a signed number u, give
    k = -255 + #{thresholds <= u}. With fair bits P[k <= j] is exactly 1/2 + thresholds[j + 255] / 2^60:
    thresholds are the ideal distribution function less 1/2, in units of 2^-60, rounded to nearest.
    total_variation: at least the distance max_A |P_sampled[A] - P_ideal[A]| of this law from the ideal one.
    guide: int16 (2^14,), k for each value of u's upper bits where they decide, else a mark.
    """

    thresholds: Tensor
    guide: Tensor
    total_variation: Fraction

    def numbers(self, words: Tensor) -> Tensor:
        """One k for each word of 64 fair bits, whose lowest four are not used: int16, of words' shape."""
        if words.device.type != "cpu":
            return self._search(words).to(torch.int16)  # finding the unsure ones would wait for the device
        cells = (words >> (64 - _GUIDE_BITS)).add_(len(self.guide) // 2)
        found = self.guide.index_select(0, cells.flatten())
        unsure = torch.from_numpy(np.flatnonzero(found.numpy() == _UNSURE))
        found[unsure] = self._search(words.flatten()[unsure]).to(torch.int16)
        return found.view(words.shape)

    def _search(self, words: Tensor) -> Tensor:
        uniform = words >> (64 - WORD_BITS)
        return torch.bucketize(uniform, self.thresholds, right=True, out_int32=True).sub_(REACH)

    def masses(self) -> tuple[int, ...]:
        """P[k] * 2^60 for k = -255 ... 255."""
        ends = [-_HALF, *self.thresholds.tolist(), _HALF]
        return tuple(b - a for a, b in pairwise(ends))


@lru_cache(maxsize=16)
def table(scale: Fraction, device: torch.device) -> Table:
    """The table of a standard deviation ``scale`` > 0, in steps between whole numbers."""
    enclosed = [half_mass((k + Fraction(1, 2)) / scale) for k in range(REACH)]
    shift = BITS - WORD_BITS
    upper = [(low + high + (1 << shift)) >> (shift + 1) for low, high in enclosed]
    # the ends of each threshold's error, in 2^-BITS
    errors = [
        ((each << shift) - high, (each << shift) - low)
        for each, (low, high) in zip(upper, enclosed, strict=True)
    ]
    thresholds = np.array([-each for each in reversed(upper)] + upper, dtype=np.int64)
    return Table(
        torch.from_numpy(thresholds).to(device),
        torch.from_numpy(_guide(thresholds)).to(device),
        Fraction(_half_sum(errors), 1 << BITS),
    )


def _half_sum(errors: list[tuple[int, int]]) -> int:
    """At least half the sum of |P_sampled[k] - P_ideal[k]| over all k, in 2^-BITS.

    errors: intervals of the errors of P[k <= j], j = 0 ... 254; those below 0 mirror them. So k and -k err
    alike, and half of both is one of them; zero errs by twice the first, since it lies between two mirrored.
    """
    ends = [*errors, (0, 0)]
    steps = [_largest(b[0] - a[1], b[1] - a[0]) for a, b in pairwise(ends)]
    return _largest(*errors[0]) + sum(steps)


def _largest(low: int, high: int) -> int:
    return max(-low, high)


def _guide(thresholds: npt.NDArray[np.int64]) -> npt.NDArray[np.int16]:
    """k for every cell of words that no threshold cuts, a mark for those that one does."""
    size = 1 << (WORD_BITS - _GUIDE_BITS)
    starts = np.arange(-_HALF, _HALF, size, dtype=np.int64)
    first = np.searchsorted(thresholds, starts, side="right")
    last = np.searchsorted(thresholds, starts + (size - 1), side="right")
    return np.where(first == last, first - REACH, _UNSURE).astype(np.int16)
