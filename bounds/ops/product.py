"""Products of two branches: element by element, and sums of products such as matrix products."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from bounds.graph import Ref
from bounds.interval import Interval
from bounds.kinds import Bilinear
from bounds.linear import Shape
from bounds.ops.gather import common_shape, expanded
from bounds.ops.power import Power
from bounds.ops.registry import Call
from bounds.ops.shape import reshaped

_MOST_CORNERS = 2**22  # single products that are looked at one by one
_MOST_APART = 2**16  # of one sample that may have planes of their own


@dataclass(frozen=True)
class Mul(Bilinear):
    """The product of two branches of one shape, element by element."""

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b

    def adjoint(self, rows: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return rows * b, rows * a

    def terms(self, ins: Sequence[Shape], out: Shape) -> int:
        return 2

    def interval(self, a: Interval, b: Interval) -> Interval | None:
        """The least and the greatest of the four products of ends."""
        corners = torch.stack([x * y for x in (a.lower, a.upper) for y in (b.lower, b.upper)])
        return Interval(corners.amin(0), corners.amax(0))


@dataclass(frozen=True)
class Contraction(Bilinear):
    """``torch.einsum`` of two branches, such as ``ij,jk->ik``; the equation leaves out the batch axis.

    Every letter occurs in two of the three terms at least, so that the adjoint is such a sum, too.
    """

    equation: str

    @property
    def _letters(self) -> tuple[str, str, str]:
        operands, _, out = self.equation.partition("->")
        left, _, right = operands.partition(",")
        return left, right, out

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        left, right, out = self._letters
        return torch.einsum(f"...{left},...{right}->...{out}", a, b)

    def adjoint(self, rows: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        left, right, out = self._letters
        over_a = torch.einsum(f"...{out},...{right}->...{left}", rows, b)
        return over_a, torch.einsum(f"...{out},...{left}->...{right}", rows, a)

    @property
    def _single(self) -> Contraction:
        """The single products: nothing is summed, and the letters that were come last."""
        left, right, out = self._letters
        summed = "".join(c for c in dict.fromkeys(left + right) if c not in out)
        return Contraction(f"{left},{right}->{out}{summed}")

    def _singles(self, ins: Sequence[Shape]) -> int:
        """How many single products a sample has."""
        left, right, _ = self._letters
        return prod(dict(zip(left + right, (*ins[0], *ins[1]), strict=True)).values())

    def apart(self, ins: Sequence[Shape]) -> Contraction:
        """The single products, where they are not too many."""
        return self._single if self._singles(ins) <= _MOST_APART else self

    def interval(self, a: Interval, b: Interval) -> Interval | None:
        """The sum of every single product's least and greatest corner, where these fit into memory."""
        if len(a.lower) * self._singles((a.lower.shape[1:], b.lower.shape[1:])) > _MOST_CORNERS:
            return None
        single = self._single
        corners = torch.stack([single.product(x, y) for x in (a.lower, a.upper) for y in (b.lower, b.upper)])
        least, greatest = corners.amin(0), corners.amax(0)
        axes = tuple(range(len(self.equation) - len(single.equation), 0))
        return Interval(least.sum(axes), greatest.sum(axes)) if axes else Interval(least, greatest)

    def terms(self, ins: Sequence[Shape], out: Shape) -> int:
        """Each way, the letters that the result does not have are summed."""
        left, right, kept = self._letters
        sizes = dict(zip(left + right, ins[0] + ins[1], strict=True))
        return 2 + max(
            prod(size for letter, size in sizes.items() if letter not in term) for term in (left, right, kept)
        )


def multiplied(call: Call, a: Ref, b: Ref) -> Ref:
    """``a * b`` of graph values that may broadcast against each other."""
    if a == b:
        return call.apply(Power(2.0), a)
    shape = common_shape(call, call.full_shape(a), call.full_shape(b))
    return call.apply(Mul(), expanded(call, a, shape), expanded(call, b, shape))


def matrix_product(call: Call, a: Ref, b: Ref) -> Ref:
    """``a @ b`` of graph values with the rules of broadcasting of ``torch.matmul``."""
    full = [call.full_shape(x) for x in (a, b)]
    if len(full[0]) - int(call.batched) < 1 or len(full[1]) - int(call.batched) < 1:
        raise call.unsupported(f"a matrix product of samples of shape {a.shape} and {b.shape}")
    free = string.ascii_letters
    vectors = [call.batched and len(shape) == 2 for shape in full]
    if any(vectors) or min(map(len, full)) < 2:
        raise call.unsupported("a product with a vector per sample", "use a matrix with one row or column")
    rank = max(map(len, full)) - 2
    front = free[3 : 3 + rank]
    letters = [front[rank - len(shape) + 2 :] for shape in full]
    return contracted(call, a, b, f"{letters[0]}ab,{letters[1]}bc->{front}ac")


def contracted(call: Call, a: Ref, b: Ref, equation: str) -> Ref:
    """``torch.einsum(equation, a, b)`` of graph values, the batch axis among the letters where there is one.

    Axes of size one broadcast. An axis that one operand alone has, and the result has not, is refused.
    """
    operands, _, out = equation.partition("->")
    left, _, right = operands.partition(",")
    shapes = [dict(zip(s, call.full_shape(x), strict=True)) for s, x in ((left, a), (right, b))]
    sizes = {c: max(s.get(c, 1) for s in shapes) for c in left + right}
    if call.batched and not left[0] == right[0] == out[:1]:
        raise call.unsupported("it moves, sums or shares the batch axis", "keep it as axis 0")
    if any(len(set(s)) < len(s) for s in (left, right, out)):
        raise call.unsupported(f"equation {equation!r}, which repeats an axis within one term")
    terms = []
    for letters, x in ((left, a), (right, b)):
        # An axis of size one that is longer elsewhere broadcasts: it goes without a letter.
        kept = "".join(
            c for c in letters if dict(zip(letters, call.full_shape(x), strict=True))[c] == sizes[c]
        )
        terms.append((kept, reshaped(call, x, [sizes[c] for c in kept])))
    (left, a), (right, b) = terms
    for letter in sizes:
        if sum(letter in term for term in (left, right, out)) < 2:
            raise call.unsupported(f"equation {equation!r}, which sums an axis of one operand alone")
    skip = int(call.batched)
    return call.apply(Contraction(f"{left[skip:]},{right[skip:]}->{out[skip:]}"), a, b)
