"""What a law of noise is: how an input is perturbed, and what the votes over perturbed copies certify."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from certify.noise import Draws
from certify.smoothing.intervals import FloatArray

# The domain of laws whose draws are rounded floats.
REAL_INPUTS = "real inputs; noise in floating point, taken to be ideal"


class Perturbation(Protocol):
    """A way to make copies of an input: a frozen dataclass, whose ``repr`` keys the noise."""

    def perturb(self, x: Tensor, draws: Draws) -> Tensor:
        """Perturbed copies of one input of any shape, one for each draw: (count, *x.shape), in x's dtype.

        A copy is a function of x and of its own draw. Not clipped to any range: the theorem is about the law
        as it is. Raises ``UsageError`` for an input that the law is not made for.
        """


class NoiseLaw(Perturbation, Protocol):
    """A law of perturbed inputs with its theorem."""

    @property
    def norm(self) -> float:
        """The norm of the certified ball: 2, 1, inf or 0."""

    @property
    def reference(self) -> str:
        """Authors, year and theorem that the radius follows."""

    @property
    def domain(self) -> str:
        """The inputs that a certificate speaks of, and what it takes for granted; stands in every record."""

    def __hash__(self) -> int:
        """A value, so that what follows from it may be kept."""

    def check(self, x: Tensor) -> None:
        """Raises ``UsageError`` for inputs (batch, *shape) on which the noise would not be what it claims."""

    def radius(self, p_lower: FloatArray, p_other: FloatArray) -> FloatArray:
        """Radii in input units, rounded down, of the ball inside which the label provably stays.

        p_lower: lower bounds of the top class's probability; p_other: upper bounds of every other class's,
        ``1 - p_lower`` where nothing better is known. The smoothed classifier keeps its label at every
        distance strictly below the formula's value; 0 where nothing is certified.
        """
