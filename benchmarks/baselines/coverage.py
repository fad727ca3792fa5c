"""Worker for this toolkit on one ONNX file: does it import, and are the bounds over one region finite."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np
import torch

import bounds
from benchmarks.baselines.stages import Stage, StageFailed, Subject, serve_stages

EPS = 1 / 255


def prepare(subject: Subject) -> tuple[float, Mapping[str, Stage]]:
    """The number of nodes, and one stage per method, in float64 with every rounding error accounted for.

    detail: the VNN-LIB file whose first box and first specification are asked for; without it, those of the
    first sample in the .npz file beside the network, a box of ``EPS`` around it where it holds none.
    """
    torch.set_num_threads(subject.threads)
    graph = bounds.read_onnx(subject.name)

    def stage(method: str) -> Stage:
        def compute() -> float:
            region, spec = _question(graph, subject)
            with torch.no_grad():
                lower = bounds.bound(graph, region, spec, method=method, dtype=torch.float64).lower
            if not bool(lower.isfinite().all()):
                raise StageFailed(
                    f"{int((~lower.isfinite()).sum())} of {lower.numel()} bounds are not finite"
                )
            return float(lower.mean())

        return compute

    return float(len(graph.nodes)), {"IBP": stage("ibp"), "CROWN": stage("crown")}


def _question(graph: bounds.Graph, subject: Subject) -> tuple[bounds.Box, bounds.Spec]:
    if not subject.detail:
        return _recorded(graph, subject.name)
    region, spec = bounds.read_vnnlib(subject.detail)
    if region.shape != (prod(graph.input_shape),):
        raise StageFailed(f"the property has {prod(region.shape)} inputs, the network {graph.input_shape}")
    shape = (1, *graph.input_shape)
    return bounds.Box(region.lower[:1].reshape(shape), region.upper[:1].reshape(shape)), spec[:1]


def _recorded(graph: bounds.Graph, net: str) -> tuple[bounds.Box, bounds.Spec]:
    with np.load(Path(net).with_suffix(".npz")) as arrays:
        first = {
            name: torch.from_numpy(arrays[name][:1]) for name in ("x", "lo", "hi", "y") if name in arrays
        }
    x = first["x"].double()
    region = bounds.Box(first.get("lo", x - EPS).double(), first.get("hi", x + EPS).double())
    return region, bounds.margins(first["y"], prod(graph.output_shape))


if __name__ == "__main__":
    serve_stages(prepare)
