"""Numbers replaced by the middles of the intervals they fall into, certified in L1 on 8-bit inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import torch
from torch import Tensor

from certify.errors import UsageError
from certify.noise import Draws, stream_key
from certify.smoothing.derandomized.base import Shape, numbers
from certify.smoothing.exact.images import TOP, pixels
from certify.threat import Threat


@dataclass(frozen=True)
class Splitting:
    """Splitting noise with shared offsets on 8-bit inputs: ``splits`` copies, which are all there are.

    Levine & Feizi (2021), *Improved, deterministic smoothing for L1 certified robustness*, theorem 3: the
    range is cut at every 2 lam = splits / 255 from an offset on, half-way between two 8-bit numbers, and each
    number becomes the middle of its interval, cut to [0, 1]. Copy s cuts element i at offset
    (s + v_i) mod splits, in 255ths, with v_i fixed by ``seed``. Two numbers k / 255 apart are separated in at
    most k copies, whatever the v_i are, so that inputs at L1 distance r differ in at most 255 r copies.

    The statement is about 8-bit inputs, float32 or float64 numbers nearest to k/255: the input and all that
    an adversary may turn it into. lam and the noise's standard deviation sigma = lam / sqrt(3) correspond
    to those of ``Uniform``. As every threat reaches inputs between the levels, it answers no query about
    one: ``Derandomized.certify`` gives the radius, ``EnumerationResult.lead`` the votes.
    Raises ``UsageError`` unless splits is an integer >= 1 and seed one >= 0, and for inputs off the grid.
    """

    splits: int
    seed: int = 0

    norm: ClassVar[float] = 1
    reference: ClassVar[str] = "Levine & Feizi (2021), theorem 3"
    domain: ClassVar[str] = "8-bit images"

    def __post_init__(self) -> None:
        for name, value, least in (("splits", self.splits, 1), ("seed", self.seed, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UsageError(f"{name} is {value!r}; give an integer >= {least}")

    @property
    def lam(self) -> float:
        """Half the length of an interval, in input units."""
        return self.splits / (2 * TOP)

    def copies(self, shape: Shape) -> int:
        return self.splits

    def perturb(self, x: Tensor, draws: Draws) -> Tensor:
        """All in integers, in units of half a level; the middle is rounded once, to x's dtype."""
        level = 2 * pixels(x).flatten()
        cut = 2 * ((numbers(draws, self.splits)[:, None] + self._offsets(x)) % self.splits) + 1
        lower = cut + 2 * self.splits * ((level - cut) // (2 * self.splits))
        upper = lower + 2 * self.splits
        middle = lower.clamp(min=0) + upper.clamp(max=2 * TOP)
        return (middle.to(x.dtype) / (4 * TOP)).view(-1, *x.shape)

    def _offsets(self, x: Tensor) -> Tensor:
        """v_i of every element: int64 (d,), the same on every device."""
        key = stream_key(self.seed, "splitting", 0, "offsets")
        words = Draws(key, 0, 1, torch.device("cpu"), torch.float64).words(x.numel())
        return ((words[0, : x.numel()] >> 1) % self.splits).to(x.device)

    def changed(self, threat: Threat, shape: Shape) -> int | None:
        """None: a threat's region holds real numbers, and the theorem speaks of 8-bit inputs alone."""
        return None

    def reach(self, changes: int, shape: Shape) -> float:
        radius = changes / TOP
        return radius if Fraction(radius) <= Fraction(changes, TOP) else math.nextafter(radius, 0.0)
