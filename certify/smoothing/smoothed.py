"""The smoothed classifier as a model of its own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from torch import Tensor

from certify.errors import UsageError
from certify.model import Model
from certify.smoothing.laws import NoiseLaw


@dataclass(frozen=True, eq=False, init=False)
class Smoothed(Model):
    """g(x) = the class that ``base`` returns most often on copies of x perturbed by ``law``.

    It has a name and a digest of its own, no graph, and no forward pass that could be run: evidence about g
    is never evidence about ``base``, and the other way round. ``Smoothing`` answers queries about it.
    Raises ``UsageError`` if ``base`` is smoothed already.
    """

    base: Model
    law: NoiseLaw

    def __init__(self, base: Model, law: NoiseLaw) -> None:
        if isinstance(base, Smoothed):
            raise UsageError(f"{base.name} is smoothed already; smooth its base model")
        name = f"{base.name} smoothed by {law!r}"

        def refuse(x: Tensor) -> Tensor:
            raise UsageError(f"{name} has no exact forward pass; certify it with Smoothing, by sampling")

        super().__init__(
            forward=refuse,
            graph=None,
            input_shape=base.input_shape,
            num_classes=base.num_classes,
            input_range=base.input_range,
            name=name,
            digest=hashlib.sha256(f"smoothed\x1f{base.digest}\x1f{law!r}".encode()).hexdigest(),
        )
        object.__setattr__(self, "base", base)
        object.__setattr__(self, "law", law)
