"""A residual network of the size of ResNet-20 (He et al. 2016) for 32 x 32 images, with random weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class _Block(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        short = nn.Conv2d(channels, out, 1, stride, bias=False)
        self.short = nn.Identity() if channels == out else short

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.short(x))


def resnet20(classes: int = 10) -> nn.Module:
    """Three stages of three blocks, 16, 32 and 64 channels, in eval mode."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1), nn.ReLU()]
    channels = 16
    for out in (16, 32, 64):
        for block in range(3):
            layers.append(_Block(channels, out, 2 if block == 0 and out > 16 else 1))
            channels = out
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes)]
    return nn.Sequential(*layers).eval()
