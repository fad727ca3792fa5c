"""Goals of an adversary other than "any other class", as models asked another question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

import bounds
from certify.errors import UsageError
from certify.model import Model, answers, holds
from certify.run import Run

_QUESTION = ("spec", "predictions", "p_values")  # what a plain model is asked, and how


@dataclass(frozen=True, eq=False)
class Avoiding(Model):
    """A model of whose labels is asked that they are *not* answered: the adversary wants them.

    A query's label is here the class that the adversary aims at; a decision is robust where no input of the
    region gets it, a counterexample is one that does (a tie counts). Certifiers and attacks answer as ever.
    """

    base: Model

    @classmethod
    def of(cls, model: Model) -> Avoiding:
        """The same model with this goal; raises ``UsageError`` for one that samples or abstains."""
        if any(getattr(type(model), each) is not getattr(Model, each) for each in _QUESTION):
            raise UsageError(
                f"{model.name} has a question of its own; aim at classes of a model that answers"
            )
        return cls(**{each.name: getattr(model, each.name) for each in fields(Model)}, base=model)

    def to(self, device: torch.device | str) -> Avoiding:
        return Avoiding.of(self.base.to(device))

    def spec(self, y: Tensor) -> bounds.Spec:
        """Some other class is ahead of the one aimed at: one clause of alternatives."""
        ahead = bounds.margins(y, self.num_classes)
        return bounds.Spec(-ahead.matrix, ahead.offset, torch.zeros_like(ahead.offset, dtype=torch.long))

    def predictions(self, x: Tensor, y: Tensor, samples: Sequence[int], run: Run) -> tuple[Tensor, Tensor]:
        """The class at each input, and whether it is not the one aimed at."""
        logits = self._logits(x)
        return logits.argmax(1), holds(self.spec(y), logits) & answers(logits)


def check_targets(y: Tensor, targets: Tensor) -> None:
    """Raises ``UsageError`` unless there is one target class per sample, none of them its label."""
    if targets.shape != y.shape or targets.dtype.is_floating_point:
        raise UsageError(
            f"targets have shape {tuple(targets.shape)} and dtype {targets.dtype}; give {len(y)} classes"
        )
    same = (targets == y).nonzero()
    if len(same):
        index = int(same[0])
        raise UsageError(f"sample {index} has its label {int(y[index])} as target; aim at another class")
