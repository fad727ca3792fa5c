"""Recurrent networks and transformers as people write them: their graphs, and bounds of these."""

import itertools

import pytest
import torch
from torch import Tensor, nn

import bounds
from tests.bounds.ops.networks import draw, extremes

METHODS = ("ibp", "crown-ibp", "crown", "alpha-crown")


class LastStep(nn.Module):
    """A recurrent layer, and a linear function of its last step."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(layer.hidden_size * (2 if layer.bidirectional else 1), 2)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.layer(x)
        return self.head(y[:, -1])


class Cells(nn.Module):
    """A loop over steps, with states that begin as zeros of the module's own making."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LSTMCell(3, 4), nn.GRUCell(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h, c, s = (torch.zeros(len(x), n) for n in (4, 4, 3))
        for step in x.unbind(1):
            h, c = self.first(step, (h, c))
            s = self.second(h, s)
        return s


class SelfAttention(nn.Module):
    def __init__(self, heads: int, weights: bool, batch_first: bool = True) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(4, heads, batch_first=batch_first)
        self.weights, self.batch_first = weights, batch_first

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.batch_first else x.transpose(0, 1)
        y, _ = self.inner(x, x, x, need_weights=self.weights)
        return y if self.batch_first else y.transpose(0, 1)


class Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, src_mask=self.mask, is_causal=True)


class ViT(nn.Module):
    """Patches, a class token, positions, encoder blocks with the norm in front, a head on the class token."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, 4, 3, stride=3)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 4)), nn.Parameter(torch.randn(1, 5, 4))
        layer = nn.TransformerEncoderLayer(4, 2, 8, activation="relu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, nn.LayerNorm(4), enable_nested_tensor=False)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], 1)
        return self.head(self.blocks(tokens + self.places)[:, 0])


SEQUENCE, IMAGE = (3, 4), (1, 6, 6)
NETWORKS = {
    "rnn": (LastStep(nn.RNN(4, 3, batch_first=True)), SEQUENCE),
    "relu-rnn": (LastStep(nn.RNN(4, 3, 2, nonlinearity="relu", batch_first=True)), SEQUENCE),
    "lstm": (LastStep(nn.LSTM(4, 3, batch_first=True)), SEQUENCE),
    "two-way-lstm": (LastStep(nn.LSTM(4, 2, 2, batch_first=True, bidirectional=True)), SEQUENCE),
    "gru": (LastStep(nn.GRU(4, 3, 2, batch_first=True)), SEQUENCE),
    "cells": (Cells(), (2, 3)),
    "attention": (SelfAttention(2, weights=False), SEQUENCE),
    "attention-with-weights": (SelfAttention(1, weights=True), SEQUENCE),
    "attention-batch-second": (SelfAttention(2, weights=True, batch_first=False), SEQUENCE),
    "encoder": (nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), SEQUENCE),
    "causal": (Causal(), SEQUENCE),
    "vit": (ViT(), IMAGE),
}
SLOW = {"two-way-lstm", "gru", "causal", "vit"}


def module(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """With random weights of its own, in evaluation mode."""
    net, shape = NETWORKS[name]
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(draw(*p.shape, seed=i) * 0.5 + (p.dim() == 1) * 0.3)
    return net.eval(), shape


@pytest.mark.parametrize("name", NETWORKS)
def test_graph_is_the_module(name: str) -> None:
    net, shape = module(name)
    graph = bounds.trace(net, torch.zeros(1, *shape))
    x = draw(5, *shape, seed=3).float()
    torch.testing.assert_close(graph(x), net(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in NETWORKS]
)
def test_bounds_enclose_and_dominate(name: str) -> None:
    net, shape = module(name)
    graph = bounds.trace(net, torch.zeros(1, *shape)).map_params(Tensor.detach).to(torch.float64)
    ball = bounds.Ball(draw(1, *shape, seed=5), 0.02)
    found = [bounds.bound(graph, ball, method=method, level="real") for method in METHODS]
    least, greatest = extremes(graph, ball, seed=9)
    for b in found:
        assert bool(b.lower.isfinite().all())
        assert bool((b.lower <= least).all()) and bool((b.upper >= greatest).all())
    for weaker, stronger in itertools.pairwise(found):
        assert bool((weaker.lower <= stronger.lower + 1e-9).all())
        assert bool((weaker.upper >= stronger.upper - 1e-9).all())
    gap = (found[-1].upper - found[-1].lower) / (greatest - least)
    assert float(gap.mean()) < 3, "bounds this loose are of no use on a region this small"


def test_the_fast_path_of_transformers_is_restored() -> None:
    net, shape = module("encoder")
    for enabled in (True, False, True):
        torch.backends.mha.set_fastpath_enabled(enabled)
        bounds.trace(net, torch.zeros(1, *shape))
        assert torch.backends.mha.get_fastpath_enabled() is enabled


def test_joint_slopes_where_some_nodes_are_beside_the_way() -> None:
    """Queries and keys have later users, and no part in the rows of the values."""
    net, shape = module("attention")
    graph = bounds.trace(net, torch.zeros(1, *shape))
    ball = bounds.Ball(draw(1, *shape, seed=5), 0.05)
    alone = bounds.bound(graph, ball, method="alpha-crown")
    joint = bounds.bound(graph, ball, method="alpha-crown-joint")
    least, greatest = extremes(graph.map_params(Tensor.detach).to(torch.float64), ball, seed=9)
    assert bool((joint.lower <= least).all()) and bool((joint.upper >= greatest).all())
    assert bool((alone.lower <= joint.lower + 1e-9).all()) and bool((alone.lower < joint.lower).any())


class Mixed(nn.Module):
    """Attention over the batch: what belongs together in one sample is taken for the other axis."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(4, 2, batch_first=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x, x, need_weights=False)[0]


def test_samples_that_attend_to_each_other_are_refused() -> None:
    with pytest.raises(bounds.BoundsError, match="batch"):
        bounds.trace(Mixed().eval(), torch.zeros(1, 3, 4))
