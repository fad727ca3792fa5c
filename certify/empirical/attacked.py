"""Accuracy under attack: per attack, per-sample worst case, and over several threats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from certify.empirical.trials import Trials, trials
from certify.errors import UsageError
from certify.evidence import Decider
from certify.goal import Avoiding, check_targets
from certify.model import Model
from certify.run import Run
from certify.threat import Threat

_DEFAULT_RUN = Run()


@dataclass(frozen=True, eq=False)
class Attacked:
    """Every attack on every sample under one threat; its print is a table.

    model, digest: name and digest of the model that all of it speaks of. All rates are upper bounds of the
    robust accuracy: an attack that fails shows nothing.
    """

    model: str
    digest: str
    threat: Threat
    trials: Trials

    def __len__(self) -> int:
        return len(self.trials.samples)

    @property
    def clean_accuracy(self) -> float:
        """Share of samples that the model gets right without an attack."""
        return int(self.trials.right.sum()) / len(self)

    @property
    def survived(self) -> Tensor:
        """Samples that are right and that no attack has broken: (n,) booleans."""
        return self.trials.right & ~self.trials.found.any(0)

    @property
    def accuracy(self) -> dict[str, float]:
        """The accuracy under each attack alone; a sample that is wrong already stays wrong."""
        kept = (self.trials.right & ~self.trials.found).sum(1).tolist()
        return {name: count / len(self) for name, count in zip(self.trials.attacks, kept, strict=True)}

    @property
    def robust_accuracy(self) -> float:
        """The accuracy under the worst attack of each sample: never a mean over attacks."""
        return int(self.survived.sum()) / len(self)

    @property
    def unique_wins(self) -> dict[str, int]:
        """How many samples only this attack has broken."""
        alone = self.trials.found & (self.trials.found.sum(0) == 1)
        return dict(zip(self.trials.attacks, alone.sum(1).tolist(), strict=True))

    def __str__(self) -> str:
        t, n = self.trials, len(self)
        asked = max(int(t.right.sum()), 1)
        rows = [
            f"{accuracy:8.4f} {self.unique_wins[name]:6d} {int(t.forwards[i].sum()) / asked:10.1f} "
            f"{int(t.backwards[i].sum()) / asked:10.1f}  {name}"
            for i, (name, accuracy) in enumerate(self.accuracy.items())
        ]
        head = f"{self.model} under {self.threat!r}: clean accuracy {self.clean_accuracy:.4f} of {n} samples"
        legend = "accuracy unique   forwards  backwards  attack"
        return "\n".join([head, legend, *rows, f"{self.robust_accuracy:8.4f} under the worst of them"])


def attack(
    model: Model,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    attacks: Sequence[Decider],
    *,
    targets: Tensor | None = None,
    run: Run = _DEFAULT_RUN,
    samples: Sequence[int] | None = None,
) -> Attacked:
    """Run every attack on every sample, though one may have broken it already.

    x: (n, *input_shape) in input units; y: (n,) labels. targets: (n,) classes that the adversary aims at,
    each another than the label; a sample counts as wrong already where the model answers its target.
    For the robust accuracy alone ``evaluate`` is cheaper: there a broken sample is left alone.
    Raises ``UsageError`` for bad inputs and for deciders that are no attacks or do not support the query.
    """
    if targets is not None:
        check_targets(y, targets)
        model, y = Avoiding.of(model), targets
    return Attacked(model.name, model.digest, threat, trials(model, x, y, threat, attacks, run, samples))


def union(results: Sequence[Attacked]) -> float:
    """The accuracy under all threats together: the share of samples that survive every one of them.

    Tramer & Boneh (2019), the worst case over threats. Raises ``UsageError`` unless all results speak of
    the same samples and the same model.
    """
    if not results:
        raise UsageError("there are no results to join; give at least one")
    first = results[0]
    for each in results[1:]:
        if (each.trials.samples, each.digest) != (first.trials.samples, first.digest):
            raise UsageError("results of other samples or another model cannot be joined")
    survived = torch.stack([each.survived for each in results]).all(0)
    return int(survived.sum()) / len(first)
