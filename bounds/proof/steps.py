"""The few kinds of affine step that networks are made of, on flat values with samples on axis 0.

A step is ``y = W x + b``, with its inputs one behind the other as x. It gives ``linear`` (W x), its transpose
``adjoint``, and itself with absolute weights. The same code runs on floats and on fractions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import product
from math import prod
from typing import Any

import numpy as np

from bounds.proof.format import Array


@dataclass(frozen=True, eq=False, kw_only=True)
class Affine(ABC):
    """weight: the numbers that W is made of, if not of ones alone. bias: (outputs,) or None.

    executed: how many terms one output of a float32 execution sums; 0 where it does no arithmetic.
    """

    weight: Any = 1
    bias: Array | None = None
    executed: int = 0

    @property
    @abstractmethod
    def terms(self) -> int:
        """How many products at most meet in one number of ``linear`` or ``adjoint``; 0 for none at all."""

    @abstractmethod
    def linear(self, x: Array) -> Array:
        """W x, (samples, outputs), of (samples, inputs)."""

    @abstractmethod
    def adjoint(self, rows: Array) -> Array:
        """The rows (rows, outputs) times W, (rows, inputs)."""

    @cached_property
    def absolute(self) -> Affine:
        """The step with |W| and |b|."""
        bias = None if self.bias is None else abs(self.bias)
        return replace(self, weight=abs(self.weight), bias=bias)

    def value(self, x: Array) -> Array:
        """W x + b."""
        y = self.linear(x)
        return y if self.bias is None else y + self.bias


class Dense(Affine):
    """A matrix (outputs, inputs) applied to each of some equal groups of elements."""

    @property
    def terms(self) -> int:
        return max(map(int, self.weight.shape))

    def linear(self, x: Array) -> Array:
        return np.asarray(x.reshape(-1, self.weight.shape[1]) @ self.weight.T).reshape(len(x), -1)

    def adjoint(self, rows: Array) -> Array:
        flat, weight = rows.reshape(-1, self.weight.shape[0]), self.weight
        used = (flat != 0).any(0)  # often few: rows of single neurons, ReLUs that are off
        if 2 * used.sum() < len(weight):
            flat, weight = flat[:, used], weight[used]
        return np.asarray(flat @ weight).reshape(len(rows), -1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Convolution(Affine):
    """A convolution of any number of dimensions, on each of some equal groups of channels.

    weight: (groups, out channels, in channels, *kernel), within each group. size: of the image. pads: before
    and behind of each axis. A single group of weights serves all groups there are.
    """

    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]

    @property
    def terms(self) -> int:
        return int(max(self.weight.shape[1:3]) * prod(self.weight.shape[3:]))

    @cached_property
    def padded(self) -> tuple[int, ...]:
        """The size of the image with its borders."""
        return tuple(n + a + b for n, (a, b) in zip(self.size, self.pads, strict=True))

    @cached_property
    def out_size(self) -> tuple[int, ...]:
        """The size of the resulting image."""
        axes = zip(self.padded, self.weight.shape[3:], self.strides, self.dilations, strict=True)
        return tuple((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in axes)

    @cached_property
    def windows(self) -> list[tuple[Any, ...]]:
        """Where each element of the kernel meets the image with its borders."""
        axes = zip(self.weight.shape[3:], self.strides, self.dilations, self.out_size, strict=True)
        slices = [[slice(d * i, d * i + s * (n - 1) + 1, s) for i in range(k)] for k, s, d, n in axes]
        return [(..., *window) for window in product(*slices)]

    @cached_property
    def _matrices(self) -> Array:
        """Of each element of the kernel: (groups, out channels, in channels)."""
        flat = self.weight.reshape(*self.weight.shape[:3], -1)
        return np.ascontiguousarray(np.moveaxis(flat, 3, 0))

    def framed(self, x: Array) -> Array:
        """Images with borders of zeros, (samples, groups, in channels, *padded)."""
        image = x.reshape(len(x), -1, self.weight.shape[2], *self.size)
        return image if self.padded == self.size else np.pad(image, [(0, 0)] * 3 + list(self.pads))

    def linear(self, x: Array) -> Array:
        wide, pixels = self.framed(x), prod(self.out_size)
        seen = (wide[window].reshape(*wide.shape[:3], pixels) for window in self.windows)
        parts = (matrix @ image for matrix, image in zip(self._matrices, seen, strict=True))
        return np.asarray(reduce(np.add, parts)).reshape(len(wide), -1)

    def adjoint(self, rows: Array) -> Array:
        outs, ins = self.weight.shape[1:3]
        image = rows.reshape(len(rows), -1, outs, prod(self.out_size))
        wide = np.zeros((*image.shape[:2], ins, *self.padded), rows.dtype)
        for matrix, window in zip(self._matrices, self.windows, strict=True):
            wide[window] += (matrix.swapaxes(1, 2) @ image).reshape(wide[window].shape)
        axes = zip(self.size, self.pads, strict=True)
        inside: tuple[Any, ...] = (..., *(slice(before, before + n) for n, (before, _) in axes))
        return np.asarray(wide[inside]).reshape(len(rows), -1)


class Transposed(Convolution):
    """The transpose of a convolution: of what that would make, with a bias per element of the image."""

    def linear(self, x: Array) -> Array:
        return super().adjoint(x)

    def adjoint(self, rows: Array) -> Array:
        return super().linear(rows)


class Scale(Affine):
    """Each element times a number of its own."""

    terms = 1

    def linear(self, x: Array) -> Array:
        return np.asarray(x * self.weight)

    def adjoint(self, rows: Array) -> Array:
        return np.asarray(rows * self.weight)


class Sum(Affine):
    """The first of two values of one shape, and the second times the weight, which is 1 or -1."""

    terms = 2

    def linear(self, x: Array) -> Array:
        first, second = np.split(x, 2, 1)
        return np.asarray(first + self.weight * second)

    def adjoint(self, rows: Array) -> Array:
        return np.concatenate([rows, self.weight * rows], 1)


@dataclass(frozen=True, eq=False)
class Pick(Affine):
    """Elements of so many inputs, by index; zero where the index is -1."""

    index: Array
    inputs: int

    @cached_property
    def _sorted(self) -> tuple[Array, Array, Array]:
        """The outputs in the order of their inputs, where each input's begin, and which inputs these are."""
        order = np.argsort(self.index, kind="stable")
        order = order[int((self.index < 0).sum()) :]
        inputs, starts = np.unique(self.index[order], return_index=True)
        return order, starts, inputs

    @cached_property
    def terms(self) -> int:
        order, starts, _ = self._sorted
        most = int(np.diff([*starts, len(order)]).max(initial=0))
        return most if most > 1 else 0

    def linear(self, x: Array) -> Array:
        y = x[:, self.index]
        return np.where(self.index < 0, np.zeros((), x.dtype), y) if bool((self.index < 0).any()) else y

    def adjoint(self, rows: Array) -> Array:
        order, starts, inputs = self._sorted
        wide = np.zeros((len(rows), self.inputs), rows.dtype)
        if len(order):
            moved = rows[:, order]
            wide[:, inputs] = moved if self.terms == 0 else np.add.reduceat(moved, starts, 1)
        return wide
