"""The smoothed classifier as attacks see it: a mean over draws that can be differentiated."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

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
        logits = self.model.draws(points, self.samples, self.m, self.run, [self.stage] * len(points))
        return logits.log_softmax(2).logsumexp(1)
