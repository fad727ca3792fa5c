"""Worker for this toolkit on one module of the operator probe."""

from __future__ import annotations

from collections.abc import Mapping

import torch

import bounds
from benchmarks.baselines.probes import lost, width
from benchmarks.baselines.stages import Stage, StageFailed, Subject, serve_stages
from benchmarks.baselines.zoo import ZOO

METHODS = {"IBP": "ibp", "CROWN": "crown", "alpha": "alpha-crown-joint", "real": "crown"}


def prepare(subject: Subject) -> tuple[None, Mapping[str, Stage]]:
    """One stage per method in float32; "real" is CROWN in float64 with every rounding error accounted for."""
    torch.set_num_threads(subject.threads)
    probe = ZOO[subject.name]
    graph = bounds.trace(probe.module(), probe.box()[0])

    def stage(name: str) -> Stage:
        dtype = torch.float64 if name == "real" else torch.float32

        def compute() -> float:
            low, high = (each.to(dtype) for each in probe.box())
            with torch.no_grad():
                found = bounds.bound(graph, bounds.Box(low, high), method=METHODS[name], dtype=dtype)
            wrong = lost(probe.module().to(dtype), (low, high), (found.lower, found.upper))
            if wrong is not None:
                raise StageFailed(wrong)
            return width((found.lower, found.upper))

        return compute

    return None, {name: stage(name) for name in METHODS}


if __name__ == "__main__":
    serve_stages(prepare)
