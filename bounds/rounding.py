"""What floating-point arithmetic may have done to a number, and how that is accounted for.

Formulas follow Higham (2002), *Accuracy and Stability of Numerical Algorithms*, section 3.1: a sum of
``n`` products computed in any order, fused or not, with unit roundoff ``u`` is off by at most
``gamma(n, u) * sum |a_i| |b_i|`` with ``gamma(n, u) = n u / (1 - n u)``.
"""

from __future__ import annotations

import functools
import math
from enum import Enum

import torch
from torch import Tensor

from bounds.errors import InvalidInput

U64 = 2.0**-53
U32 = 2.0**-24
# A bound on the rounding of the cushion itself: it is computed in float64 sums of fewer than 2^32 terms.
_INFLATE = 1.0 + 2.0**-20


class Level(Enum):
    """What a bound claims.

    ``FLOAT``: computed in floating point without an account of rounding; not a proof.
    ``REAL``: true of the network in exact real arithmetic on the stored weights.
    ``DEPLOYED``: true of every float32 execution with dot products in any order (FMA allowed; no TF32,
    Winograd, FFT or flush-to-zero).
    """

    FLOAT = "float"
    REAL = "real"
    DEPLOYED = "deployed"

    def __repr__(self) -> str:
        return f"Level.{self.name}"

    @classmethod
    def _missing_(cls, value: object) -> Level:
        names = ", ".join(repr(each.value) for each in cls)
        raise InvalidInput(f"level {value!r} is not known; use one of {names}")

    @property
    def arithmetic(self) -> Arithmetic:
        """The arithmetic that this claim is computed in."""
        return Arithmetic.FLOAT if self is Level.FLOAT else Arithmetic.ROUNDED


class Arithmetic(Enum):
    """How a value was computed: plainly in floats, or with every rounding error accounted for."""

    FLOAT = "FLOAT"
    ROUNDED = "ROUNDED"

    def meet(self, other: Arithmetic) -> Arithmetic:
        """The weaker of two: a value made of both is only as good as the worse."""
        return self if self is Arithmetic.FLOAT else other


FLOAT = Arithmetic.FLOAT
ROUNDED = Arithmetic.ROUNDED


def unit(dtype: torch.dtype) -> float:
    """The unit roundoff: half the machine epsilon."""
    return float(torch.finfo(dtype).eps) / 2


def least(dtype: torch.dtype) -> float:
    """More than all underflows of a sum may cost, and nothing beside what sums are about."""
    return {torch.float64: 2.0**-900, torch.float32: 2.0**-100}[dtype]


def inflation(dtype: torch.dtype) -> float:
    """By what to multiply an account of rounding for its own rounding, and for the share of a share.

    Of sums of fewer than 2^32 numbers in float64, of up to 2^20 in float32.
    """
    return {torch.float64: 1 + 2.0**-20, torch.float32: 1.25}[dtype]


def gamma(n: int, u: float) -> float:
    """An upper bound of ``n u / (1 - n u)``; raises ``InvalidInput`` where the formula says nothing."""
    if n * u >= 0.5:
        raise InvalidInput(f"a sum of {n} terms is too long for an error account at unit roundoff {u:g}")
    return n * u / (1.0 - n * u) * _INFLATE


def up(x: Tensor) -> Tensor:
    """At least the next number above ``x``, within three where x is of full precision.

    NaN for minus infinity, which may be a sum that was finite on its way.
    """
    return x.add(_reach(x), alpha=torch.finfo(x.dtype).eps)


def down(x: Tensor) -> Tensor:
    """At most the next number below ``x``, within three where x is of full precision.

    NaN for infinity, which may be a sum that was finite on its way.
    """
    return x.sub(_reach(x), alpha=torch.finfo(x.dtype).eps)


def _reach(x: Tensor) -> Tensor:
    """``|x|``, and more, so that its share is a number of full precision where x is none.

    A unit in the last place of x is at most |x| times the machine epsilon. Three plain passes: neighbours of
    floats, one by one, take four times as long.
    """
    limits = torch.finfo(x.dtype)
    return x.abs().add_(limits.tiny / limits.eps)


@functools.cache
def check_dot_products(device: str) -> None:
    """Refuse a machine whose float64 matrix products are not ordinary dot products with gradual underflow.

    The error formulas hold for sums of products in any order; they do not hold for Strassen-like products,
    reduced-precision modes or flush-to-zero. One product with rows and columns of very different scales
    shows each of them: entries must be exact to within ``gamma`` of their own sum of magnitudes.
    """
    tiny = torch.tensor([2.0**-1070], dtype=torch.float64, device=device)
    if not _ordinary_products(torch.float64, device) or not bool((tiny * 0.5 > 0).all()):
        raise InvalidInput(
            f"float64 products on {device} are not ordinary IEEE dot products; switch off fast-math, TF32 "
            "and flush-to-zero modes, or ask for level 'float'"
        )


def has_float32_products(device: str) -> bool:
    """Whether float32 products are ordinary dot products: by oneDNN on processors, unless set up otherwise.

    Without it the library may take Winograd's convolutions.
    """
    library = torch.backends.mkldnn
    settings = torch.backends, library.matmul, library.conv  # type: ignore[attr-defined]  # not in its stub
    exact = all(each.fp32_precision in ("none", "ieee") for each in settings)
    there = bool(library.is_available())  # type: ignore[no-untyped-call]
    return device == "cpu" and there and bool(library.enabled) and exact and _ordinary_float32()


@functools.cache
def _ordinary_float32() -> bool:
    n, grid = 16, torch.arange(16.0**4).view(16, 16, 16, 16)
    image = torch.sin(grid + 1) * 2.0 ** (torch.arange(n) - n / 2)
    kernel = torch.cos(3 * grid[0, :, :9].reshape(n, n, 3, 3) + 2)
    off = torch.conv2d(image, kernel) - torch.conv2d(image.double(), kernel.double())
    allowed = 2 * gamma(9 * n + 4, U32) * torch.conv2d(image.abs(), kernel.abs())
    return bool((off.abs() <= allowed).all()) and _ordinary_products(torch.float32, "cpu")


def _ordinary_products(dtype: torch.dtype, device: str) -> bool:
    """Whether entries of a product are exact to within ``gamma`` of their own sum of magnitudes."""
    n = 64
    grid = torch.arange(n * n, dtype=torch.float64).view(n, n)
    scale = 2.0 ** (torch.arange(n, dtype=torch.float64) - n / 2)
    a = (torch.sin(grid + 1) * scale[:, None]).to(dtype)
    b = (torch.cos(3 * grid + 2) * scale.flip(0)[None, :]).to(dtype)
    product = (a.to(device) @ b.to(device)).cpu().double()
    a, b, rows = a.double(), b.double(), [0, 1, n - 2, n - 1]
    exact = torch.tensor([[math.fsum(p) for p in (a[i] * b.T).tolist()] for i in rows], dtype=torch.float64)
    allowed = 2 * gamma(n + 4, unit(dtype)) * (a.abs() @ b.abs())
    return bool(((product[rows] - exact).abs() <= allowed[rows]).all())
