"""Losses that attacks raise: functions of a specification's clause values, (batch, clauses) -> (batch,).

For the margins of a label the clause values are ``z_label - z_j`` over the other classes j.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Loss = Callable[[Tensor], Tensor]


def margin(values: Tensor) -> Tensor:
    """The negated smallest clause value (Carlini & Wagner 2017, f6, without the cut at zero)."""
    return -values.min(dim=1).values


def cross_entropy(values: Tensor) -> Tensor:
    """A stand-in for the cross-entropy with the same directions of ascent.

    For margins the cross-entropy of the label is ``log(1 + exp(this))``: strictly increasing in it, so every
    normalised step is the same, but the gradient of this one does not vanish where the model is sure.
    """
    return torch.logsumexp(-values, dim=1)


LOSSES: Mapping[str, Loss] = {"cross-entropy": cross_entropy, "margin": margin}


def aimed_at(clause: Tensor) -> Loss:
    """The loss that pushes one clause of each sample down and ignores the others; clause: (batch,)."""
    return lambda values: -values.gather(1, clause[:, None])[:, 0]
