"""Losses that attacks raise: functions of a specification's clause values, (batch, clauses) -> (batch,).

For the margins of a label the clause values are ``z_label - z_j`` over the other classes j. Any values are
the margins of a classifier with the logits ``(0, -values)``, whose first class wins where all clauses hold:
so a loss of margins makes sense for every specification.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Loss = Callable[[Tensor], Tensor]

_SPREAD = 30.0  # the largest clause value in the cross-entropy, in nats
_DLR_CLAUSES = 3  # of the margins of four classes


def margin(values: Tensor) -> Tensor:
    """The negated smallest clause value (Carlini & Wagner 2017, f6, without the cut at zero)."""
    return -values.min(dim=1).values


def cross_entropy(values: Tensor) -> Tensor:
    """A stand-in for the cross-entropy whose gradient does not vanish, at a scale of its own.

    For margins the cross-entropy of the label is ``log(1 + exp(this))``: strictly increasing in it, so every
    normalised step is the same, but the gradient of this one does not vanish where the model is sure. The
    values are scaled so that the largest is 30: the scale of a model's logits, which decides nothing, would
    else say how many classes count (Yu & Xu 2023 scale, too, for precision). At 30 the nearest classes
    count, which breaks more samples than the logits' own scale does on the networks it was tried on.
    """
    largest = values.detach().abs().amax(dim=1, keepdim=True)
    scaled = values * (_SPREAD / largest.clamp(min=torch.finfo(values.dtype).tiny))
    return torch.logsumexp(-scaled, dim=1)


def dlr(values: Tensor) -> Tensor:
    """The difference of logits ratio (Croce & Hein 2020, section 4): free of the logits' shift and scale.

    That is ``-(z_y - max z_j) / (z_1st - z_3rd)`` over the logits in falling order. Below four classes, where
    the denominator says little, the margin.
    """
    if values.shape[1] < _DLR_CLAUSES:
        return margin(values)
    behind = _behind_label(values, 3)
    return margin(values) / _divisor(behind[:, 2] - behind[:, 0], values)


def aimed_at(clause: Tensor) -> Loss:
    """The loss that pushes one clause of each sample down and ignores the others; clause: (batch,)."""
    return lambda values: -values.gather(1, clause[:, None])[:, 0]


def aimed_dlr(clause: Tensor) -> Loss:
    """The targeted difference of logits ratio (Croce & Hein 2020, equation 7); clause: (batch,).

    That is ``-(z_y - z_target) / (z_1st - (z_3rd + z_4th) / 2)``. Below four classes, the target's margin.
    """
    aimed = aimed_at(clause)

    def loss(values: Tensor) -> Tensor:
        if values.shape[1] < _DLR_CLAUSES:
            return aimed(values)
        behind = _behind_label(values, 4)
        return aimed(values) / _divisor((behind[:, 2] + behind[:, 3]) / 2 - behind[:, 0], values)

    return loss


LOSSES: Mapping[str, Loss] = {"cross-entropy": cross_entropy, "margin": margin, "dlr": dlr}
AIMED: Mapping[str, Callable[[Tensor], Loss]] = {"margin": aimed_at, "dlr": aimed_dlr}


def _behind_label(values: Tensor, count: int) -> Tensor:
    """``z_y - z`` of the largest logits, largest first: the clause values with the label's own 0."""
    own = torch.nn.functional.pad(values, (1, 0))
    return own.topk(count, dim=1, largest=False).values


def _divisor(spread: Tensor, values: Tensor) -> Tensor:
    """A spread of logits that may be divided by, even where they tie; the floor scales with the values."""
    info = torch.finfo(values.dtype)
    return spread.maximum(values.detach().abs().amax(dim=1) * info.eps).clamp(min=info.tiny)
