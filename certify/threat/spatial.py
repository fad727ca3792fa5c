"""Rotations and translations of images, and these with brightness and contrast.

The reachable set is the image of a box of parameters under a transform. It is no set that support functions
describe exactly: ``around`` gives the box of what each pixel may become, for certifiers, and membership of a
point is shown by the parameters that make it, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

import bounds
from bounds.interval import Interval
from bounds.rounding import U64
from bounds.sets.base import clamp_inside
from certify.threat.base import Budgeted, check_image
from certify.threat.parametric import Parametric, check_limit, column, means

_FINE = 2.0**16  # places between two pixels, so that interpolation weights are exact in float64
_ROUNDING = 1e-9  # of a place, in pixels; far above float64's and far below a step of ``_FINE``
_ANY = (-math.inf, math.inf)


@dataclass(frozen=True)
class _Warp(Parametric):
    """Base: rotation about the centre, then translation, then contrast and brightness."""

    @property
    def is_exact(self) -> bool:
        return False

    @property
    def _whole(self) -> Spatial:
        """All limits."""
        raise NotImplementedError

    @property
    def limits(self) -> Mapping[str, float]:
        return {name: limit for name, limit in self._whole.every.items() if limit > 0}

    def _spread(self, parameters: Tensor) -> dict[str, Tensor]:
        """Every parameter by name, 0 where the threat has none; each (batch,)."""
        given = dict(zip(self.limits, parameters.double().unbind(1), strict=True))
        none = parameters.new_zeros(len(parameters), dtype=torch.float64)
        return {name: given.get(name, none) for name in self._whole.every}

    def moved(self, x: Tensor, parameters: Tensor, valid: tuple[float, float] | None = None) -> Tensor:
        """See ``Parametric``; bilinear interpolation, 0 (or the nearest valid value) outside of the image."""
        check_image(self, x)
        values, clip = self._spread(parameters), valid or _ANY
        rows, columns = _sources(values, x)
        out = _sampled(x, rows, columns, min(max(0.0, clip[0]), clip[1]))
        if self._whole.contrast or self._whole.brightness:
            middle = means(x)
            out = middle + (1 + column(values["contrast"], x)) * (out - middle)
            out = out + column(values["brightness"], x)
        return clamp_inside(out.clamp(*clip).to(x.dtype), clip)

    def reaches(
        self,
        x: Tensor,
        points: Tensor,
        details: Sequence[Mapping[str, int | float | str]],
        valid: tuple[float, float] | None = None,
    ) -> Tensor:
        """Whether the parameters in each evidence's detail are allowed and make the point, bit for bit."""
        limits = self.limits
        given = torch.tensor(
            [[float(detail.get(name, math.nan)) for name in limits] for detail in details],
            dtype=torch.float64,
            device=x.device,
        ).view(len(x), len(limits))
        most = given.new_tensor(list(limits.values()))
        allowed = (given.abs() <= most).all(1)
        again = self.moved(x, given.nan_to_num(0.0).clamp(-most, most), valid)
        return allowed & (again == points).flatten(1).all(1)

    def around(self, x: Tensor, valid: tuple[float, float] | None = None) -> bounds.Box:
        """The box of what each pixel may become: the range of all pixels it may be interpolated from."""
        check_image(self, x)
        limits, clip = self._whole, valid or _ANY
        lower, upper = _neighbourhoods(x, limits, min(max(0.0, clip[0]), clip[1]))
        box = Interval(lower.double(), upper.double())
        if limits.contrast or limits.brightness:
            middle = means(x)
            ends = [(1 + s * limits.contrast) * (e - middle) for s in (-1, 1) for e in (box.lower, box.upper)]
            stacked = torch.stack(ends)
            cushion = 16 * U64 * (stacked.abs().amax(0) + middle.abs() + limits.brightness) + 2.0**-900
            box = Interval(
                stacked.amin(0) + middle - limits.brightness, stacked.amax(0) + middle + limits.brightness
            )
            box = box.widened(cushion)
        box = Interval(box.lower.clamp(*clip), box.upper.clamp(*clip)).outward(x.dtype)
        return bounds.Box(box.lower, box.upper)


@dataclass(frozen=True)
class Spatial(_Warp):
    """Rotation and translation (Engstrom et al. 2019), contrast and brightness together.

    rotation: at most so many degrees, either way, about the image's centre. translation: at most so many
    pixels down or up and so many across. brightness, contrast: see the threats of these names; the contrast
    is about the mean of the original image. Pixels from outside of the image are 0, or the nearest valid
    value. An attack that can search parameters is ``ParameterSearch``; certifiers get a box.
    Raises ``UsageError`` for limits that mean nothing.
    """

    rotation: float = 0.0
    translation: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0

    def __post_init__(self) -> None:
        check_limit("rotation", self.rotation, 180.0, "degrees")
        check_limit("translation", self.translation, 1e6, "pixels")
        check_limit("brightness", self.brightness, 1e6, "input units")
        check_limit("contrast", self.contrast, 1e6, "shares of the contrast")

    @property
    def _whole(self) -> Spatial:
        return self

    @property
    def every(self) -> Mapping[str, float]:
        """All limits by the names of the parameters, also those that are 0."""
        return {
            "rotation": self.rotation,
            "down": self.translation,
            "across": self.translation,
            "contrast": self.contrast,
            "brightness": self.brightness,
        }


