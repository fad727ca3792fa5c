"""Models that may abstain: an abstention is neither a success of the attacker nor right.

The abstention is one more class, whose logit is the largest of the others plus what the detector says
(Carlini & Wagner 2017, *Adversarial examples are not easily detected*): positive where it abstains. A
decision is robust where for every other class either the label or the abstention is ahead of it. Stated as
a specification, that is what the attacks of the house break and the judge replays: a counterexample is
accepted and wrong at once.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

import bounds
from certify.defences.base import Transform, check_plain, combined_digest
from certify.defences.bpda import softmax_for_attacks
from certify.errors import UsageError
from certify.model import Model
from certify.run import Run

ABSTAINS = -1


class Detector(ABC):
    """What decides whether a model abstains: a frozen dataclass."""

    def around(self, base: Model) -> Rejecting:
        """The model that abstains; raises ``UsageError`` for one that the detector does not fit."""
        return Rejecting(base, self)

    @abstractmethod
    def check(self, base: Model) -> None:
        """Raise ``UsageError`` for a model that it is not made for."""

    @abstractmethod
    def excess(self, base: Model, x: Tensor, logits: Tensor) -> Tensor:
        """How far the suspicion is above the threshold, (batch,): the model abstains where this is > 0."""

    @abstractmethod
    def calibrated(self, base: Model, x: Tensor, rate: float) -> Self:
        """The same detector with the threshold at which it abstains on at most this share of clean inputs."""


@dataclass(frozen=True)
class LowConfidence(Detector):
    """Abstains where the largest softmax probability is below ``threshold`` (Hendrycks & Gimpel 2017).

    ``log(threshold) + logsumexp(logits)`` is the abstention's logit: on the scale of the others.
    Raises ``UsageError`` unless 0 < threshold < 1.
    """

    threshold: float

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise UsageError(f"threshold of LowConfidence is {self.threshold}; give a probability in (0, 1)")

    def check(self, base: Model) -> None:
        """Any model will do."""

    def excess(self, base: Model, x: Tensor, logits: Tensor) -> Tensor:
        return math.log(self.threshold) + logits.logsumexp(1) - logits.amax(1)

    def calibrated(self, base: Model, x: Tensor, rate: float) -> LowConfidence:
        with torch.no_grad():
            confidence = base(x).softmax(1).amax(1)
        # a little lower, for an input at the threshold is to be accepted whatever way its logits are rounded
        return replace(self, threshold=-_threshold(-confidence, rate) * (1 - 1e-5))


@dataclass(frozen=True)
class Squeezing(Detector):
    """Abstains where squeezing the input changes the prediction much (Xu, Evans & Qi 2018, section 5).

    The suspicion is the largest L1 distance, over the squeezers, of the softmax at the input from that at the
    squeezed input; it lies in [0, 2]. Gradient attacks see a softmax that does not saturate.
    Raises ``UsageError`` for no squeezers and unless 0 <= threshold <= 2.
    """

    squeezers: tuple[Transform, ...]
    threshold: float

    def __post_init__(self) -> None:
        if not self.squeezers:
            raise UsageError("Squeezing needs at least one squeezer, such as BitDepth(4) or Median(2)")
        if not 0 <= self.threshold <= 2:
            raise UsageError(f"threshold of Squeezing is {self.threshold}; give a distance in [0, 2]")

    def check(self, base: Model) -> None:
        for each in self.squeezers:
            each.forward(base)

    def excess(self, base: Model, x: Tensor, logits: Tensor) -> Tensor:
        return self._suspicion(base, x, logits) - self.threshold

    def calibrated(self, base: Model, x: Tensor, rate: float) -> Squeezing:
        with torch.no_grad():
            return replace(self, threshold=min(_threshold(self._suspicion(base, x, base(x)), rate), 2.0))

    def _suspicion(self, base: Model, x: Tensor, logits: Tensor) -> Tensor:
        here = softmax_for_attacks(logits)
        there = [softmax_for_attacks(each.forward(base)(x)) for each in self.squeezers]
        return torch.stack([(here - each).abs().sum(1) for each in there]).amax(0)


@dataclass(frozen=True, eq=False, init=False)
class Rejecting(Model):
    """``base`` with the right to abstain: one more class, the last one, which is no label.

    The predicted class of an abstention is ``ABSTAINS``; a clean input on which the model abstains counts as
    not right. Raises ``UsageError`` for a base that answers by sampling or may abstain already.
    """

    base: Model
    detector: Detector

    def __init__(self, base: Model, detector: Detector) -> None:
        check_plain(base, repr(detector))
        detector.check(base)

        def forward(x: Tensor) -> Tensor:
            logits = base(x)
            abstention = logits.amax(1) + detector.excess(base, x, logits)
            return torch.cat([logits, abstention[:, None]], dim=1)

        super().__init__(
            forward=forward,
            graph=None,
            input_shape=base.input_shape,
            num_classes=base.num_classes + 1,
            input_range=base.input_range,
            name=f"{base.name} rejecting by {detector!r}",
            digest=combined_digest("rejecting", repr(detector), base),
        )
        object.__setattr__(self, "base", base)
        object.__setattr__(self, "detector", detector)

    def spec(self, y: Tensor) -> bounds.Spec:
        """For every other class: the label or the abstention is ahead of it.

        Raises ``UsageError`` for the label that is the abstention.
        """
        classes = self.base.num_classes
        if (y == classes).any():
            raise UsageError(f"label {classes} is the abstention of {self.name}; give the class of the input")
        label = bounds.margins(y, classes).matrix
        abstention = label.clamp(max=0)  # the rows -y_j without the label
        one = torch.ones_like(label[:, :, :1])
        rows = torch.cat([_column(label, 0 * one), _column(abstention, one)], dim=1)
        clause = torch.arange(classes - 1, device=y.device).repeat(len(y), 2)
        return bounds.Spec(rows, torch.zeros_like(rows[:, :, 0]), clause)

    def predictions(self, x: Tensor, y: Tensor, samples: Sequence[int], run: Run) -> tuple[Tensor, Tensor]:
        """The class at each input, or ``ABSTAINS``, and whether it is the label's alone."""
        predicted, right = super().predictions(x, y, samples, run)
        return torch.where(predicted == self.base.num_classes, ABSTAINS, predicted), right

    def to(self, device: torch.device | str) -> Rejecting:
        return Rejecting(self.base.to(device), self.detector)


def _column(rows: Tensor, last: Tensor) -> Tensor:
    return torch.cat([rows, last], dim=2)


def _threshold(suspicion: Tensor, rate: float) -> float:
    """The smallest value that at most the share ``rate`` of the clean inputs lies above."""
    if not (0 <= rate < 1 and len(suspicion)):
        raise UsageError(f"rate is {rate} of {len(suspicion)} inputs; give a share in [0, 1) and some inputs")
    ordered = suspicion.double().sort().values
    return float(ordered[len(ordered) - 1 - math.floor(rate * len(ordered))])
