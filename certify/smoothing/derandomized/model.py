"""The classifier that the votes over all copies make, as a model of its own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from certify.errors import UsageError
from certify.model import Model
from certify.run import Run
from certify.smoothing.derandomized.base import FiniteLaw
from certify.smoothing.engine import Classifier, Engine, Procedure
from certify.smoothing.intervals import IntArray
from certify.smoothing.modes import Ask
from certify.smoothing.votes import InMemory

_STREAM = "copies"


@dataclass(frozen=True, eq=False, init=False)
class Enumerated(Model):
    """g(x) = the class that most copies of x under ``law`` vote for; of several, the first one.

    Its logits are integers in float64, classes * votes - class, which are never tied. It has a name and a
    digest of its own and no graph: evidence about g is never evidence about ``base``, and the other way
    round. ``Derandomized`` answers queries about it.
    Raises ``UsageError`` if ``base`` is enumerated already, or its inputs do not fit the law.
    """

    base: Model
    law: FiniteLaw

    def __init__(self, base: Model, law: FiniteLaw) -> None:
        if isinstance(base, Enumerated):
            raise UsageError(f"{base.name} is smoothed already; smooth its base model")
        law.copies(base.input_shape)  # refuses inputs that do not fit

        def scores(x: Tensor) -> Tensor:
            run = Run(device=str(x.device))
            votes = enumerate_votes(base, law, x, tuple(range(len(x))), base.num_classes, 1000, run)
            return (ordered(votes)).to(device=x.device, dtype=torch.float64)

        super().__init__(
            forward=scores,
            graph=None,
            input_shape=base.input_shape,
            num_classes=base.num_classes,
            input_range=base.input_range,
            name=f"{base.name} smoothed by all of {law!r}",
            digest=hashlib.sha256(f"enumerated\x1f{base.digest}\x1f{law!r}".encode()).hexdigest(),
        )
        object.__setattr__(self, "base", base)
        object.__setattr__(self, "law", law)

    def to(self, device: torch.device | str) -> Enumerated:
        """The same model on another device."""
        return Enumerated(self.base.to(device), self.law)


def ordered(votes: Tensor) -> Tensor:
    """Scores whose order is that of the votes (batch, classes), with the first class first among equals."""
    classes = votes.shape[1]
    return votes * classes - torch.arange(classes)


def enumerate_votes(
    forward: Classifier,
    law: FiniteLaw,
    x: Tensor,
    samples: tuple[int, ...],
    classes: int,
    batch_size: int,
    run: Run,
) -> Tensor:
    """Votes per class over all copies of each input: int64 (batch, classes) on the CPU."""
    if not len(x):
        return torch.zeros(0, classes, dtype=torch.int64)
    engine = Engine(forward, law, batch_size, run, InMemory())
    copies = law.copies(tuple(x.shape[1:]))
    found = engine.outcomes(x, samples, classes, [_all(copies) for _ in samples])
    return torch.from_numpy(np.stack(found))


def _all(copies: int) -> Procedure[IntArray]:
    votes = yield Ask(_STREAM, copies)
    return votes
