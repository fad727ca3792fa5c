"""A convolution's own gradient by its input, against the library's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bounds.ops.conv import Conv


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [((8, 8), (4, 4), 2, 1), ((9, 7), (3, 3), 2, 0), ((9, 8), (3, 2), 1, 1), ((10, 10), (2, 3), 3, 2)],
)
def test_first_and_second_gradients_are_those_of_the_library(
    size: tuple[int, int], kernel: tuple[int, int], stride: int, padding: int
) -> None:
    weight, bias = normal(5, 3, *kernel, seed=1), normal(5, seed=2)
    op = Conv(stride=(stride, stride), padding=(padding, padding), dilation=(1, 1))
    found = []
    for forward in (
        lambda x: op.value((x,), (weight, bias)),
        lambda x: F.conv2d(x, weight, bias, stride, padding),
    ):
        x = normal(2, 3, *size, seed=3).requires_grad_()
        y = forward(x).tanh().square().sum()
        (first,) = torch.autograd.grad(y, x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        found.append((y, first, second))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_weights_that_are_learnt_keep_their_gradients() -> None:
    weight = normal(5, 3, 3, 3, seed=1).requires_grad_()
    op = Conv(stride=(2, 2), padding=(1, 1), dilation=(1, 1))
    x = normal(2, 3, 8, 8, seed=3).requires_grad_()
    op.value((x,), (weight,)).sum().backward()
    assert weight.grad is not None
    assert weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [((3, 3), 1, 1), ((4, 2), 2, 1), ((3, 3), 2, 0), ((2, 5), 3, 2)]
)
def test_many_small_images_in_float64_are_convolved_as_by_the_library(
    kernel: tuple[int, int], stride: int, padding: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(170, 5, 9, 8, dtype=torch.float64, generator=generator)
    weight = torch.randn(6, 5, *kernel, dtype=torch.float64, generator=generator)
    bias = torch.randn(6, dtype=torch.float64, generator=generator)
    op = Conv((stride, stride), (padding, padding), (1, 1))
    expected = F.conv2d(x, weight, bias, stride, padding)
    rows = torch.randn(expected.shape, dtype=torch.float64, generator=generator)
    leaf = x.clone().requires_grad_()
    (back,) = torch.autograd.grad(F.conv2d(leaf, weight, None, stride, padding), leaf, rows)
    with torch.no_grad():
        torch.testing.assert_close(op.value((x,), (weight, bias)), expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(op.adjoint(rows, (weight,), [x.shape[1:]])[0], back, rtol=0, atol=1e-12)
