"""Brightness and contrast: one number changes all elements, cut by the valid range."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

import bounds
from bounds.sets.base import clamp_inside
from certify.threat.base import Budgeted
from certify.threat.parametric import Parametric, column, means

_ANY = (-math.inf, math.inf)


@dataclass(frozen=True)
class _Colour(Budgeted, Parametric):
    """A step along one direction per sample; the reachable set is exactly a ``bounds.Line``."""

    @abstractmethod
    def _direction(self, x: Tensor) -> Tensor:
        """Where the samples move as the parameter grows."""

    @property
    def limits(self) -> Mapping[str, float]:
        return {type(self).__name__.lower(): self.eps}

    def moved(self, x: Tensor, parameters: Tensor, valid: tuple[float, float] | None = None) -> Tensor:
        step = column(parameters[:, 0], x) * self._direction(x).double()
        clip = valid or _ANY
        return clamp_inside((x.double() + step).clamp(*clip).to(x.dtype), clip)

    def around(self, x: Tensor, valid: tuple[float, float] | None = None) -> bounds.Line:
        ends = torch.full((len(x),), self.eps, dtype=torch.float64, device=x.device)
        return bounds.Line(x, self._direction(x), -ends, ends, valid or _ANY)


@dataclass(frozen=True)
class Brightness(_Colour):
    """Every element changes by the same number, of size at most ``eps``, and is cut to the valid range."""

    def _direction(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)


@dataclass(frozen=True)
class Contrast(_Colour):
    """Each element's distance from its sample's mean is scaled by a factor in [1 - eps, 1 + eps], and cut."""

    unit: ClassVar[str] = "shares of the contrast"

    def _direction(self, x: Tensor) -> Tensor:
        return (x.double() - means(x)).to(x.dtype)
