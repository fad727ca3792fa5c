"""JPEG compression as tensor code: what a baseline encoder and decoder make of an image."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from certify.defences.base import Transform, image
from certify.defences.bpda import straight_through
from certify.errors import UsageError

# ITU-T T.81 (1992), annex K, tables K.1 and K.2: steps of quantisation, rows by vertical frequency.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *(((99,) * 8,) * 4),
)
# JFIF 1.02 (Hamilton 1992): from R, G, B to Y, Cb - 128, Cr - 128.
_TO_YCC = (
    (0.299, 0.587, 0.114),
    (-0.299 / 1.772, -0.587 / 1.772, 0.5),
    (0.5, -0.587 / 1.402, -0.114 / 1.402),
)
_SIDE = 8


@dataclass(frozen=True)
class JPEG(Transform):
    """Baseline JPEG at a quality of 1 to 100 (ITU-T T.81), whose losses are computed and nothing is coded.

    As a defence: Dziugaite, Ghahramani & Roy 2016. The input is first rounded to 8 bits of its range. The
    tables of annex K are scaled as the Independent JPEG Group's encoder does. subsampling: "4:2:0" keeps the
    chroma at half the resolution, as encoders do by default; decoded by linear interpolation. Images have one
    channel or three (RGB).

    Computed in float64, where what is a tie up to 1e-6 is rounded as one, so that the result is the same in
    every batch. Gradient attacks see the same steps without rounding and clipping: the identity for "4:4:4".
    Raises ``UsageError`` for a value outside its domain.
    """

    quality: int
    subsampling: Literal["4:4:4", "4:2:0"] = "4:4:4"

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality of JPEG is {self.quality}; give an integer from 1 to 100")
        if self.subsampling not in ("4:4:4", "4:2:0"):
            raise UsageError(f"unknown subsampling {self.subsampling!r}; choose 4:4:4 or 4:2:0")

    def check(self, shape: tuple[int, ...]) -> None:
        image(shape, (1, 3), repr(self))

    def __call__(self, x: Tensor, valid: tuple[float, float]) -> Tensor:
        low, high = valid
        with torch.no_grad():
            levels = _nearest((x.double() - low) * (255 / (high - low)))
            value = low + self.compressed(levels) * ((high - low) / 255)
        return straight_through(value.clamp(low, high).to(x.dtype), self._smooth(x))

    def compressed(self, levels: Tensor) -> Tensor:
        """What is decoded for an image of whole numbers in [0, 255], float64 (batch, channels, h, w)."""
        steps = self._steps(levels.device)
        if levels.shape[1] == 1:
            return (_coded(levels - 128, steps[0]) + 128).clamp(0, 255)
        ycc = _nearest(_mixed(levels, _to_ycc(levels)))
        luma, chroma = ycc[:, :1] - 128, ycc[:, 1:].clamp(-128, 127)
        luma = _coded(luma, steps[0]).clamp(-128, 127)
        if self.subsampling == "4:2:0":
            small = _coded(_nearest(_halved(chroma)), steps[1]).clamp(-128, 127)
            chroma = _nearest(_doubled(small, levels.shape[2:]))
        else:
            chroma = _coded(chroma, steps[1]).clamp(-128, 127)
        return _nearest(_mixed(torch.cat([luma + 128, chroma], 1), _to_ycc(levels).inverse())).clamp(0, 255)

    def _smooth(self, x: Tensor) -> Tensor:
        """The linear function that remains without rounding and clipping."""
        if x.shape[1] == 1 or self.subsampling == "4:4:4":
            return x
        ycc = _mixed(x, _to_ycc(x))
        chroma = _doubled(_halved(ycc[:, 1:]), x.shape[2:])
        return _mixed(torch.cat([ycc[:, :1], chroma], 1), _to_ycc(x).inverse())

    def _steps(self, device: torch.device) -> Tensor:
        """The steps of quantisation of luma and chroma at this quality, (2, 8, 8)."""
        percent = 5000 // self.quality if self.quality < 50 else 200 - 2 * self.quality
        tables = torch.tensor([_LUMINANCE, _CHROMINANCE], device=device)
        return ((tables * percent + 50) // 100).clamp(1, 255).double()


def _coded(plane: Tensor, steps: Tensor) -> Tensor:
    """Planes of whole numbers around 0 through transform, quantisation and back, as whole numbers.

    The last row and column are repeated to fill up the blocks, and cut off again.
    """
    height, width = plane.shape[2:]
    filled = functional.pad(plane, (0, -width % _SIDE, 0, -height % _SIDE), mode="replicate")
    n, channels, rows, columns = filled.shape
    blocks = filled.view(n, channels, rows // _SIDE, _SIDE, columns // _SIDE, _SIDE).transpose(3, 4)
    basis = torch.tensor(_cosines(), dtype=plane.dtype, device=plane.device)
    kept = _nearest(basis @ blocks @ basis.T / steps) * steps
    back = (basis.T @ kept @ basis).transpose(3, 4).reshape(filled.shape)
    return _nearest(back[:, :, :height, :width])


@functools.cache
def _cosines() -> tuple[tuple[float, ...], ...]:
    """The orthonormal discrete cosine transform of 8 values (type II), rows by frequency."""
    scale = [math.sqrt((1 if k == 0 else 2) / _SIDE) for k in range(_SIDE)]
    return tuple(
        tuple(scale[k] * math.cos((2 * i + 1) * k * math.pi / (2 * _SIDE)) for i in range(_SIDE))
        for k in range(_SIDE)
    )


def _nearest(x: Tensor) -> Tensor:
    """The nearest whole number; ties, up to 1e-6, go away from zero, as in integer encoders."""
    return x.sign() * (x.abs() + (0.5 + 1e-6)).floor()


def _to_ycc(like: Tensor) -> Tensor:
    return torch.tensor(_TO_YCC, dtype=like.dtype, device=like.device)


def _mixed(x: Tensor, matrix: Tensor) -> Tensor:
    """Channels mixed by a matrix: (batch, 3, h, w)."""
    return torch.einsum("ij,bjhw->bihw", matrix, x)


def _halved(x: Tensor) -> Tensor:
    """Means of 2 x 2 pixels; an odd last row or column counts twice."""
    height, width = x.shape[2:]
    return functional.avg_pool2d(functional.pad(x, (0, width % 2, 0, height % 2), mode="replicate"), 2)


def _doubled(x: Tensor, size: torch.Size) -> Tensor:
    """Each pixel drawn out to 2 x 2 by linear interpolation between centres, cut to ``size``."""
    found = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    return found[:, :, : size[0], : size[1]]
