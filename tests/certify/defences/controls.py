"""Defences that only look strong: each hides the gradient in another way, and each must be broken."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import certify.demo
from certify.defences import JPEG, Defended, RandomNoise, Temperature, Transform
from certify.defences.randomised import Randomised
from certify.model import Model, load

ASSETS = Path(certify.demo.__file__).parent / "assets"
SHAPE = (1, 8, 8)
UNIT = (0.0, 1.0)


@cache
def digits() -> tuple[Tensor, Tensor]:
    """200 images of digits, (200, 1, 8, 8), and their labels."""
    with np.load(ASSETS / "digits.npz") as data:
        return torch.from_numpy(data["x"]).float(), torch.from_numpy(data["y"]).long()


def base() -> Model:
    """A network without any defence."""
    return load(ASSETS / "digits_cnn.onnx", input_range=UNIT)


def distilled() -> Defended:
    """Logits in the thousands: the softmax is 1 and 0, the gradient of the cross-entropy is 0."""
    return Temperature(1 / 1000).around(base())


def compressed() -> Defended:
    """Rounding, which has no gradient."""
    return JPEG(30).around(base())


def shattered(transform: Transform) -> Model:
    """A model behind a transform whose gradient is left as it is: zero."""
    model = base()

    def forward(x: Tensor) -> Tensor:
        return model(transform(x.detach(), UNIT)) + 0 * x.sum()

    return Model(forward, None, SHAPE, 10, UNIT, "shattered", "0" * 64)


def noisy() -> Randomised:
    """Noise on a network whose gradient is drowned in waves, which the noise averages away."""
    model = base()

    def forward(x: Tensor) -> Tensor:
        waves = 2 * torch.sin(10 * x.flatten(1).sum(1, keepdim=True) + torch.arange(10).to(x))
        return model(x) + waves

    rippled = Model(forward, None, SHAPE, 10, UNIT, "rippled", "0" * 64)
    return RandomNoise(0.3).around(rippled)


class Winners(nn.Module):
    """k-winners-take-all (Xiao, Zhong & Zheng 2020): the largest share of a layer stays, the rest is 0."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, z: Tensor) -> Tensor:
        least = z.topk(int(self.share * z.shape[1]), dim=1).values[:, -1:]
        return torch.where(z >= least, z, 0.0)


@cache
def winners() -> Model:
    """A network with k-winners-take-all in place of ReLU, trained on the digits from the 60th on."""
    x, y = digits()
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        net = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, 256),
            Winners(0.05),
            nn.Linear(256, 256),
            Winners(0.05),
            nn.Linear(256, 10),
        )
        optimiser = torch.optim.Adam(net.parameters(), 1e-3)
        for _ in range(150):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[60:]), y[60:]).backward()
            optimiser.step()
    net.eval().requires_grad_(False)
    return Model(net, None, SHAPE, 10, UNIT, "winners", "0" * 64)
