"""Backward pass differentiable approximation (Athalye, Carlini & Wagner 2018, section 4.1).

A step whose gradient is zero, absent or of no use is shown to gradient attacks with another backward pass, so
that every attack is an adaptive one by default. The forward pass stays as it is, to the last bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# The gap of the two largest logits at which a softmax still has a gradient to speak of.
_GAP = 4.0


class _StraightThrough(torch.autograd.Function):
    """The value of one tensor with the gradient of another."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, stand_in: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, gradients[0]


def straight_through(value: Tensor, stand_in: Tensor) -> Tensor:
    """Exactly ``value``; what differentiates it sees ``stand_in``, of the same shape and dtype."""
    found: Tensor = _StraightThrough.apply(value.detach(), stand_in)  # type: ignore[no-untyped-call]
    return found


def rounded(x: Tensor) -> Tensor:
    """``torch.round`` with the identity as its stand-in."""
    return straight_through(x.detach().round(), x)


def softmax_for_attacks(logits: Tensor) -> Tensor:
    """The softmax; its stand-in is taken at a temperature that brings the largest logits close together.

    logits: (batch, classes). Where the plain softmax is saturated, as after distillation, or next to
    constant, its gradient says nothing; the stand-in's direction does not depend on the scale of the logits.
    """
    if logits.shape[1] < 2:
        return logits.softmax(1)
    top = logits.detach().topk(2, dim=1).values
    gap = (top[:, :1] - top[:, 1:]).clamp(min=torch.finfo(logits.dtype).tiny * 8)
    return straight_through(logits.detach().softmax(1), (logits * (_GAP / gap)).softmax(1))
