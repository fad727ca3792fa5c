"""What a finite law of copies is: how many there are, and how many of them a change can touch."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from certify.noise import Draws
from certify.smoothing.laws import Perturbation
from certify.threat import Threat

Shape = tuple[int, ...]


class FiniteLaw(Perturbation, Protocol):
    """Finitely many copies of an input, numbered from 0; ``perturb`` makes those that the draws number.

    Copies are taken in turn: draw ``i`` is copy ``i`` modulo their number. A copy that a change of the input
    does not touch is the same array, bit by bit.
    """

    @property
    def reference(self) -> str:
        """Authors, year and theorem that ``changed`` follows."""

    @property
    def domain(self) -> str:
        """The inputs that a certificate speaks of; stands in every record."""

    def copies(self, shape: Shape) -> int:
        """How many copies an input of this shape has. Raises ``UsageError`` for one that has none."""

    def changed(self, threat: Threat, shape: Shape) -> int | None:
        """At most so many copies differ between an input and any that the threat reaches; None: no bound."""

    def reach(self, changes: int, shape: Shape) -> float:
        """The largest budget of the law's own threat that changes at most so many copies, rounded down."""


def numbers(draws: Draws, copies: int) -> Tensor:
    """The numbers of the copies that are drawn: int64 (count,)."""
    first = draws.first % copies
    return torch.arange(first, first + draws.count, device=draws.device) % copies
