"""Threats that are a transform of the input with a few parameters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from certify.errors import UsageError
from certify.threat.base import Threat


@dataclass(frozen=True)
class Parametric(Threat):
    """Base of threats whose adversary chooses a transform's parameters; all 0 leave the input as it is."""

    @property
    @abstractmethod
    def limits(self) -> Mapping[str, float]:
        """The largest size of each parameter, by its name."""

    @abstractmethod
    def moved(self, x: Tensor, parameters: Tensor, valid: tuple[float, float] | None = None) -> Tensor:
        """The transformed samples; parameters: (batch, parameters) float64, in the order of ``limits``.

        A sample's bits depend on itself and its parameters alone, so that a point can be made again.
        """


def means(x: Tensor) -> Tensor:
    """The mean of each sample in float64, shaped to broadcast; one by one, so that no batch decides bits."""
    found = [sample.double().mean() for sample in x]
    return torch.stack(found).view(-1, *[1] * (x.dim() - 1)) if found else x.new_zeros(x.shape).double()


def column(values: Tensor, like: Tensor) -> Tensor:
    """One number per sample, shaped to broadcast with ``like``."""
    return values.view(-1, *[1] * (like.dim() - 1))


def check_limit(name: str, value: float, most: float, unit: str) -> None:
    """Refuse a limit that means nothing."""
    if not 0 <= value <= most:
        raise UsageError(f"{name} is {value}; give a number from 0 to {most:g} in {unit}")
