"""What all deterministic defences share: values that wrap a model into another one."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import bounds
from certify.errors import UsageError
from certify.model import Model
from certify.sampled import Sampled

Forward = Callable[[Tensor], Tensor]


class Defence(ABC):
    """A change of a model that is deterministic.

    Subclasses are frozen dataclasses: their ``repr`` is the audit trail and enters the digest of the defended
    model. Steps without a useful gradient bring one along (see ``certify.defences.bpda``).
    """

    def around(self, base: Model) -> Model:
        """The defended model; raises ``UsageError`` for a model that this defence cannot be put around."""
        return Defended(base, self)

    @abstractmethod
    def forward(self, base: Model) -> Forward:
        """The function of the defended model; raises ``UsageError`` as ``around`` does."""

    def graph(self, graph: bounds.Graph) -> bounds.Graph | None:
        """The same function for the engine, from the base model's graph; None if it cannot be expressed."""
        return None


class Transform(Defence):
    """A defence that changes the input, and then asks the model."""

    @abstractmethod
    def __call__(self, x: Tensor, valid: tuple[float, float]) -> Tensor:
        """The input that the model sees: (batch, *shape) -> the same shape and dtype, values in ``valid``."""

    @abstractmethod
    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ``UsageError`` for inputs of a shape that it is not made for."""

    def forward(self, base: Model) -> Forward:
        self.check(base.input_shape)
        if base.input_range is None:
            raise UsageError(f"{base.name} has no input range, which {self!r} needs; load it with one")
        valid = base.input_range
        return lambda x: base(self(x, valid))


@dataclass(frozen=True, eq=False, init=False)
class Defended(Model):
    """``base`` behind ``defence``: another model, with a name and a digest of its own.

    Evidence about it is never evidence about ``base``, and the other way round. Its graph is None unless the
    defence can be expressed for the engine.
    Raises ``UsageError`` for a base that answers by sampling, may abstain, or does not fit the defence.
    """

    base: Model
    defence: Defence

    def __init__(self, base: Model, defence: Defence) -> None:
        check_plain(base, repr(defence))
        super().__init__(
            forward=defence.forward(base),
            graph=None if base.graph is None else defence.graph(base.graph),
            input_shape=base.input_shape,
            num_classes=base.num_classes,
            input_range=base.input_range,
            name=f"{base.name} behind {defence!r}",
            digest=combined_digest("defended", repr(defence), base),
        )
        object.__setattr__(self, "base", base)
        object.__setattr__(self, "defence", defence)

    def to(self, device: torch.device | str) -> Defended:
        return Defended(self.base.to(device), self.defence)


def check_plain(base: Model, defence: str) -> None:
    """Refuse a model that answers by sampling or may abstain: its outputs are not a logit for each class."""
    if isinstance(base, Sampled):
        raise UsageError(
            f"{base.name} answers by sampling; put {defence} around its base model, the sampling around that"
        )
    if type(base).spec is not Model.spec:
        raise UsageError(f"{base.name} may abstain; put {defence} around its base model, and rejection last")


def combined_digest(kind: str, defence: str, *bases: Model) -> str:
    """SHA-256 in hex over what a defended model is made of."""
    parts = (kind, *(base.digest for base in bases), defence)
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def image(shape: tuple[int, ...], channels: tuple[int, ...], defence: str) -> None:
    """Refuse inputs that are no images (channels, height, width) with one of these numbers of channels."""
    if len(shape) != 3 or (channels and shape[0] not in channels):
        what = f"{' or '.join(map(str, channels))} channels" if channels else "channels"
        raise UsageError(f"{defence} takes images of shape ({what}, height, width), not {shape}")
