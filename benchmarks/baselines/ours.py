"""Worker for this toolkit: ``bounds.bound``."""

from __future__ import annotations

from collections.abc import Callable

import torch

import bounds
from benchmarks.baselines.worker import Case, Margins, serve


def prepare(case: Case) -> Callable[[], Margins]:
    """float32 is not a proof (level "float"), float64 accounts for every rounding error (level "real")."""
    torch.set_num_threads(case.threads)
    graph = bounds.read_onnx(case.net)
    samples = {name: torch.from_numpy(value) for name, value in case.samples().items()}
    region = bounds.Box(samples["lo"], samples["hi"])
    spec = bounds.margins(samples["y"], graph.output_shape[0])
    dtype = {"float32": torch.float32, "float64": torch.float64}[case.dtype]

    def compute() -> Margins:
        with torch.no_grad():
            return bounds.bound(graph, region, spec, method=case.method.lower(), dtype=dtype).lower.numpy()

    return compute


if __name__ == "__main__":
    serve("bounds", prepare)
