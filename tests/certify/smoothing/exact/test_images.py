"""8-bit images: what is one, and the nearest to what is none."""

import math
from fractions import Fraction

import pytest
import torch

from certify.errors import UsageError
from certify.smoothing.exact.images import levels, nearest_images, pixels

CPU = torch.device("cpu")
DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_levels_are_the_nearest_floats(dtype):
    grid = levels(dtype, CPU)
    for k, level in enumerate(grid.tolist()):
        up, down = (
            torch.nextafter(grid[k], torch.tensor(end, dtype=dtype)).item() for end in (math.inf, -math.inf)
        )
        gap = abs(Fraction(level) - Fraction(k, 255))
        assert gap <= min(abs(Fraction(each) - Fraction(k, 255)) for each in (up, down))


@pytest.mark.parametrize("dtype", DTYPES)
def test_bytes_come_back(dtype):
    """As images are usually loaded: bytes divided by 255."""
    image = torch.arange(256, dtype=torch.uint8).view(16, 16)
    assert torch.equal(pixels(image.to(dtype) / 255), image.long())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0.5, -1 / 255, 256 / 255, math.nan, math.inf, -math.inf, 1e-30])
def test_other_numbers_are_refused(dtype, value):
    x = torch.zeros(3, dtype=dtype)
    x[1] = value
    with pytest.raises(UsageError, match="nearest_images"):
        pixels(x)


def test_neighbours_of_levels_are_refused():
    grid = levels(torch.float32, CPU)
    for end in (-1.0, 2.0):
        for level in torch.nextafter(grid, torch.tensor(end)):
            with pytest.raises(UsageError, match="8-bit"):
                pixels(level)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_other_dtypes_are_refused(dtype):
    for call in (pixels, nearest_images):
        with pytest.raises(UsageError, match="float32 or float64"):
            call(torch.zeros(1, 2, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nearest_images(dtype):
    """An image, no element of which could be nearer, at a distance that exact rationals confirm."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(20, 2, 3, generator=generator, dtype=dtype) * 1.2 - 0.1
    x[0] = levels(dtype, CPU)[7]
    images, distances = nearest_images(x)
    assert distances.dtype == torch.float64
    assert distances.shape == (20,)
    for row, image, distance in zip(x, images, distances.tolist(), strict=True):
        whole = pixels(image).flatten().tolist()
        numbers = [Fraction(each) for each in row.flatten().tolist()]
        gaps = [abs(each - Fraction(k, 255)) for each, k in zip(numbers, whole, strict=True)]
        best = [min(abs(each - Fraction(k, 255)) for k in range(256)) for each in numbers]
        squares = sum(gap**2 for gap in gaps)
        assert all(gap <= least + Fraction(1, 10**6) for gap, least in zip(gaps, best, strict=True))
        assert squares <= Fraction(distance) ** 2
        assert distance <= math.sqrt(squares) * (1 + 1e-12) + 1e-15


def test_nothing_is_near_nan():
    with pytest.raises(UsageError, match="finite"):
        nearest_images(torch.tensor([[0.1, math.nan]]))
