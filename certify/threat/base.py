"""What all threats share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor

import bounds
from certify.errors import UsageError


@dataclass(frozen=True)
class Threat(ABC):
    """Base of all threats. ``around(x, valid)`` is the set of inputs that the adversary may reach."""

    @abstractmethod
    def around(self, x: Tensor, valid: tuple[float, float] | None = None) -> bounds.InputSet:
        """The reachable set around each sample, intersected with the ``valid`` input range; batched."""

    def at(self, eps: float) -> Threat:
        """The same threat with another budget; raises ``UsageError`` for a threat without a single one."""
        raise UsageError(f"{self!r} has no single budget; make it anew with other values")

    @property
    def is_exact(self) -> bool:
        """Whether ``around`` is the reachable set itself; if not, it encloses it: certifiers may use it."""
        return True

    def reaches(
        self,
        x: Tensor,
        points: Tensor,
        details: Sequence[Mapping[str, int | float | str]],
        valid: tuple[float, float] | None = None,
    ) -> Tensor:
        """Whether the adversary may turn each sample of ``x`` into its point, without tolerance; (batch,).

        details: of the evidence that the points come from, which may say how they were made.
        """
        return self.around(x, valid).contains(points)


@dataclass(frozen=True)
class Budgeted(Threat):
    """Base of threats with one budget ``eps``, where a larger budget reaches every input of a smaller one.

    unit: what eps counts. norm: whose balls these are, None where it is no norm.
    """

    eps: float

    unit: ClassVar[str] = "input units"
    norm: ClassVar[float | None] = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise UsageError(f"eps is {self.eps}; give a finite number >= 0 in {self.unit}")

    def at(self, eps: float) -> Self:
        return replace(self, eps=eps)


@dataclass(frozen=True)
class Counted(Budgeted):
    """Some part of the input may become anything valid; eps counts, so it is a whole number.

    Raises ``UsageError`` for another eps; ``around`` does for a model without an input range.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eps != int(self.eps):
            raise UsageError(f"eps is {self.eps}; {type(self).__name__} takes a whole number of {self.unit}")
        object.__setattr__(self, "eps", int(self.eps))  # 1 and 1.0 have one repr


def finite_range(threat: Threat, valid: tuple[float, float] | None) -> tuple[float, float]:
    """The valid input range; raises ``UsageError`` where there is none."""
    if valid is None:
        raise UsageError(
            f"{threat!r} lets inputs become anything valid, and the model has no input range; "
            "load it with input_range=(low, high)"
        )
    return valid


def check_image(threat: Threat, x: Tensor) -> None:
    """Refuse samples without two axes for pixels."""
    if x.dim() < 3:
        raise UsageError(f"{threat!r} is about images, not inputs of shape {tuple(x.shape[1:])}; try L0")
