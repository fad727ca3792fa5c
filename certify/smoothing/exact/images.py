"""8-bit images: floats that are whole numbers of 255ths."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from certify.errors import UsageError

TOP = 255


def levels(dtype: torch.dtype, device: torch.device) -> Tensor:
    """0/255 ... 255/255, each the float nearest to it: (256,).

    Divided on the CPU, since a GPU multiplies by a rounded 1/255 instead, which gives other floats.
    Raises ``UsageError`` for dtypes other than float32 and float64.
    """
    if dtype not in (torch.float32, torch.float64):
        raise UsageError(f"8-bit images come as float32 or float64, not {dtype}")
    return (torch.arange(TOP + 1, dtype=dtype) / TOP).to(device)


def pixels(x: Tensor) -> Tensor:
    """The whole numbers of an 8-bit image of any shape: int64, 0 ... 255.

    Raises ``UsageError`` unless every element is the float nearest to one of 0/255 ... 255/255.
    """
    grid = levels(x.dtype, x.device)
    whole = (x * TOP).round().clamp(0, TOP).nan_to_num(0).long()
    off = grid[whole] != x
    if off.any():
        value = float(x[off][0])
        raise UsageError(
            f"this law is for 8-bit images, floats k/255 with k = 0 ... 255; {value!r} is none: divide "
            "the bytes by 255, or take nearest_images(x) and subtract its distance from the radius"
        )
    return whole


def nearest_images(x: Tensor) -> tuple[Tensor, Tensor]:
    """The 8-bit images nearest to ``x``, (batch, *shape), and how far each is in L2: (batch,), rounded up.

    What is certified at an image with radius r holds around x with radius r - distance.
    Raises ``UsageError`` for NaN or infinite elements, and dtypes other than float32 and float64.
    """
    grid = levels(x.dtype, x.device)
    if not x.isfinite().all():
        raise UsageError("x has elements that are not finite; give numbers in [0, 1]")
    whole = (x * TOP).round().clamp(0, TOP).long()
    # the quotient and the difference are off by less than 2^-53 each, as long as x is near the image
    gaps = (x.double() - whole.double() / TOP).abs().flatten(1) * (1 + 2.0**-52) + 2.0**-52
    size = gaps.shape[1]
    distance = torch.linalg.vector_norm(gaps, dim=1) * (1 + (size + 8) * 2.0**-53)
    return grid[whole], torch.nextafter(distance, torch.full_like(distance, math.inf))
