"""Ablation: all but a few random pixels are hidden, certified in L0."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from certify.errors import UsageError
from certify.noise import Draws
from certify.smoothing.intervals import FloatArray


@dataclass(frozen=True)
class Ablation:
    """Copies that keep ``keep`` of ``pixels`` pixels, chosen uniformly, and hide the others; certifies L0.

    Levine & Feizi (2020), *Robustness certificates for sparse adversarial attacks by randomized ablation*,
    theorem 1: a change of rho pixels is seen with probability Delta = 1 - C(d - rho, k) / C(d, k), so the
    label stays if p_lower - p_other > 2 Delta, with Delta from exact integers, rounded up. ``radius`` is the
    largest such rho and a half, so that the label stays at it as well as strictly below it; 0 where nothing
    is certified.

    A pixel is one position with all its channels (axis 0 of inputs with two axes or more), and one element
    of inputs with one axis. null: the value of hidden elements; one that no input takes, as the paper's code
    for NULL, lets the network tell them apart, but any finite value is sound.
    Raises ``UsageError`` unless 1 <= keep <= pixels are integers and null is finite, and for inputs of
    another number of pixels.
    """

    keep: int
    pixels: int
    null: float

    norm: ClassVar[float] = 0
    reference: ClassVar[str] = "Levine & Feizi (2020), randomized ablation, theorem 1"
    domain: ClassVar[str] = "inputs of any numbers"

    def __post_init__(self) -> None:
        for name, value in (("keep", self.keep), ("pixels", self.pixels)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UsageError(f"{name} is {value!r}; give an integer >= 1")
        if self.keep > self.pixels:
            raise UsageError(f"keep is {self.keep} of {self.pixels} pixels; give at most {self.pixels}")
        if not math.isfinite(self.null):
            raise UsageError(f"null is {self.null}; give a finite value, such as one outside the input range")
        object.__setattr__(self, "null", float(self.null))

    def check(self, x: Tensor) -> None:
        """Every input will do: nothing is added to it."""

    def perturb(self, x: Tensor, draws: Draws) -> Tensor:
        places = x.shape[1:] if x.dim() > 1 else x.shape
        if math.prod(places) != self.pixels:
            raise UsageError(
                f"{self!r} is about inputs of {self.pixels} pixels, not {math.prod(places)}; "
                f"give pixels={math.prod(places)}"
            )
        # the places of the smallest of independent 64-bit numbers are a uniform choice, up to ties
        lots = draws.words(self.pixels)[:, : self.pixels]
        chosen = lots.topk(self.keep, dim=1, largest=False).indices
        kept = torch.zeros_like(lots, dtype=torch.bool).scatter_(1, chosen, value=True)
        channels = (1,) if x.dim() > 1 else ()
        return torch.where(kept.view(-1, *channels, *places), x, self.null)

    def radius(self, p_lower: FloatArray, p_other: FloatArray) -> FloatArray:
        lead = np.nextafter(p_lower - p_other, -np.inf)
        certified = np.searchsorted(self._thresholds, lead, side="left")  # of rho = 0, 1, ...: how many
        found: FloatArray = np.maximum(certified - 0.5, 0.0)
        return found

    @functools.cached_property
    def _thresholds(self) -> FloatArray:
        """2 Delta for rho = 0, 1, ..., rounded up, as long as it is below 1; a lead must exceed it."""
        whole = left = math.comb(self.pixels, self.keep)  # left: C(d - rho, k)
        found = [0.0]
        for rho in range(self.pixels):
            left = left * (self.pixels - rho - self.keep) // (self.pixels - rho)  # exact
            if 2 * (whole - left) >= whole:
                break
            found.append(math.nextafter(2 * (whole - left) / whole, math.inf))  # a quotient of integers
        return np.array(found, dtype=np.float64)
