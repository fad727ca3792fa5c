"""The temperature of distilled models."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

import bounds
from bounds.ops.elementwise import Divide
from certify.defences.base import Defence, Forward
from certify.errors import UsageError
from certify.model import Model


@dataclass(frozen=True)
class Temperature(Defence):
    """Logits divided by ``t``, as in defensive distillation (Papernot et al. 2016).

    A network trained at temperature T and run at 1 is one whose usual logits stand behind Temperature(1 / T):
    the softmax saturates, its gradient vanishes, and no decision changes (Carlini & Wagner 2017). t is held
    in float32. The engine bounds it as it is.
    Raises ``UsageError`` unless t is a normal number > 0 of float32.
    """

    t: float

    def __post_init__(self) -> None:
        limits = torch.finfo(torch.float32)
        if not (math.isfinite(self.t) and limits.tiny <= self.t <= limits.max):
            raise UsageError(f"t of Temperature is {self.t}; give a number > 0, such as 1 / 100")

    def forward(self, base: Model) -> Forward:
        t = float(torch.tensor(self.t, dtype=torch.float32))
        return lambda x: base(x) / t

    def graph(self, graph: bounds.Graph) -> bounds.Graph:
        builder = bounds.Builder(graph.input_shape)
        logits = builder.inlined(graph, builder.input)
        t = torch.tensor(self.t, dtype=torch.float32)
        return builder.build(builder.apply(Divide(), [logits], (t,), "temperature"))
