"""What attacks know of the norms 0, 1, 2 and inf."""

from __future__ import annotations

import math

import torch
from torch import Tensor

NORMS = (0, 1, 2, math.inf)


def distance(delta: Tensor, norm: float) -> Tensor:
    """The norm of each sample's change, in float64; 0 counts the elements that changed. (batch,)"""
    flat = delta.flatten(1).double()
    if flat.shape[1] == 0:
        return flat.new_zeros(len(flat))
    result: Tensor = torch.linalg.vector_norm(flat, ord=norm, dim=1)
    return result
