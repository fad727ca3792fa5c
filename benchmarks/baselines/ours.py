"""Worker for this toolkit: ``bounds.bound``, or a plain forward pass of the same batch."""

from __future__ import annotations

from collections.abc import Callable

import torch

import bounds
from benchmarks.baselines.worker import Case, Margins, serve

# How the suites call what ``bounds.bound`` calls otherwise: the peer's names, for the methods to be paired.
METHODS = {"alpha": "alpha-crown", "alpha-full": "alpha-crown-joint"}
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def prepare(case: Case) -> Callable[[], Margins]:
    """float32 is not a proof (level "float"), float64 accounts for every rounding error (level "real")."""
    torch.set_num_threads(case.threads)
    dtype = DTYPES[case.dtype]
    graph = bounds.read_onnx(case.net).to(dtype)
    samples = {name: torch.from_numpy(value) for name, value in case.samples().items()}
    region = bounds.Box(samples["lo"].to(dtype), samples["hi"].to(dtype))
    spec = bounds.margins(samples["y"], graph.output_shape[0])
    method = METHODS.get(case.method, case.method.lower())
    center = (region.lower + region.upper) / 2
    with torch.no_grad():
        # As the peer does when it is built; so the libraries of its layers are in memory on both sides.
        graph(center)

    def forward() -> Margins:
        with torch.no_grad():
            return graph(center).numpy()

    def outputs() -> Margins:
        with torch.no_grad():
            return bounds.bound(graph, region, method="ibp", dtype=dtype, level=case.level).lower.numpy()

    def compute() -> Margins:
        with torch.no_grad():
            return bounds.bound(
                graph, region, spec, method=method, dtype=dtype, level=case.level
            ).lower.numpy()

    return {"forward": forward, "IBP of outputs": outputs}.get(case.method, compute)


if __name__ == "__main__":
    serve("bounds", prepare)
