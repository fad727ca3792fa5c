"""The smoothed classifier as attacks see it: a mean over draws that can be differentiated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from certify.noise import Draws, stream_key
from certify.run import Run
from certify.smoothing import Smoothed


@dataclass(frozen=True, eq=False)
class MeanSoftmax:
    """The log of the mean softmax of ``model.base`` over ``m`` noisy copies of each point, up to log m.

    Its gradient is that of SmoothAdv-PGD (Salman et al. 2019), where the mean lies inside the logarithm.
    samples: an id for each point; with ``stage`` and ``run.seed`` they key the noise.
    (batch, *shape) -> (batch, classes).
    """

    model: Smoothed
    m: int
    samples: tuple[int, ...]
    run: Run
    stage: str

    def __call__(self, points: Tensor) -> Tensor:
        copies = [self._copies(*each) for each in zip(points, self.samples, strict=True)]
        logits = self.model.base(torch.cat(copies))
        return logits.log_softmax(1).view(len(points), self.m, -1).logsumexp(1)

    def _copies(self, point: Tensor, sample: int) -> Tensor:
        key = stream_key(self.run.seed, repr(self.model.law), sample, self.stage)
        return self.model.law.perturb(point, Draws(key, 0, self.m, point.device, point.dtype))
