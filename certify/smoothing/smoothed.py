"""The smoothed classifier as a model of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from certify.errors import UsageError
from certify.model import Model
from certify.noise import Draws, stream_key
from certify.run import Run
from certify.sampled import Sampled
from certify.smoothing.engine import Engine, Procedure
from certify.smoothing.intervals import IntArray
from certify.smoothing.laws import NoiseLaw
from certify.smoothing.modes import Ask
from certify.smoothing.modes.fixed import check_draws
from certify.smoothing.votes import InMemory

_BATCH = 1000


@dataclass(frozen=True, eq=False, init=False)
class Smoothed(Sampled):
    """g(x) = the class that ``base`` returns most often on copies of x perturbed by ``law``.

    It has a name and a digest of its own, no graph, and no forward pass that could be run: evidence about g
    is never evidence about ``base``, and the other way round. ``Smoothing`` answers queries about it,
    ``SmoothAdv`` attacks it. n0, n: see ``Sampled``.
    Raises ``UsageError`` if ``base`` is smoothed already, and unless n0 and n are integers >= 1.
    """

    base: Model
    law: NoiseLaw

    def __init__(self, base: Model, law: NoiseLaw, n0: int = 100, n: int = 10_000) -> None:
        if isinstance(base, Smoothed):
            raise UsageError(f"{base.name} is smoothed already; smooth its base model")
        check_draws("n0", n0)
        check_draws("n", n)
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
        object.__setattr__(self, "n0", n0)
        object.__setattr__(self, "n", n)

    def to(self, device: torch.device | str) -> Smoothed:
        return Smoothed(self.base.to(device), self.law, self.n0, self.n)

    def draws(self, x: Tensor, samples: Sequence[int], m: int, run: Run, stages: Sequence[str]) -> Tensor:
        keys = [stream_key(run.seed, repr(self.law), *each) for each in zip(samples, stages, strict=True)]
        copies = [
            self.law.perturb(point, Draws(key, 0, m, x.device, x.dtype))
            for point, key in zip(x, keys, strict=True)
        ]
        return self.base(torch.cat(copies)).view(len(x), m, -1)

    def votes(
        self, x: Tensor, samples: Sequence[int], run: Run, stage: str, count: int | None = None
    ) -> Tensor:
        ask = Ask(stage, self.n0 if count is None else count)
        engine = Engine(self.base, self.law, _BATCH, run, InMemory())
        x = x.detach().to(run.device)
        classes = engine.probe(x[0], samples[0])
        if classes != self.num_classes:
            raise UsageError(f"{self.base.name} returns {classes} logits, not {self.num_classes}")
        found = engine.outcomes(x, samples, classes, [_asked(ask) for _ in samples])
        return torch.from_numpy(np.stack(found))


def _asked(ask: Ask) -> Procedure[IntArray]:
    """The votes of one question."""
    return (yield ask)
