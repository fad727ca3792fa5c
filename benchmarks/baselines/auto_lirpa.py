"""Worker for auto_LiRPA (Xu et al. 2020), with the settings that its documentation shows a user.

Needs torch, numpy, onnx and auto_LiRPA in the Python that runs it; nothing of this toolkit's product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import auto_LiRPA
import numpy as np
import onnx
import torch
from auto_LiRPA import BoundedModule, BoundedTensor, PerturbationLpNorm
from onnx import numpy_helper
from torch import Tensor, nn

from benchmarks.baselines.worker import Case, Margins, serve

# The exporter's way to spell flatten(1): these nodes compute its target shape.
SHAPE_NODES = {"Shape", "Constant", "Gather", "Unsqueeze", "Concat"}


class OnnxModule(nn.Module):
    """The nodes of an ONNX file as ordinary torch layers, run in order; batch on axis 0."""

    def __init__(self, path: str) -> None:
        super().__init__()
        graph = onnx.load(path).graph
        weights = {each.name: torch.tensor(numpy_helper.to_array(each)) for each in graph.initializer}
        nodes = [node for node in graph.node if node.op_type not in SHAPE_NODES]
        self.layers = nn.ModuleList(_layer(node, weights) for node in nodes)
        self.inputs = [[name for name in node.input if name not in weights] for node in nodes]
        self.outputs = [node.output[0] for node in nodes]
        self.source = graph.input[0].name

    def forward(self, x: Tensor) -> Tensor:
        values = {self.source: x}
        for layer, inputs, output in zip(self.layers, self.inputs, self.outputs, strict=True):
            x = layer(*(values[name] for name in inputs if name in values))
            values[output] = x
        return x


class Add(nn.Module):
    """The sum of two branches."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


def _layer(node: onnx.NodeProto, weights: dict[str, Tensor]) -> nn.Module:
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    parameters = [weights[name] for name in node.input if name in weights]
    match node.op_type:
        case "Conv":
            return _conv(attributes, parameters)
        case "Gemm" if attributes.get("transB"):
            out_features, in_features = parameters[0].shape
            return _filled(nn.Linear(in_features, out_features), parameters)
        case "Relu":
            return nn.ReLU()
        case "Add":
            return Add()
        case "Flatten" | "Reshape":
            return nn.Flatten()
    raise ValueError(f"node {node.name!r}: the worker has no layer for {node.op_type}")


def _conv(attributes: dict[str, Any], parameters: list[Tensor]) -> nn.Module:
    out_channels, in_channels, height, width = parameters[0].shape
    top, left, bottom, right = attributes["pads"]
    if (top, left) != (bottom, right) or attributes["group"] != 1:
        raise ValueError("the worker knows only ungrouped convolutions with the same padding on both sides")
    conv = nn.Conv2d(
        in_channels,
        out_channels,
        (height, width),
        stride=attributes["strides"],
        padding=(top, left),
        dilation=attributes["dilations"],
        bias=len(parameters) == 2,
    )
    return _filled(conv, parameters)


def _filled(layer: nn.Module, parameters: list[Tensor]) -> nn.Module:
    for target, value in zip(layer.parameters(), parameters, strict=True):
        target.data = value
    return layer


def prepare(case: Case) -> Callable[[], Margins]:
    """A BoundedModule with its default options (patches mode, sparse rows of unstable neurons).

    "alpha-full" is its default optimisation, 20 steps on all slopes; "alpha" keeps the intermediate bounds
    of the CROWN pass and steps on the slopes of the margins' own rows.
    """
    torch.set_num_threads(case.threads)
    dtype = {"float32": torch.float32, "float64": torch.float64}[case.dtype]
    torch.set_default_dtype(dtype)
    samples = {name: torch.from_numpy(value) for name, value in case.samples().items()}
    low, high = samples["lo"].to(dtype), samples["hi"].to(dtype)
    # Gradients of the weights, which nobody asks for here, would cost it time.
    network = OnnxModule(case.net).to(dtype).eval().requires_grad_(False)
    own = {"optimize_bound_args": {"init_alpha": case.method != "alpha"}}
    model = BoundedModule(network, torch.zeros_like(low), bound_opts=own)
    num_classes = network(low).shape[1]
    rows = torch.from_numpy(_margin_rows(samples["y"].numpy(), num_classes)).to(dtype)
    x = BoundedTensor((low + high) / 2, PerturbationLpNorm(norm=np.inf, x_L=low, x_U=high))

    def compute() -> Margins:
        with torch.no_grad():
            lower, _ = model.compute_bounds(x=(x,), C=rows, method=case.method, bound_upper=False)
        return lower.numpy()

    def optimise(kept: dict[str, list[Tensor]] | None) -> Margins:
        lower, _ = model.compute_bounds(
            x=(x,), C=rows, method="CROWN-Optimized", bound_upper=False, interm_bounds=kept
        )
        return lower.detach().numpy()

    def optimise_last() -> Margins:
        # The pass that sets the slopes to start from is the one whose intermediate bounds are kept.
        _, _, kept = model.init_alpha((x,), c=rows, bound_upper=False)
        return optimise(kept)

    return {"alpha": optimise_last, "alpha-full": lambda: optimise(None)}.get(case.method, compute)


def _margin_rows(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """y_label - y_j for every j != label in class order, (batch, num_classes - 1, num_classes)."""
    eye = np.eye(num_classes)
    return np.stack([np.delete(eye[label] - eye, label, axis=0) for label in labels])


if __name__ == "__main__":
    serve(f"auto_LiRPA {auto_LiRPA.__version__}", prepare)
