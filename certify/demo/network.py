"""The demo's network, as a module and as ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    import onnx

INPUT_SHAPE = (1, 8, 8)
NUM_CLASSES = 10


def digits_cnn() -> nn.Sequential:
    """A ReLU network for 8x8 grey digits in [0, 1]: two convolutions (the first with stride 2), two linear
    layers; (batch, 1, 8, 8) -> (batch, 10).
    """
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24 * 4 * 4, 96),
        nn.ReLU(),
        nn.Linear(96, NUM_CLASSES),
    )


def to_onnx(module: nn.Sequential) -> onnx.ModelProto:
    """The same network as ONNX, with a free batch size.

    Written by hand: PyTorch's own exporter needs packages that nothing else here does.
    Raises ``TypeError`` for a layer that is none of those in ``digits_cnn``.
    """
    from onnx import TensorProto, helper, numpy_helper  # not needed by the factory

    nodes, weights, here = [], [], "x"
    for index, layer in enumerate(module):
        params = [f"{index}.{name}" for name, _ in layer.named_parameters()]
        weights += [
            numpy_helper.from_array(value.detach().numpy(), f"{index}.{name}")
            for name, value in layer.named_parameters()
        ]
        op, attributes = _operator(layer)
        there = "logits" if index == len(module) - 1 else f"{index}.out"
        nodes.append(helper.make_node(op, [here, *params], [there], name=f"{index}", **attributes))
        here = there
    graph = helper.make_graph(
        nodes,
        "digits_cnn",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *INPUT_SHAPE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", NUM_CLASSES])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _operator(layer: nn.Module) -> tuple[str, dict[str, Any]]:
    """ONNX's operator and attributes for a layer."""
    match layer:
        case nn.Conv2d():
            # PyTorch pads an axis by the same number on both sides; ONNX lists the starts, then the ends
            return "Conv", {"strides": layer.stride, "pads": [int(p) for p in layer.padding] * 2}
        case nn.Linear():
            return "Gemm", {"transB": 1}
        case nn.ReLU():
            return "Relu", {}
        case nn.Flatten():
            return "Flatten", {"axis": 1}
    raise TypeError(f"{type(layer).__name__} is no layer of the demo's network")
