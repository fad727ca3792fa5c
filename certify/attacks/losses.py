"""Losses that attacks raise: functions of a specification's clause values, (batch, clauses) -> (batch,).

For the margins of a label the clause values are ``z_label - z_j`` over the other classes j.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Loss = Callable[[Tensor], Tensor]

_SPREAD = 30.0  # the largest clause value in the cross-entropy, in nats


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


LOSSES: Mapping[str, Loss] = {"cross-entropy": cross_entropy, "margin": margin}


def aimed_at(clause: Tensor) -> Loss:
    """The loss that pushes one clause of each sample down and ignores the others; clause: (batch,)."""
    return lambda values: -values.gather(1, clause[:, None])[:, 0]
