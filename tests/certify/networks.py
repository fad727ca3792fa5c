"""Small modules and factories that the loading tests name."""

import torch
from torch import nn


def small_cnn() -> nn.Module:
    """A convolution with batch norm, in training mode, for inputs (3, 6, 6); always the same weights."""
    with torch.random.fork_rng():
        torch.random.manual_seed(1)
        norm = nn.BatchNorm2d(4)
        norm.running_mean = torch.randn(4)
        norm.running_var = torch.rand(4) + 0.5
        return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), norm, nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))


def failing() -> nn.Module:
    raise OSError("no such\nweights")


def no_module() -> str:
    return "network"


class Factories:
    build = staticmethod(small_cnn)
