"""The smoothed classifier as a model of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from certify.binomial import binomial_tail
from certify.errors import UsageError
from certify.model import Model
from certify.run import Run
from certify.smoothing.engine import Engine, Procedure, T
from certify.smoothing.intervals import IntArray
from certify.smoothing.laws import NoiseLaw
from certify.smoothing.modes import Ask
from certify.smoothing.modes.fixed import check_draws
from certify.smoothing.votes import InMemory

_BATCH = 1000


@dataclass(frozen=True, eq=False, init=False)
class Smoothed(Model):
    """g(x) = the class that ``base`` returns most often on copies of x perturbed by ``law``.

    It has a name and a digest of its own, no graph, and no forward pass that could be run: evidence about g
    is never evidence about ``base``, and the other way round. ``Smoothing`` answers queries about it,
    ``SmoothAdv`` attacks it. n0, n: the draws by which it answers itself: n0 vote for a prediction, and n
    more test whether a label is wrong. They are no part of what g is.
    Raises ``UsageError`` if ``base`` is smoothed already, and unless n0 and n are integers >= 1.
    """

    base: Model
    law: NoiseLaw
    n0: int
    n: int

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

    def predictions(self, x: Tensor, y: Tensor, samples: Sequence[int], run: Run) -> tuple[Tensor, Tensor]:
        """The class with most of n0 votes, and whether it is the label and ahead of all others.

        An estimate: it says where g is right as far as so many draws tell.
        """
        votes = self.votes(x, samples, run, "prediction")
        own = votes.gather(1, y[:, None])
        right = ((votes < own).sum(1) == self.num_classes - 1).to(y.device)
        return votes.argmax(1).to(y.device), right

    def votes(self, x: Tensor, samples: Sequence[int], run: Run, stage: str) -> Tensor:
        """The votes of n0 draws at each point, int64 (batch, num_classes) on the CPU; ``stage`` keys them."""
        found = self._outcomes(x, samples, run, lambda row: _asked(Ask(stage, self.n0)))
        return torch.from_numpy(np.stack(found))

    def p_values(self, x: Tensor, y: Tensor, samples: Sequence[int], run: Run, stage: str) -> list[float]:
        """The p-value, rounded up, of a binomial test that another class beats the label at each point.

        n0 draws choose the rival, the largest other class. Of n further ones only those for the label or the
        rival count: if g's class were the label (ties included), the rival would win each of them with
        probability at most 1/2, independently. The binomial tail at 1/2 is the p-value, for any input, as the
        point and the rival are chosen by other noise.
        """
        labels = y.tolist()

        def test(row: int) -> Procedure[float]:
            return _test(labels[row], self.n0, self.n, stage)

        return self._outcomes(x, samples, run, test)

    def _outcomes(
        self, x: Tensor, samples: Sequence[int], run: Run, procedure: Callable[[int], Procedure[T]]
    ) -> list[T]:
        engine = Engine(self.base, self.law, _BATCH, run, InMemory())
        x = x.detach().to(run.device)
        classes = engine.probe(x[0], samples[0])
        if classes != self.num_classes:
            raise UsageError(f"{self.base.name} returns {classes} logits, not {self.num_classes}")
        return engine.outcomes(x, samples, classes, [procedure(row) for row in range(len(x))])


def _asked(ask: Ask) -> Procedure[IntArray]:
    """The votes of one question."""
    return (yield ask)


def _test(label: int, n0: int, n: int, stage: str) -> Procedure[float]:
    """The p-value of "the label is the class", against a rival that other draws choose."""
    votes = yield Ask(f"{stage}, rival", n0)
    others = np.delete(np.arange(len(votes)), label)
    if len(others) == 0:
        return 1.0
    rival = others[votes[others].argmax()]
    votes = yield Ask(f"{stage}, test", n)
    wins = int(votes[rival])
    return binomial_tail(wins, wins + int(votes[label]), 0.5)
