"""Transforms of the input against independent implementations, and the gradients that attacks see."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from certify.defences import JPEG, BitDepth, Mean, Median, Transform
from certify.defences.jpeg import _cosines
from certify.errors import UsageError
from tests.certify.toys import model_of, normal, uniform

UNIT = (0.0, 1.0)
TRANSFORMS: list[Transform] = [
    JPEG(50),
    JPEG(75, "4:2:0"),
    BitDepth(3),
    Median(2),
    Median(3),
    Mean(2),
    Mean(3),
]


def picture(channels: int, height: int, width: int, seed: int) -> Tensor:
    """A smooth image with some noise, (1, channels, height, width)."""
    rows = torch.linspace(0, 3, height, dtype=torch.float64)[:, None]
    columns = torch.linspace(0, 5, width, dtype=torch.float64)
    waves = [torch.sin(rows * (1 + c) + columns * (2 - c)) for c in range(channels)]
    noise = normal(1, channels, height, width, seed=seed) * 0.05
    return (0.5 + 0.4 * torch.stack(waves)[None] + noise).clamp(0, 1)


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_bit_depth_rounds_to_the_nearest_step(bits: int) -> None:
    x = uniform(50, 4, seed=1)
    steps = torch.linspace(0, 1, 2**bits, dtype=torch.float64)
    nearest = steps[(x[..., None] - steps).abs().argmin(-1)]
    torch.testing.assert_close(BitDepth(bits)(x, UNIT), nearest)
    torch.testing.assert_close(BitDepth(bits)(4 * x - 2, (-2.0, 2.0)), 4 * nearest - 2)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_filters_are_those_of_scipy(size: int) -> None:
    x = uniform(2, 3, 7, 6, seed=2)
    window = (1, 1, size, size)
    median = ndimage.median_filter(x.numpy(), size=window, mode="reflect")
    np.testing.assert_array_equal(Median(size)(x, UNIT).numpy(), median)
    mean = ndimage.uniform_filter(x.numpy(), size=window, mode="reflect")
    np.testing.assert_allclose(Mean(size)(x, UNIT).numpy(), mean, atol=1e-12)


@pytest.mark.parametrize("quality", [5, 30, 50, 75, 95, 100])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0", "grey"])
@pytest.mark.parametrize("size", [(32, 32), (21, 37)])
def test_jpeg_is_that_of_a_real_codec(quality: int, subsampling: str, size: tuple[int, int]) -> None:
    """Integer codecs round a few coefficients otherwise, each by a step; the original is much further off."""
    pil = pytest.importorskip("PIL.Image")
    grey = subsampling == "grey"
    x = picture(1 if grey else 3, *size, seed=quality)
    levels = (x * 255).round().to(torch.uint8)[0].permute(1, 2, 0).numpy()
    file = io.BytesIO()
    options = {} if grey else {"subsampling": subsampling}
    pil.fromarray(levels[:, :, 0] if grey else levels).save(file, "JPEG", quality=quality, **options)
    there = np.asarray(pil.open(file)).reshape(levels.shape).astype(float)
    ours = JPEG(quality, "4:4:4" if grey else subsampling)(x, UNIT)
    here = (ours[0].permute(1, 2, 0) * 255).numpy()
    np.testing.assert_allclose(here, here.round(), atol=1e-9)
    tables = pil.open(file).quantization
    steps = JPEG(quality)._steps(torch.device("cpu")).flatten(1).tolist()
    assert [tables[i] for i in sorted(tables)] == steps[: len(tables)]
    gap, lost = np.abs(here - there), np.abs(levels - there)
    assert gap.mean() <= 1.1
    assert gap.mean() <= lost.mean() / 8 or quality >= 95


def test_the_cosines_are_orthonormal() -> None:
    basis = torch.tensor(_cosines(), dtype=torch.float64)
    torch.testing.assert_close(basis @ basis.T, torch.eye(8, dtype=torch.float64))


def test_jpeg_keeps_flat_blocks_and_forgets_fine_ones() -> None:
    flat = torch.full((1, 1, 8, 8), 128 / 255, dtype=torch.float64)
    torch.testing.assert_close(JPEG(10)(flat, UNIT), flat)
    fine = flat.clone()
    fine[..., ::2, ::2] += 8 / 255
    fine[..., 1::2, 1::2] -= 8 / 255
    coarse = JPEG(10)(fine, UNIT)
    assert (coarse - coarse.mean()).abs().max() <= 1.01 / 255


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
@pytest.mark.parametrize("valid", [UNIT, (-1.0, 3.0)])
def test_values_stay_in_the_range_and_keep_type_and_company(
    transform: Transform, valid: tuple[float, float]
) -> None:
    low, high = valid
    for dtype in (torch.float32, torch.float64):
        unit = torch.cat([picture(3, 12, 9, seed) for seed in range(3)])
        x = (low + (high - low) * unit).to(dtype)
        found = transform(x, valid)
        assert found.shape == x.shape
        assert found.dtype == dtype
        assert ((found >= low) & (found <= high)).all()
        assert not torch.equal(found, x)
        for i in range(3):
            assert torch.equal(transform(x[i : i + 1], valid)[0], found[i])


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_ranges_only_scale(transform: Transform) -> None:
    x = picture(3, 12, 9, seed=4)
    torch.testing.assert_close(transform(4 * x - 1, (-1.0, 3.0)), 4 * transform(x, UNIT) - 1)


def gradient_of(transform: Transform, x: Tensor, weights: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    (found,) = torch.autograd.grad((transform(leaf, UNIT) * weights).sum(), leaf)
    return found


@pytest.mark.parametrize("transform", [JPEG(10), BitDepth(1)], ids=repr)
def test_attacks_see_the_identity(transform: Transform) -> None:
    x, weights = picture(3, 12, 9, seed=3), normal(1, 3, 12, 9, seed=4)
    torch.testing.assert_close(gradient_of(transform, x, weights), weights)


def test_attacks_see_the_loss_of_colours_that_subsampling_brings() -> None:
    """The stand-in is linear: its gradient is the adjoint of what JPEG does at its best quality."""
    x, weights = picture(3, 8, 10, seed=3), normal(1, 3, 8, 10, seed=4)
    jpeg = JPEG(100, "4:2:0")
    gradient = gradient_of(jpeg, x, weights)
    step = normal(1, 3, 8, 10, seed=5) * 0.1
    middle = 0.25 + x / 2  # far from the ends of the range, where values are clipped
    moved = ((jpeg(middle + step, UNIT) - jpeg(middle, UNIT)) * weights).sum()
    assert abs(moved - (gradient * step).sum()) < 0.1
    assert (gradient - weights).abs().max() > 0.5


@pytest.mark.parametrize("transform", [Median(3), Mean(3)], ids=repr)
def test_filters_have_their_own_gradients(transform: Transform) -> None:
    x = uniform(1, 1, 5, 4, seed=6).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: transform(z, UNIT), x)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: JPEG(0), "quality"),
        (lambda: JPEG(101), "quality"),
        (lambda: JPEG(50, "4:1:1"), "subsampling"),
        (lambda: BitDepth(0), "bits"),
        (lambda: Median(1), "size of Median"),
        (lambda: Mean(0), "size of Mean"),
        (lambda: JPEG(50).around(model_of(lambda z: z, (2, 8, 8), valid=UNIT)), "1 or 3 channels"),
        (lambda: JPEG(50).around(model_of(lambda z: z, (8,), valid=UNIT)), "images"),
        (lambda: Median(3).around(model_of(lambda z: z, (1, 2, 8), valid=UNIT)), "larger than"),
        (lambda: BitDepth(3).around(model_of(lambda z: z)), "no input range"),
    ],
)
def test_wrong_settings_are_named(make, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        make()
