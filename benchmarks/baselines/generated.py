"""Worker for this toolkit on generated ReLU networks, whose sizes are the question."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

import bounds
from benchmarks.baselines.worker import Case, Margins, serve

SEED = 0
OUTPUTS = 10
RADIUS = 0.01


@dataclass(frozen=True)
class Shape:
    """A network to be generated, and the number of rows of a specification.

    family: "mlp": ``depth`` hidden layers of ``width`` neurons on ``size`` inputs. "cnn": ``depth``
        convolutions, 3x3 with padding, of ``width`` channels on a square image of ``size`` pixels a side.
    """

    family: str
    depth: int
    width: int
    size: int
    rows: int

    def text(self) -> str:
        """As one word, for ``Case.net``."""
        return json.dumps(asdict(self))

    def module(self) -> nn.Module:
        """Weights of variance 2 / inputs (He et al. 2015), so that about half of the neurons are active."""
        source = torch.Generator().manual_seed(SEED)
        layers = self._mlp() if self.family == "mlp" else self._cnn()
        module = nn.Sequential(*layers).requires_grad_(False)
        for each in module.parameters():
            if each.dim() > 1:
                each.normal_(0, (2 / each[0].numel()) ** 0.5, generator=source)
            else:
                each.zero_()
        return module.eval()

    def _mlp(self) -> list[nn.Module]:
        sizes = [self.size] + [self.width] * self.depth
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.utils.skip_init(nn.Linear, before, after), nn.ReLU()]
        return [*layers, nn.utils.skip_init(nn.Linear, self.width, OUTPUTS)]

    def _cnn(self) -> list[nn.Module]:
        channels = [3] + [self.width] * self.depth
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.utils.skip_init(nn.Conv2d, before, after, 3, padding=1), nn.ReLU()]
        return [
            *layers,
            nn.Flatten(),
            nn.utils.skip_init(nn.Linear, self.width * self.size**2, OUTPUTS),
        ]

    def neurons(self) -> int:
        """Of all hidden layers."""
        return self.depth * self.width * (1 if self.family == "mlp" else self.size**2)

    def input_shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return (self.size,) if self.family == "mlp" else (3, self.size, self.size)


def prepare(case: Case) -> Callable[[], Margins]:
    """Boxes of radius ``RADIUS`` around normal samples, rows with normal coefficients, all seeded."""
    torch.set_num_threads(case.threads)
    shape = Shape(**json.loads(case.net))
    source = torch.Generator().manual_seed(SEED)
    x = torch.randn(case.batch, *shape.input_shape(), generator=source)
    graph = bounds.trace(shape.module(), x[:1])
    region = bounds.Box(x - RADIUS, x + RADIUS)
    matrix: Tensor = torch.randn(1, shape.rows, OUTPUTS, generator=source)
    spec = bounds.Spec(matrix, torch.zeros(1, shape.rows))

    def compute() -> Margins:
        with torch.no_grad():
            return bounds.bound(graph, region, spec, method=case.method.lower()).lower.numpy()

    return compute


if __name__ == "__main__":
    serve("bounds", prepare)
