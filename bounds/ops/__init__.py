"""All operators, one file per family. Importing this package fills the registries of both front ends."""

from bounds.ops import conv, elementwise, linear, norm, pool, relu, shape, slicing, sshape
from bounds.ops.registry import ONNX, TORCH, Call

__all__ = [
    "ONNX",
    "TORCH",
    "Call",
    "conv",
    "elementwise",
    "linear",
    "norm",
    "pool",
    "relu",
    "shape",
    "slicing",
    "sshape",
]