@dataclass(frozen=True)
class Rotation(Budgeted, _Warp):
    """The image turns about its centre by at most ``eps`` degrees, either way; see ``Spatial``."""

    unit: ClassVar[str] = "degrees"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_limit("eps", self.eps, 180.0, self.unit)

    @property
    def _whole(self) -> Spatial:
        return Spatial(rotation=self.eps)


@dataclass(frozen=True)
class Translation(Budgeted, _Warp):
    """The image moves by at most ``eps`` pixels down or up and across, or parts of them; see ``Spatial``."""

    unit: ClassVar[str] = "pixels"

    @property
    def _whole(self) -> Spatial:
        return Spatial(translation=self.eps)


def _sources(values: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """The row and column that each pixel comes from, (batch, height, width), on the grid of fine places."""
    angle = torch.deg2rad(values["rotation"])[:, None, None]
    row, across = (values[name][:, None, None] for name in ("down", "across"))
    height, width = x.shape[-2:]
    i, j = (torch.arange(n, dtype=torch.float64, device=x.device) - (n - 1) / 2 for n in (height, width))
    row, across = i[:, None] - row, j - across
    cos, sin = angle.cos(), angle.sin()
    rows = cos * row + sin * across + (height - 1) / 2
    columns = cos * across - sin * row + (width - 1) / 2
    return _snapped(rows), _snapped(columns)


def _snapped(places: Tensor) -> Tensor:
    return (places * _FINE).round() / _FINE


def _sampled(x: Tensor, rows: Tensor, columns: Tensor, outside: float) -> Tensor:
    """Bilinear interpolation in float64, within the range of the pixels that count."""
    padded = torch.nn.functional.pad(x.double(), (1, 1, 1, 1), value=outside)
    height, width = padded.shape[-2:]
    row, across = (rows + 1).clamp(0, height - 1), (columns + 1).clamp(0, width - 1)
    top, left = row.floor(), across.floor()
    down, right = row - top, across - left
    flat = padded.reshape(len(x), math.prod(x.shape[1:-2]), height * width)
    corners = []
    for i in (top, row.ceil()):
        for j in (left, across.ceil()):
            index = (i * width + j).long().flatten(1)[:, None].expand(-1, flat.shape[1], -1)
            corners.append(flat.gather(2, index).view(len(x), flat.shape[1], *rows.shape[1:]))
    values = torch.stack(corners)
    weights = torch.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right])
    parts = (values * weights[:, :, None]).unbind()
    mixed = ((parts[0] + parts[1]) + parts[2]) + parts[3]
    return mixed.clamp(values.amin(0), values.amax(0)).view_as(x)


def _neighbourhoods(x: Tensor, limits: Spatial, outside: float) -> tuple[Tensor, Tensor]:
    """The least and largest pixel that each pixel may be interpolated from, over all parameters."""
    if limits.rotation == 0 and limits.translation == 0:
        return x, x
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), value=outside)
    rows, columns = _windows(limits, x.shape[-2], x.shape[-1])
    lower, upper = torch.empty_like(x), torch.empty_like(x)
    for i in range(x.shape[-2]):
        for j in range(x.shape[-1]):
            (top, bottom), (left, right) = rows[i][j], columns[i][j]
            window = padded[..., top : bottom + 1, left : right + 1]
            lower[..., i, j], upper[..., i, j] = window.amin((-2, -1)), window.amax((-2, -1))
    return lower, upper


Window = list[list[list[int]]]


def _windows(limits: Spatial, height: int, width: int) -> tuple[Window, Window]:
    """Per pixel the first and last row, and column, of the padded image that it may come from."""
    turn = math.radians(limits.rotation)
    cos = torch.tensor([math.cos(turn), 1.0], dtype=torch.float64)
    side = math.sin(min(turn, math.pi / 2))
    i, j = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in (height, width))
    step = torch.tensor([-limits.translation, limits.translation], dtype=torch.float64)
    row = (i[:, None, None] + step).expand(height, width, 2)
    across = (j[None, :, None] + step).expand(height, width, 2)

    def window(along: Tensor, other: Tensor, n: int) -> Window:
        ends = (along[..., None] * cos).flatten(2)
        reach = side * other.abs().amax(2)
        low = _snapped(ends.amin(2) - reach + (n - 1) / 2 - _ROUNDING).floor()
        high = _snapped(ends.amax(2) + reach + (n - 1) / 2 + _ROUNDING).ceil()
        found: Window = (torch.stack([low, high], dim=2) + 1).clamp(0, n + 1).long().tolist()
        return found

    return window(row, across, height), window(across, row, width)
