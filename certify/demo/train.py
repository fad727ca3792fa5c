"""Train the demo's network and write its assets: ``python -m certify.demo.train`` (extra ``train``).

One core needs about a minute. The same seed gives the same files on the same machine and PyTorch.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import bounds
from certify.demo.data import Split, splits
from certify.demo.network import INPUT_SHAPE, NUM_CLASSES, digits_cnn, to_onnx

ASSETS = Path(__file__).parent / "assets"
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How to train.

    eps: radius in the norm inf that the bounds are trained for, reached linearly after ``ramp`` of all steps.
    sigma: of the Gaussian noise that the network is to see through as well, so that smoothing works.
    kappa: weight of the certified loss; the clean and the noisy loss share the rest.
    """

    eps: float = 0.06
    sigma: float = 0.25
    kappa: float = 0.4
    ramp: float = 0.6
    epochs: int = 60
    batch_size: int = 64
    rate: float = 2e-3
    method: str = "crown-ibp"
    seed: int = 0


def certified_loss(graph: bounds.Graph, x: Tensor, y: Tensor, eps: float, method: str) -> Tensor:
    """Cross entropy of the worst margins that the bounds allow (Gowal et al. 2018; Zhang et al. 2020).

    The other classes' logits, relative to the label's, are at most the negated lower margins. Gradients reach
    the parameters of the module that the graph was traced from.
    """
    ball = bounds.Ball(x, eps, math.inf, clip=(0.0, 1.0))
    spec = bounds.margins(y, NUM_CLASSES)
    lower = bounds.bound(graph, ball, spec, method, torch.float32, "float").lower
    logits = torch.cat([torch.zeros(len(x), 1), -lower], dim=1)
    return cross_entropy(logits, torch.zeros(len(x), dtype=torch.int64))


def train(data: Split, recipe: Recipe, each: Callable[[int, float], None]) -> nn.Sequential:
    """A network trained by the recipe; ``each`` hears every step's number and loss."""
    generator = torch.Generator().manual_seed(recipe.seed)
    module = _initialised(generator)
    graph = bounds.trace(module, torch.zeros(1, *INPUT_SHAPE))
    per_epoch = len(data.x) // recipe.batch_size
    total = recipe.epochs * per_epoch
    optimiser = torch.optim.Adam(module.parameters(), lr=recipe.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, total)
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(data.x), generator=generator)
        for k in range(per_epoch):
            step = epoch * per_epoch + k
            rows = order[k * recipe.batch_size : (k + 1) * recipe.batch_size]
            x, y = data.x[rows], data.y[rows]
            noisy = x + recipe.sigma * torch.randn(x.shape, generator=generator)
            eps = recipe.eps * min(1.0, (step + 1) / (recipe.ramp * total))
            loss = recipe.kappa * certified_loss(graph, x, y, eps, recipe.method)
            natural = cross_entropy(module(x), y) + cross_entropy(module(noisy), y)
            loss = loss + (1 - recipe.kappa) / 2 * natural
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
            each(step, float(loss.detach()))
    return module.eval()


def _initialised(generator: torch.Generator) -> nn.Sequential:
    """A network with weights drawn from a generator of ours; PyTorch's own stays untouched."""
    module = digits_cnn()
    with torch.no_grad():
        for layer in module:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                layer.weight.mul_(
                    0.5
                )  # small intervals at first, so that bounds of deep layers say something
                nn.init.zeros_(layer.get_parameter("bias"))
    return module


def write(module: nn.Sequential, test: Split, folder: Path) -> None:
    """The network as weights and as ONNX, and the images that it has not seen."""
    import onnx
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "digits_cnn.safetensors").write_bytes(save(dict(module.state_dict())))
    onnx.save(to_onnx(module), folder / "digits_cnn.onnx")
    np.savez(folder / "digits.npz", x=test.x.numpy(), y=test.y.numpy())


def main() -> None:
    """Train by the default recipe and replace the assets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=ASSETS, help="folder of the assets (default: the package)"
    )
    folder: Path = parser.parse_args().out
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)  # sums in one order
    seen, test = splits()

    def each(step: int, loss: float) -> None:
        if step % 100 == 0:
            LOG.info("step %4d  loss %.4f", step, loss)

    module = train(seen, Recipe(), each)
    write(module, test, folder)
    with torch.no_grad():
        clean = (module(test.x).argmax(1) == test.y).double().mean()
    LOG.info("clean accuracy %.3f on %d images; wrote %s", clean, len(test.x), folder)


if __name__ == "__main__":
    main()
