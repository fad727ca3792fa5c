"""The blocks of the operator probe that are more than one layer."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WithConstant(nn.Module):
    """A function of the input and a constant."""

    constant: Tensor

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], constant: Tensor) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("constant", constant)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.constant)


class Two(nn.Module):
    """A function of two linear layers of the same input; ``positive`` keeps the second above zero."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], positive: bool) -> None:
        super().__init__()
        # First, since that is the layer whose weights a positive probe makes positive.
        self.second = nn.Linear(6, 8)
        self.first = nn.Linear(6, 8)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.first(x), self.second(x))


class Attention(nn.Module):
    """``F.scaled_dot_product_attention`` of three projections."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x))


class SelfAttention(nn.Module):
    """``nn.MultiheadAttention`` of a sequence with itself."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.attention(x, x, x, need_weights=False)
        return y


class EncoderLayer(nn.Module):
    """``nn.TransformerEncoderLayer`` as it comes, norms last."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(6, 2, dim_feedforward=8, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Block(nn.Module):
    """A transformer block with norms first, in plain operators."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        parts = self.qkv(self.norm(x)).reshape(batch, tokens, 3, self.heads, dim // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(-2, -1) * (dim // self.heads) ** -0.5
        mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).reshape(batch, tokens, dim)
        x = x + self.out(mixed)
        return x + self.mlp(self.norm2(x))


class TinyViT(nn.Module):
    """Four patches and a class token through two blocks (Dosovitskiy et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.position = nn.Parameter(torch.zeros(1, 5, 8))
        self.blocks = nn.Sequential(Block(8, 2), Block(8, 2))
        self.head = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(patches), -1, -1), patches], dim=1) + self.position
        return self.head(self.blocks(x)[:, 0])


class Recurrent(nn.Module):
    """The last output of a recurrent layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        steps, _ = self.layer(x)
        return self.head(steps[:, -1])


class Unrolled(nn.Module):
    """A recurrent cell, called step by step."""

    def __init__(self, cell: nn.LSTMCell | nn.GRUCell) -> None:
        super().__init__()
        self.cell = cell
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.zeros(len(x), 4, dtype=x.dtype)
        state = hidden
        for step in range(x.shape[1]):
            if isinstance(self.cell, nn.LSTMCell):
                hidden, state = self.cell(x[:, step], (hidden, state))
            else:
                hidden = self.cell(x[:, step], hidden)
        return self.head(hidden)


class EmbeddingClassifier(nn.Module):
    """A text classifier from its embedded words on, which is where a perturbation is a box."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 5, 6))
        self.layer = nn.Linear(6, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, embedded: Tensor) -> Tensor:
        words = F.relu(self.layer(embedded + self.position))
        return self.head(words.mean(dim=1))
