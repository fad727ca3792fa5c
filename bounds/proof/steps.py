"""The few kinds of affine step that networks are made of, on flat values with samples on axis 0.

A step is ``y = W x + b``, with its inputs one behind the other as x. It gives ``linear`` (W x), its transpose
``adjoint``, and itself with absolute weights. The same code runs on floats and on fractions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import prod
from typing import Any

import numpy as np

from bounds.proof.basics import Array


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
    def adjoint(self, x: Array) -> Array:
        """Rows x, (rows, outputs), times W: (rows, inputs)."""

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
        return _times(x.reshape(-1, self.weight.shape[1]), self.weight.T).reshape(len(x), -1)

    def adjoint(self, x: Array) -> Array:
        flat, weight = x.reshape(-1, self.weight.shape[0]), self.weight
        used = np.flatnonzero((flat != 0).any(0))  # often few: rows of single neurons, ReLUs that are off
        if 2 * len(used) < len(weight):
            # They lie in memory as before.
            flat = flat.take(used, 1) if flat.flags.c_contiguous else flat[:, used]
            weight = weight[used]
        return _times(flat, weight).reshape(len(x), -1)


def _times(x: Array, w: Array) -> Array:
    """x w, which lies in memory as x does."""
    return np.asarray(x @ w if x.flags.c_contiguous else (w.T @ x.T).T)


def _images(x: Array, *shape: int) -> Array:
    """Images (samples, groups, *shape, 1), or (1, groups, *shape, samples) where they lie like that."""
    return x.reshape(len(x), -1, *shape, 1) if x.flags.c_contiguous else x.T.reshape(1, -1, *shape, len(x))


def _flat(images: Array) -> Array:
    """The inverse, (samples, elements)."""
    last = images.shape[-1]
    return images.reshape(len(images), -1) if last == 1 else images.reshape(-1, last).T


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
    def taps(self) -> list[tuple[Any, Any]]:
        """Of each element of the kernel: what it meets of the image, and where in the result it goes to.

        Borders are left out: they are zeros.
        """
        shape = self.size, self.weight.shape[3:], self.strides, self.dilations, self.pads, self.out_size
        slices = []
        for size, kernel, s, d, (before, _), outs in zip(*shape, strict=True):
            starts = [d * k - before for k in range(kernel)]  # in the image, for the first of the result
            firsts = [(n, max(0, -(n // s))) for n in starts]
            ends = [(n, i, max(i, min(outs, (size - 1 - n) // s + 1))) for n, i in firsts]
            slices.append([(slice(s * i + n, s * j + n, s), slice(i, j)) for n, i, j in ends])
        each = (zip(*tap, strict=True) for tap in product(*slices))
        return [((..., *inner, slice(None)), (..., *outer, slice(None))) for inner, outer in each]

    def seen(self, x: Array) -> Array:
        """What the kernel meets: ``_images`` with the shape (in channels, kernel, *out size)."""
        image = _images(x, self.weight.shape[2], *self.size)
        seen = np.zeros((*image.shape[:3], len(self.taps), *self.out_size, image.shape[-1]), x.dtype)
        for k, (inner, outer) in enumerate(self.taps):
            seen[:, :, :, k][outer] = image[inner]
        return seen

    def linear(self, x: Array) -> Array:
        seen, weight = self.seen(x), self.weight.reshape(*self.weight.shape[:2], -1)
        made = weight @ seen.reshape(*seen.shape[:2], weight.shape[2], -1)
        return _flat(made.reshape(*made.shape[:3], -1, seen.shape[-1]))

    @cached_property
    def _few(self) -> bool:
        """Whether there are fewer places in the result than elements in the kernel, and no borders."""
        return self.padded == self.size and prod(self.out_size) < len(self.taps)

    @cached_property
    def _shares(self) -> tuple[Array, list[tuple[Any, Any]]]:
        """What adds up to the adjoint, of each element of the kernel or, if there are few, of each place of
        the result: a matrix (one for all places), and where it goes to in the image from what in the result.
        """
        groups, outs, _, *kernel = self.weight.shape
        matrices = np.moveaxis(self.weight, 1, -1)
        if not self._few:
            taps = matrices.reshape(*matrices.shape[:2], -1, outs)
            return np.ascontiguousarray(np.moveaxis(taps, 2, 0)), self.taps
        windows = [
            [(slice(s * i, s * i + d * (k - 1) + 1, d), slice(i, i + 1)) for i in range(outs)]
            for outs, k, s, d in zip(self.out_size, kernel, self.strides, self.dilations, strict=True)
        ]
        places = (zip(*place, strict=True) for place in product(*windows))
        moves = [((..., *inner, slice(None)), (..., *outer, slice(None))) for inner, outer in places]
        return np.ascontiguousarray(matrices).reshape(1, groups, -1, outs), moves

    def adjoint(self, x: Array) -> Array:
        outs, ins = self.weight.shape[1:3]
        matrices, moves = self._shares
        # Matrices for single places take many images at once.
        image = _images(np.asfortranarray(x) if self._few else x, outs, *self.out_size)
        used = np.flatnonzero((image != 0).any((0, 1, *range(3, image.ndim))))
        if 2 * len(used) < outs:  # one channel for single neurons
            image, matrices = image[:, :, used], matrices[..., used]
        wide = np.zeros((*image.shape[:2], ins, *self.size, image.shape[-1]), x.dtype)
        every = np.broadcast_to(matrices, (len(moves), *matrices.shape[1:]))
        for matrix, (inner, outer) in zip(every, moves, strict=True):
            part, met = wide[inner], image[outer]
            part += (matrix @ met.reshape(*met.shape[:3], prod(met.shape[3:]))).reshape(part.shape)
        return _flat(wide)


class Transposed(Convolution):
    """The transpose of a convolution: of what that would make, with a bias per element of the image."""

    linear, adjoint = Convolution.adjoint, Convolution.linear


class Scale(Affine):
    """Each element times a number of its own."""

    terms = 1

    def linear(self, x: Array) -> Array:
        return np.asarray(x * self.weight)

    adjoint = linear


class Sum(Affine):
    """The first of two values of one shape, and the second times the weight, which is 1 or -1."""

    terms = 2

    def linear(self, x: Array) -> Array:
        half = x.shape[1] // 2
        return np.asarray(x[:, :half] + self.weight * x[:, half:])

    def adjoint(self, x: Array) -> Array:
        return np.concatenate([x, self.weight * x], 1)


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
        most = int(np.bincount(self.index[self.index >= 0]).max(initial=0))
        return most if most > 1 else 0

    def linear(self, x: Array) -> Array:
        y = x[:, self.index]
        return np.where(self.index < 0, np.zeros((), x.dtype), y) if bool((self.index < 0).any()) else y

    def adjoint(self, x: Array) -> Array:
        order, starts, inputs = self._sorted
        wide = np.zeros((len(x), self.inputs), x.dtype)
        moved = x[:, order]
        wide[:, inputs] = moved if self.terms == 0 else np.add.reduceat(moved, starts, 1)
        return wide
