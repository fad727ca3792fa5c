"""What the operator probe asks for, by name; every module has a ReLU, so that each has slopes to optimise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.baselines.probes import Fn, Probe
from benchmarks.baselines.zoo_blocks import (
    Attention,
    EmbeddingClassifier,
    EncoderLayer,
    Recurrent,
    SelfAttention,
    TinyViT,
    Two,
    Unrolled,
    WithConstant,
)

Function = Callable[[Tensor], Tensor]
Pair = Callable[[Tensor, Tensor], Tensor]


def _end() -> tuple[nn.Module, nn.Module]:
    return nn.ReLU(), nn.Flatten()


def _flat(layer: Callable[[], nn.Module]) -> Probe:
    """On the eight outputs of a linear layer."""
    return Probe(lambda: nn.Sequential(nn.Linear(6, 8), layer(), *_end()), (6,))


def _point(function: Function, positive: bool = False) -> Probe:
    """A function of each of eight numbers, between linear layers."""

    def make() -> nn.Module:
        tail = (nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3))
        return nn.Sequential(nn.Linear(6, 8), Fn(function), *tail)

    return Probe(make, (6,), positive)


def _layer(layer: Callable[[], nn.Module]) -> Probe:
    """A layer on each of eight numbers, between linear layers."""
    tail = (nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3))
    return Probe(lambda: nn.Sequential(nn.Linear(6, 8), layer(), *tail), (6,))


def _image(layer: Callable[[], nn.Module]) -> Probe:
    """On four channels of 8x8."""
    return Probe(lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), layer(), *_end()), (2, 8, 8))


def _two(function: Pair, positive: bool = False) -> Probe:
    """On two linear layers of the same input."""
    return Probe(lambda: nn.Sequential(Two(function, positive), *_end()), (6,), positive)


def _tokens(layer: Callable[[], nn.Module], steps: int = 4) -> Probe:
    """On a sequence of six numbers per step."""
    return Probe(lambda: nn.Sequential(layer(), *_end()), (steps, 6))


def _constant(*shape: int) -> Tensor:
    return torch.sin(torch.arange(1.0, 1 + math.prod(shape))).reshape(shape)


AFFINE: Mapping[str, Probe] = {
    "linear": _flat(lambda: nn.Linear(8, 7)),
    "conv1d": Probe(lambda: nn.Sequential(nn.Conv1d(2, 4, 3, stride=2, padding=1), *_end()), (2, 9)),
    "conv2d": _image(lambda: nn.Conv2d(4, 6, 3, stride=2, dilation=2, groups=2)),
    "conv3d": Probe(lambda: nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), *_end()), (1, 4, 4, 4)),
    "conv_transpose1d": Probe(lambda: nn.Sequential(nn.ConvTranspose1d(2, 3, 3, stride=2), *_end()), (2, 5)),
    "conv_transpose2d": _image(lambda: nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1)),
    "conv_transpose3d": Probe(
        lambda: nn.Sequential(nn.ConvTranspose3d(1, 4, 2, stride=2), *_end()), (1, 3, 3, 3)
    ),
    "matmul constant": _tokens(lambda: WithConstant(lambda x, c: x @ c, _constant(6, 5))),
    "matmul constant left": _tokens(lambda: WithConstant(lambda x, c: c @ x, _constant(3, 4))),
    "bmm constant": _tokens(lambda: WithConstant(lambda x, c: x.unsqueeze(1) @ c, _constant(2, 6, 3))),
    "einsum constant": _tokens(
        lambda: WithConstant(lambda x, c: torch.einsum("bti,ijt->bj", x, c), _constant(6, 5, 4))
    ),
    "batch norm": _image(lambda: nn.BatchNorm2d(4)),
    "average pool": _image(lambda: nn.AvgPool2d(3, stride=2, padding=1)),
    "adaptive average pool": _image(lambda: nn.AdaptiveAvgPool2d((3, 5))),
    "global average pool": _image(lambda: nn.AdaptiveAvgPool2d(1)),
    "upsample nearest": _image(lambda: nn.Upsample(scale_factor=2, mode="nearest")),
    "upsample bilinear": _image(lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)),
    "pad constant": _image(lambda: nn.ConstantPad2d((1, 2, 0, 1), 0.5)),
    "pad reflect": _image(lambda: nn.ReflectionPad2d(2)),
    "pad replicate": _image(lambda: nn.ReplicationPad2d(2)),
    "pad circular": _image(lambda: nn.CircularPad2d(1)),
    "flatten, permute, reshape": _image(
        lambda: Fn(lambda x: x.permute(0, 2, 3, 1).reshape(len(x), 16, 16).transpose(1, 2).flatten(1))
    ),
    "squeeze, unsqueeze": _image(lambda: Fn(lambda x: x.unsqueeze(2).squeeze(2))),
    "cat": _image(lambda: Fn(lambda x: torch.cat([x, x.flip(2)[:, :2], torch.ones_like(x)], dim=1))),
    "split": _image(lambda: Fn(lambda x: torch.split(x, [1, 3], dim=1)[1] - x.chunk(4, dim=1)[0])),
    "slice": _image(lambda: Fn(lambda x: x[:, 1:, ::2, 1:-1])),
    "gather": _image(lambda: Fn(lambda x: x[:, torch.tensor([2, 0, 0])])),
    "index_select": _image(lambda: Fn(lambda x: torch.index_select(x, 3, torch.tensor([1, 5, 5])))),
    "expand": _flat(lambda: Fn(lambda x: x.unsqueeze(1).expand(-1, 3, -1))),
    "tile": _flat(lambda: Fn(lambda x: x.repeat(1, 3))),
    "sum": _image(lambda: Fn(lambda x: x.sum(dim=(2, 3)))),
    "mean": _image(lambda: Fn(lambda x: x.mean(dim=1, keepdim=True))),
    "cumsum": _flat(lambda: Fn(lambda x: torch.cumsum(x, dim=1))),
    "pixel shuffle": _image(lambda: nn.PixelShuffle(2)),
    "where with constant mask": _flat(
        lambda: Fn(lambda x: torch.where(_constant(8) > 0, x, 0.5 * torch.ones_like(x)))
    ),
}

POINTWISE: Mapping[str, Probe] = {
    "relu": _layer(nn.ReLU),
    "leaky relu": _layer(lambda: nn.LeakyReLU(0.1)),
    "prelu": _layer(lambda: nn.PReLU(8)),
    "elu": _layer(nn.ELU),
    "selu": _layer(nn.SELU),
    "celu": _layer(lambda: nn.CELU(0.7)),
    "sigmoid": _layer(nn.Sigmoid),
    "tanh": _layer(nn.Tanh),
    "softplus": _layer(nn.Softplus),
    "softsign": _layer(nn.Softsign),
    "gelu erf": _layer(nn.GELU),
    "gelu tanh": _layer(lambda: nn.GELU(approximate="tanh")),
    "silu": _layer(nn.SiLU),
    "mish": _layer(nn.Mish),
    "hardsigmoid": _layer(nn.Hardsigmoid),
    "hardswish": _layer(nn.Hardswish),
    "hardtanh": _layer(nn.Hardtanh),
    "clamp": _point(lambda x: torch.clamp(x, -0.3, 0.4)),
    "abs": _point(torch.abs),
    "sign": _point(torch.sign),
    "step": _point(lambda x: (x > 0.1).to(x.dtype)),
    "floor": _point(lambda x: torch.floor(3 * x)),
    "round": _point(lambda x: torch.round(3 * x)),
    "exp": _point(torch.exp),
    "log": _point(torch.log, positive=True),
    "sqrt": _point(torch.sqrt, positive=True),
    "rsqrt": _point(torch.rsqrt, positive=True),
    "reciprocal": _point(torch.reciprocal, positive=True),
    "pow 2": _point(lambda x: x**2),
    "pow 3": _point(lambda x: x**3),
    "pow 0.5": _point(lambda x: x**0.5, positive=True),
    "pow -1": _point(lambda x: x**-1, positive=True),
    "sin": _point(torch.sin),
    "cos": _point(torch.cos),
    "tan": _point(lambda x: torch.tan(0.3 * x)),
    "atan": _point(torch.atan),
    "erf": _point(torch.erf),
}

OTHERS: Mapping[str, Probe] = {
    "max pool": _image(lambda: nn.MaxPool2d(2)),
    "max pool overlapping": _image(lambda: nn.MaxPool2d(3, stride=2)),
    "max pool padded": _image(lambda: nn.MaxPool2d(3, stride=2, padding=1)),
    "max pool ceil": _image(lambda: nn.MaxPool2d(3, stride=2, ceil_mode=True)),
    "max pool adaptive": _image(lambda: nn.AdaptiveMaxPool2d((3, 3))),
    "max pool repeated": _image(lambda: nn.Sequential(nn.MaxPool2d(2), nn.MaxPool2d(2))),
    "mul": _two(torch.mul),
    "div": _two(torch.div, positive=True),
    "matmul": _two(lambda a, b: a.reshape(-1, 2, 4) @ b.reshape(-1, 4, 2)),
    "max": _two(torch.maximum),
    "min": _two(torch.minimum),
    "amax": _image(lambda: Fn(lambda x: x.amax(dim=(2, 3)))),
    "amin": _flat(lambda: Fn(lambda x: 2 + x.amin(dim=1, keepdim=True))),
    "softmax": _flat(lambda: nn.Softmax(dim=1)),
    "log_softmax": _flat(lambda: Fn(lambda x: 8 + F.log_softmax(x, dim=1))),
    "logsumexp": _flat(lambda: Fn(lambda x: torch.logsumexp(x, dim=1, keepdim=True))),
    "group norm": _image(lambda: nn.GroupNorm(2, 4)),
    "instance norm": _image(lambda: nn.InstanceNorm2d(4, affine=True)),
    "layer norm": _flat(lambda: nn.LayerNorm(8)),
    "rms norm": _flat(lambda: nn.RMSNorm(8, eps=1e-5)),
    "scaled_dot_product_attention": _tokens(Attention),
    "nn.MultiheadAttention": _tokens(SelfAttention),
    "nn.TransformerEncoderLayer": _tokens(EncoderLayer),
    "vision transformer": Probe(TinyViT, (1, 8, 8)),
    "nn.LSTM": _tokens(lambda: Recurrent(nn.LSTM(6, 4, batch_first=True)), 3),
    "nn.GRU": _tokens(lambda: Recurrent(nn.GRU(6, 4, batch_first=True)), 3),
    "nn.RNN": _tokens(lambda: Recurrent(nn.RNN(6, 4, batch_first=True)), 3),
    "LSTMCell unrolled": _tokens(lambda: Unrolled(nn.LSTMCell(6, 4)), 3),
    "GRUCell unrolled": _tokens(lambda: Unrolled(nn.GRUCell(6, 4)), 3),
    "embedding-space input": _tokens(EmbeddingClassifier, 5),
}

ZOO: Mapping[str, Probe] = {**AFFINE, **POINTWISE, **OTHERS}
