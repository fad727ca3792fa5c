"""Worker for AutoAttack (Croce & Hein 2020, the package pyautoattack) as its documentation shows a user.

Needs torch, numpy, onnx and pyautoattack in the Python that runs it; nothing of this toolkit's product.
Reads one line of JSON, an ``AttackCase``, and answers with one, an ``AttackAnswer``.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn

from benchmarks.baselines.attacks_case import AttackAnswer, AttackCase
from benchmarks.baselines.worker import answers, first_line


class Counted(nn.Module):
    """The nodes of an ONNX file in order, in torch; counts the samples that pass, forward and backward."""

    def __init__(self, path: str) -> None:
        super().__init__()
        graph = onnx.load(path).graph
        self.nodes = list(graph.node)
        self.weights = {each.name: torch.tensor(numpy_helper.to_array(each)) for each in graph.initializer}
        self.forwards, self.backwards = 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        if x.requires_grad:
            x.register_hook(self._count)
        for node in self.nodes:
            x = _value(node, x, [self.weights[name] for name in node.input if name in self.weights])
        return x

    def _count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def _value(node: onnx.NodeProto, x: Tensor, weights: list[Tensor]) -> Tensor:
    attributes: dict[str, Any] = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    match node.op_type:
        case "Sub":
            return x - weights[0]
        case "Div":
            return x / weights[0]
        case "Conv":
            return F.conv2d(x, *weights, stride=attributes["strides"], padding=attributes["pads"][:2])
        case "Relu":
            return F.relu(x)
        case "Flatten":
            return x.flatten(1)
        case "Gemm":
            return F.linear(x, *weights)
    raise ValueError(f"node {node.name!r}: the worker has no layer for {node.op_type}")


def run(case: AttackCase) -> AttackAnswer:
    """AutoAttack "standard" in one batch."""
    import pyautoattack

    torch.set_num_threads(case.threads)
    model = Counted(case.net).eval()
    with np.load(case.data) as data:
        x, y = (torch.from_numpy(data[name][: case.images]) for name in ("x", "y"))
    attack = pyautoattack.AutoAttack(model, norm=case.norm, eps=case.eps, version="standard", seed=0)
    wall, cpu = time.perf_counter(), time.process_time()
    found = attack.run_standard_evaluation(x, y, batch_size=case.images)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    forwards, backwards = model.forwards, model.backwards
    points = found[0] if isinstance(found, tuple) else found
    with torch.no_grad():
        right = float((model(points).argmax(1) == y).float().mean())
    return AttackAnswer(right, wall, cpu, forwards / case.images, backwards / case.images)


if __name__ == "__main__":
    with answers() as out:
        try:
            print(run(AttackCase.read(sys.stdin.readline())).line(), file=out)
        except Exception as error:
            print(AttackAnswer(error=first_line(error)).line(), file=out)
