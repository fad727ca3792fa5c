"""Linear forms over one node, one per row: the unit of backward propagation.

A row belongs to one sample; its coefficients over a node are dense (a plain tensor ``(rows, *shape)``), one
single nonzero (``Unit``), or a window of an image (``Patch``), which is what a row that started at one
neuron of a convolution stays for a few layers. Each kind turns into the next larger one on demand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

Shape = tuple[int, ...]

_FEW = 64  # rows up to which it does not pay to look for equal windows


@dataclass(frozen=True, eq=False)
class Patch:
    """Rows whose coefficients over an image vanish outside one window each.

    data: (rows, channels, height, width) of the windows; top, left: (rows,) where they begin, possibly
    outside the image, where all coefficients are zero; shape: (channels, H, W) of the whole image.
    """

    data: Tensor
    top: Tensor
    left: Tensor
    shape: Shape

    def __len__(self) -> int:
        return len(self.data)

    @property
    def covers(self) -> float:
        """The window's size as a share of the image; beyond about one a patch saves nothing."""
        return prod(self.data.shape[2:]) / prod(self.shape[1:])

    def _positions(self) -> tuple[Tensor, Tensor]:
        """Row and column in the image of each window element: (rows, height, 1) and (rows, 1, width)."""
        height, width = self.data.shape[2:]
        device = self.data.device
        y = self.top[:, None] + torch.arange(height, device=device)
        x = self.left[:, None] + torch.arange(width, device=device)
        return y[:, :, None], x[:, None, :]

    def masked(self) -> Patch:
        """The same rows with zeros where the window hangs over the image's edge."""
        y, x = self._positions()
        height, width = self.shape[1:]
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        return replace(self, data=self.data * inside[:, None])

    def dense(self) -> Tensor:
        """The same rows as (rows, channels, H, W)."""
        return self.onto(self.data.new_zeros(len(self), *self.shape))

    def onto(self, rows: Tensor) -> Tensor:
        """The sum with dense rows (rows, channels, H, W)."""
        y, x = self._positions()
        channels, height, width = self.shape
        index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).view(len(self), 1, -1)
        added = rows.flatten(2).scatter_add(2, index.expand(-1, channels, -1), self.data.flatten(2))
        return added.view_as(rows)

    def gather(self, image: Tensor, sample: Tensor) -> Tensor:
        """The windows of a per-sample ``image`` (batch, channels, H, W), zero beyond its edge.

        sample: (rows,); returns the shape of ``data`` (channels as in ``image``).
        """
        height, width = self.data.shape[2:]
        (top, bottom), (left, right) = (map(int, torch.aminmax(ends)) for ends in (self.top, self.left))
        bottom, right = bottom + height, right + width
        before = (max(0, -left), max(0, -top))
        padded = F.pad(
            image,
            (before[0], max(0, right - self.shape[2]), before[1], max(0, bottom - self.shape[1])),
        )
        windows = padded.unfold(2, height, 1).unfold(3, width, 1).permute(0, 2, 3, 1, 4, 5)
        y, x = self.top + before[1], self.left + before[0]
        if len(self) <= _FEW:
            return windows[sample, y, x]
        # Rows that began in different channels of one position share their windows: cut each out once.
        key, row = torch.unique((sample * padded.shape[2] + y) * padded.shape[3] + x, return_inverse=True)
        area = padded.shape[2] * padded.shape[3]
        cut = windows[key // area, key % area // padded.shape[3], key % padded.shape[3]]
        return cut.index_select(0, row)


@dataclass(frozen=True, eq=False)
class Unit:
    """Rows with a single nonzero: ``sign[r]`` at flat position ``index[r]`` of a node of ``shape``."""

    index: Tensor
    sign: Tensor
    shape: Shape

    def __len__(self) -> int:
        return len(self.index)

    def position(self) -> tuple[Tensor, Tensor, Tensor]:
        """Channel, row and column of each nonzero in an image."""
        _, height, width = self.shape
        area = height * width
        return self.index // area, self.index % area // width, self.index % width

    def patch(self) -> Patch:
        """The same rows as windows of one pixel."""
        channel, top, left = self.position()
        data = self.sign.new_zeros(len(self), self.shape[0], 1, 1)
        data[torch.arange(len(self), device=data.device), channel, 0, 0] = self.sign
        return Patch(data, top, left, self.shape)

    def dense(self) -> Tensor:
        """The same rows as (rows, *shape)."""
        rows = self.sign.new_zeros(len(self), prod(self.shape))
        return rows.scatter(1, self.index[:, None], self.sign[:, None]).view(-1, *self.shape)


Coefficients = Tensor | Patch | Unit


def dense(coefficients: Coefficients) -> Tensor:
    """Any coefficients as a dense tensor (rows, *shape)."""
    return coefficients if isinstance(coefficients, Tensor) else coefficients.dense()


def at(rows: Tensor, a: Coefficients) -> Coefficients:
    """Some of the rows."""
    if isinstance(a, Patch):
        return replace(a, data=a.data[rows], top=a.top[rows], left=a.left[rows])
    return replace(a, index=a.index[rows], sign=a.sign[rows]) if isinstance(a, Unit) else a[rows]


def total(a: Coefficients, b: Coefficients) -> Coefficients:
    """The sum of two sets of rows over the same node; a patch where both are patches that line up."""
    if not isinstance(a, Tensor) and not isinstance(b, Tensor) and len(a.shape) == 3:
        a, b = (part.patch() if isinstance(part, Unit) else part for part in (a, b))
    if isinstance(a, Patch) and isinstance(b, Patch):
        joined = _join(a, b)
        if joined is not None:
            return joined
    if isinstance(a, Patch):
        return a.onto(dense(b))
    return b.onto(dense(a)) if isinstance(b, Patch) else dense(a) + dense(b)


def _join(a: Patch, b: Patch) -> Patch | None:
    """The sum of patches as one larger patch, if their offset is the same in every row."""
    down, right = b.top - a.top, b.left - a.left
    dy, dx = int(down[0]), int(right[0])
    if not (bool((down == dy).all()) and bool((right == dx).all())):
        return None
    (ah, aw), (bh, bw) = a.data.shape[2:], b.data.shape[2:]
    top, left = min(0, dy), min(0, dx)
    bottom, far = max(ah, dy + bh), max(aw, dx + bw)
    data = F.pad(a.data, (-left, far - aw, -top, bottom - ah))
    data = data + F.pad(b.data, (dx - left, far - dx - bw, dy - top, bottom - dy - bh))
    return Patch(data, a.top + top, a.left + left, a.shape)
