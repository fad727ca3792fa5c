"""Convolutions and transposed convolutions as matrix products, where the library is slow at them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from bounds.memory import cached

_MANY = 8  # images from which on one product for all of them pays
_ROUND = 16  # images whose axis comes last go by this many: whole cache lines, and products wide enough


def together(x: Tensor) -> bool:
    """Whether images are so many, on a processor and without gradients, that one product for all pays."""
    return len(x) >= _MANY and x.device.type == "cpu" and not torch.is_grad_enabled()


def by_product(x: Tensor, weight: Tensor) -> bool:
    """Whether a product is faster: for small images in float64, which the library goes over one by one."""
    return x.dtype is torch.float64 and together(x) and weight.shape[2] * weight.shape[3] > 1


def as_product(x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]) -> Tensor:
    """The convolution as a matrix product over all taps, the channels of each side by side."""
    out, _, *kernel = weight.shape
    matrix = weight.permute(0, 2, 3, 1).reshape(out, -1)
    ends = zip(x.shape[2:], padding, kernel, stride, strict=True)
    size = [(n + 2 * p - k) // s + 1 for n, p, k, s in ends]
    around = (0, 0, padding[1], padding[1], padding[0], padding[0])
    found = []
    for part in cached(x, prod(size) * matrix.shape[1]):
        rows = F.pad(x[part].permute(0, 2, 3, 1), around).unfold(1, kernel[0], stride[0])
        taps = rows.unfold(2, kernel[1], stride[1]).permute(0, 1, 2, 4, 5, 3)
        y = matrix @ taps.reshape(-1, matrix.shape[1]).mT
        found.append(y.view(out, -1, *size).transpose(0, 1))
    return torch.cat(found)


def by_taps(
    x: Tensor,
    weight: Tensor,
    stride: int,
    size: Sequence[int],
    first: Sequence[int] = (0, 0),
    places: tuple[Sequence[int], Sequence[int]] | None = None,
) -> Tensor:
    """The transposed convolution as one matrix product for all rows, and a sum of what each tap gives.

    The library takes a product for each row. weight: (*kernel, out, channels of x). size, first: the part of
    the result that is wanted, zero where nothing reaches. places: where the pixel that each row and each
    column of the kernel gives lies, by default in their order.
    """
    *kernel, out, _ = weight.shape
    height, width = x.shape[2:]
    down, across = places or (range(kernel[0]), range(kernel[1]))
    wide = [
        max((n - 1) * stride + k, f + s)
        for n, k, f, s in zip((height, width), kernel, first, size, strict=True)
    ]
    inside = [slice(f, f + s) for f, s in zip(first, size, strict=True)]
    matrix, found = weight.reshape(-1, weight.shape[-1]), x.new_empty(len(x), out, *size)
    for part in cached(x, len(matrix) * height * width, _ROUND):
        # The images' axis last: then every sum runs along it.
        here = x[part].flatten(1).t().contiguous().view(x.shape[1], -1)
        taps = (matrix @ here).view(*kernel, out, height, width, -1)
        image = x.new_zeros(out, *wide, taps.shape[-1])
        for i, y in enumerate(down):
            for j, z in enumerate(across):
                image[:, y : y + stride * height : stride, z : z + stride * width : stride] += taps[i, j]
        image = image[:, inside[0], inside[1]].reshape(-1, taps.shape[-1])
        found[part] = image.t().view(-1, out, *size)
    return found


def spread(weight: Tensor, groups: int, dilation: Sequence[int]) -> Tensor:
    """The kernel (n, channels / groups, height, width) with zeros for dilation and other groups' channels."""
    if groups == 1 and all(step == 1 for step in dilation):
        return weight
    count, inner, height, width = weight.shape
    dy, dx = dilation
    full = weight.new_zeros(count, inner * groups, dy * (height - 1) + 1, dx * (width - 1) + 1)
    first = torch.arange(count, device=weight.device) // (count // groups) * inner
    index = first[:, None] + torch.arange(inner, device=weight.device)
    full[torch.arange(count, device=weight.device)[:, None], index, ::dy, ::dx] = weight
    return full
