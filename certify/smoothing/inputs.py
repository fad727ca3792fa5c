"""The check of inputs that are to be certified."""

from __future__ import annotations

import torch
from torch import Tensor

from certify.errors import UsageError
from certify.model import Model
from certify.query import check_ids, check_samples
from certify.smoothing.engine import Classifier


def check_inputs(model: Model | Classifier, x: Tensor, samples: tuple[int, ...]) -> None:
    """Refuse inputs that no statement can be made about."""
    if x.dim() < 2 or len(x) == 0 or x.dtype not in (torch.float32, torch.float64):
        raise UsageError(
            f"x has shape {tuple(x.shape)} and dtype {x.dtype}; give at least one sample, batch on axis 0, "
            f"in float32 or float64 (noise in half precision is too coarse)"
        )
    if len(samples) != len(x):
        raise UsageError(f"{len(samples)} sample ids for {len(x)} samples")
    check_ids(samples)
    if isinstance(model, Model):
        check_samples(model, x, torch.zeros(len(x), dtype=torch.int64, device=x.device))
    bad = ~x.flatten(1).isfinite().all(1)
    if bad.any():
        raise UsageError(f"sample {int(bad.nonzero()[0, 0])} of x holds NaN or Inf; remove or repair it")
