"""One question: is this model's decision on these samples robust against this threat?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import bounds
from certify.errors import UsageError
from certify.model import Model
from certify.threat import Threat


@dataclass(frozen=True, eq=False)
class Query:
    """A batch of samples of one model under one threat.

    x: (batch, *input_shape) in input units, inside the model's input range; y: (batch,) integer labels;
    samples: the ids of the samples in their data set (they key the randomness and the ledger).
    Raises ``UsageError`` for wrong shapes, NaN or Inf, inputs outside the range, labels out of range.
    """

    model: Model
    x: Tensor
    y: Tensor
    threat: Threat
    samples: tuple[int, ...]

    def __post_init__(self) -> None:
        check_samples(self.model, self.x, self.y)
        if len(self.samples) != len(self.x):
            raise UsageError(f"{len(self.samples)} sample ids for {len(self.x)} samples")

    @property
    def region(self) -> bounds.InputSet:
        """What the adversary may reach, within the model's input range, or a set around that."""
        return self.threat.around(self.x, self.model.input_range)

    def reaches(self, points: Tensor, details: Sequence[Mapping[str, int | float | str]]) -> Tensor:
        """Whether the adversary may turn each sample into its point; see ``Threat.reaches``. (batch,)"""
        return self.threat.reaches(self.x, points, details, self.model.input_range)

    @property
    def spec(self) -> bounds.Spec:
        """What must hold in the whole region, such as margins that are all > 0."""
        return self.model.spec(self.y)

    def __getitem__(self, keep: Tensor) -> Query:
        """The question about some of the samples; ``keep`` is a boolean mask."""
        ids = tuple(s for s, k in zip(self.samples, keep.tolist(), strict=True) if k)
        return Query(self.model, self.x[keep], self.y[keep], self.threat, ids)


def check_samples(model: Model, x: Tensor, y: Tensor) -> None:
    """Refuse inputs that no statement can be made about; each message names the first bad sample."""
    if tuple(x.shape[1:]) != model.input_shape:
        raise UsageError(f"x has shape {tuple(x.shape)}; {model.name} expects (batch, *{model.input_shape})")
    if y.shape != (len(x),) or y.dtype.is_floating_point:
        raise UsageError(f"y has shape {tuple(y.shape)} and dtype {y.dtype}; give {len(x)} integer labels")
    bad = ~x.flatten(1).isfinite().all(1)
    if bad.any():
        raise UsageError(f"sample {int(bad.nonzero()[0])} of x holds NaN or Inf; remove or repair it")
    if model.input_range is not None:
        low, high = model.input_range
        outside = ((x < low) | (x > high)).flatten(1).any(1)
        if outside.any():
            raise UsageError(
                f"sample {int(outside.nonzero()[0])} of x lies outside the model's input range "
                f"[{low:g}, {high:g}]; give inputs before normalisation, in input units"
            )
    wrong = (y < 0) | (y >= model.num_classes)
    if wrong.any():
        index = int(torch.nonzero(wrong)[0])
        raise UsageError(
            f"label {int(y[index])} of sample {index} is out of range: {model.name} has classes "
            f"0..{model.num_classes - 1}"
        )


def check_ids(samples: Sequence[int]) -> None:
    """Refuse sample ids that are none or not unique."""
    if not samples:
        raise UsageError("there are no samples; give at least one")
    twice = [sample for sample, count in Counter(samples).items() if count > 1]
    if twice:
        raise UsageError(f"sample id {twice[0]} occurs twice; ids are unique")
