"""The two front ends: ``torch.nn.Module`` and ONNX files become a ``bounds.Graph``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bounds.graph import Graph
from bounds.trace.module import trace

__all__ = ["read_onnx", "trace"]


def read_onnx(path: str | Path, input_shape: Sequence[int] | None = None, max_bytes: int = 2**32) -> Graph:
    """The graph of an ONNX file (``.onnx``, or gzipped) with one input and one output.

    An input of two axes and more has the batch on axis 0, of dynamic size or one; an input of one axis is one
    sample, and so is one whose fixed first axis the output does not share; the graph adds the batch axis. The
    other axes must be known or given by ``input_shape``, the shape of one sample. Weights keep float32 or
    float64; half precision is cast up, exactly. A file of a fixed batch
    of one may move or drop its batch axis. Weights in files of their own must be plain files in the model's
    folder; max_bytes: of the file, and of its tensors together.

    Raises ``InvalidFile`` for what is not a valid ONNX model, ``Unsupported`` naming operator, node and file
    for what the engine cannot bound, ``InvalidGraph`` for shapes that do not follow.
    """
    from bounds.trace.onnx import read  # noqa: PLC0415 - the onnx package is heavy and not always needed

    return read(Path(path), input_shape, max_bytes)
