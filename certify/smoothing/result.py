"""What smoothing found, and the curve that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from certify.errors import UsageError
from certify.smoothing.modes.base import Trace

ABSTAIN = -1


@dataclass(frozen=True, eq=False)
class SmoothingResult:
    """Per sample: a label of the smoothed classifier and the radius within which it provably keeps it.

    label: (batch,) int64, -1 where it abstains. radius: (batch,) float64 in input units of the law's norm, 0
    where it abstains; the label holds at every distance strictly below it. selected: (batch,) the class
    picked by the selection stage. p_lower: (batch,) float64, the lower bound of its probability; p_other:
    the upper bound of every other class's. n: (batch,) int64 draws that these rest on, hits: those that
    voted for the selected class. selection: (batch, num_classes) votes of the ``n0`` selection draws; votes:
    of the draws that the estimate asked for, from which it follows again. Each sample's statement fails with
    probability at most ``alpha``, separately. mode: how n came about; law,
    seed and device reproduce the noise, execution says which function of it was sampled.
    """

    label: Tensor
    radius: Tensor
    selected: Tensor
    p_lower: Tensor
    p_other: Tensor
    hits: Tensor
    n: Tensor
    selection: Tensor
    votes: tuple[Trace, ...]
    n0: int
    alpha: float
    mode: str
    law: str
    execution: str
    seed: int
    device: str

    @property
    def abstains(self) -> Tensor:
        """(batch,) boolean."""
        return self.label == ABSTAIN


@dataclass(frozen=True)
class CertifiedAccuracy:
    """The share of ``samples`` inputs that are certified, with their true label, at each radius.

    ``joint`` is False: every sample's certificate fails with probability at most ``alpha`` separately, so up
    to a share ``alpha`` of the inputs is expected to be counted wrongly; it is no statement that holds
    jointly for the whole curve.
    """

    radii: tuple[float, ...]
    accuracy: tuple[float, ...]
    samples: int
    alpha: float
    joint: bool = False


def certified_accuracy(result: SmoothingResult, labels: Tensor, radii: Sequence[float]) -> CertifiedAccuracy:
    """The certified accuracy of the smoothed classifier at each radius, in input units.

    labels: (batch,) true classes. A sample counts at r if it was certified with its true label at a radius
    > r, that is on the whole closed ball; abstentions and wrong labels never count.
    Raises ``UsageError`` for no samples, another number of labels, or a radius that is negative or NaN.
    """
    if labels.shape != result.label.shape or len(labels) == 0:
        raise UsageError(f"{len(result.label)} certified samples and labels of shape {tuple(labels.shape)}")
    if not all(r >= 0 for r in radii):
        raise UsageError(f"radii are numbers >= 0 in input units, not {list(radii)}")
    right = (result.label == labels.cpu())[:, None]
    grid = torch.tensor(list(radii), dtype=torch.float64)
    share = (right & (result.radius[:, None] > grid)).double().mean(0)
    return CertifiedAccuracy(tuple(radii), tuple(share.tolist()), len(labels), result.alpha)
