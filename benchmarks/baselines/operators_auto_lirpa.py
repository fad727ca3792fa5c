"""Worker for auto_LiRPA (Xu et al. 2020) on one module of the operator probe, with its default options."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from auto_LiRPA import (
    BoundedModule,
    BoundedTensor,
    PerturbationLpNorm,
)

from benchmarks.baselines.probes import lost, width
from benchmarks.baselines.stages import Stage, StageFailed, Subject, serve_stages
from benchmarks.baselines.zoo import ZOO

METHODS = {"IBP": "IBP", "CROWN": "CROWN", "alpha": "CROWN-Optimized"}


def prepare(subject: Subject) -> tuple[None, Mapping[str, Stage]]:
    """One stage per method, each on a BoundedModule of its own."""
    torch.set_num_threads(subject.threads)
    probe = ZOO[subject.name]
    low, high = probe.box()

    def stage(name: str) -> Stage:
        def compute() -> float:
            model = BoundedModule(probe.module(), torch.zeros_like(low) + low)
            x = BoundedTensor((low + high) / 2, PerturbationLpNorm(norm=np.inf, x_L=low, x_U=high))
            lower, upper = model.compute_bounds(x=(x,), method=METHODS[name])
            wrong = lost(probe.module(), (low, high), (lower, upper))
            if wrong is not None:
                raise StageFailed(wrong)
            return width((lower, upper))

        return compute

    BoundedModule(probe.module(), low)
    return None, {name: stage(name) for name in METHODS}


if __name__ == "__main__":
    serve_stages(prepare)
