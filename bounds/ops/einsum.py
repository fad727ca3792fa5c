"""Sums of products named by subscripts, of one graph value and constants."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from bounds.graph import Ref
from bounds.kinds import Affine, Tensors
from bounds.linear import Shape
from bounds.ops.elementwise import summed
from bounds.ops.linear import times_constant
from bounds.ops.product import contracted
from bounds.ops.registry import Call, Value, from_onnx, from_torch
from bounds.ops.shape import reshaped, transposed


@dataclass(frozen=True)
class Einsum(Affine):
    """``torch.einsum`` of one input and constants; params: the constants, in order.

    equation: with subscripts alone, the batch first in the input and in the result. place: of the input
    among the operands.
    """

    equation: str
    place: int

    def linear(self, xs: Tensors, weights: Tensors) -> Tensor:
        return torch.einsum(self.equation, *weights[: self.place], xs[0], *weights[self.place :])

    def _sizes(self, ins: Sequence[Shape], params: Tensors) -> dict[str, int]:
        operands, _, _ = self.equation.partition("->")
        shapes = [tuple(p.shape) for p in params]
        shapes.insert(self.place, (1, *ins[0]))
        sizes: dict[str, int] = {}
        for letters, shape in zip(operands.split(","), shapes, strict=True):
            for letter, size in zip(letters, shape, strict=True):
                sizes[letter] = max(size, sizes.get(letter, 1))
        return sizes

    def terms(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        """All subscripts that the input does not have are summed on the way back."""
        operands, _, _ = self.equation.partition("->")
        held = set(operands.split(",")[self.place])
        sizes = self._sizes(ins, params)
        back = prod(size for letter, size in sizes.items() if letter not in held)
        return back * (1 + len(params)) + self.fan_in(ins, out, params) + len(params) + 4

    def fan_in(self, ins: Sequence[Shape], out: Shape, params: Tensors) -> int:
        """All subscripts that the result does not have are summed."""
        _, _, result = self.equation.partition("->")
        sizes = self._sizes(ins, params)
        return prod(size for letter, size in sizes.items() if letter not in result) + len(params)


def _operands(call: Call) -> list[object]:
    tensors = call.get("tensors")
    if isinstance(tensors, list):
        return list(tensors)
    return [value for key, value in call.args.items() if key.isdigit()]


@from_torch("aten::einsum")
@from_onnx("Einsum")
def _einsum(call: Call) -> Value:
    operands = _operands(call)
    refs = [i for i, value in enumerate(operands) if isinstance(value, Ref)]
    constants = [value for value in operands if isinstance(value, Tensor)]
    if len(refs) + len(constants) != len(operands):
        raise call.unsupported("an operand that is neither a graph value nor a constant")
    ranks = [
        len(call.full_shape(v)) if isinstance(v, Ref) else v.dim()
        for v in operands
        if isinstance(v, Ref | Tensor)
    ]
    equation = _spelled(call, str(call.get("equation")).replace(" ", ""), ranks)
    if len(operands) == len(refs) == 2:
        a, b = (value for value in operands if isinstance(value, Ref))
        return contracted(call, a, b, equation)
    if len(refs) != 1:
        raise call.unsupported("a product of two graph values and more", "multiply two at a time")
    place, x = refs[0], operands[refs[0]]
    if not isinstance(x, Ref) or not call.batched:
        raise call.unsupported("a value without a batch axis")
    inputs, _, result = equation.partition("->")
    batch = inputs.split(",")[place][:1]
    others = [letters for i, letters in enumerate(inputs.split(",")) if i != place]
    sizes = [p.shape[s.index(batch)] for p, s in zip(constants, others, strict=True) if batch in s]
    if result[:1] != batch or inputs.split(",")[place].count(batch) > 1 or any(size != 1 for size in sizes):
        raise call.unsupported("it moves, sums or shares the batch axis", "keep it as axis 0")
    return call.apply(Einsum(equation, place), x, params=tuple(p.to(call.dtype) for p in constants))


def _spelled(call: Call, equation: str, ranks: Sequence[int]) -> str:
    """The equation with letters for every ellipsis, and with its result."""
    inputs, arrow, result = equation.partition("->")
    free = [c for c in string.ascii_letters if c not in equation]
    parts = inputs.split(",")
    if len(parts) != len(ranks):
        raise call.unsupported(f"equation {equation!r} for {len(ranks)} operands")
    hidden = [
        rank - len(part.replace("...", "")) for part, rank in zip(parts, ranks, strict=True) if "..." in part
    ]
    most = max(hidden, default=0)
    letters = "".join(free[:most])
    spelled = [
        part.replace("...", letters[most - (rank - len(part.replace("...", ""))) :])
        for part, rank in zip(parts, ranks, strict=True)
    ]
    if not arrow:
        named = inputs.replace(",", "").replace("...", "")
        result = "..." * bool(hidden) + "".join(sorted(c for c in set(named) if named.count(c) == 1))
    return f"{','.join(spelled)}->{result.replace('...', letters)}"


@from_torch("aten::tensordot")
def _tensordot(call: Call) -> Value:
    """The axes that are summed moved together, then a matrix product."""
    x, weight = call.ref("self"), call.constant("other")
    full = call.full_shape(x)
    ours = [axis % len(full) for axis in call.integers("dims_self")]
    theirs = [axis % weight.dim() for axis in call.integers("dims_other")]
    kept = [axis for axis in range(len(full)) if axis not in ours]
    free = [axis for axis in range(weight.dim()) if axis not in theirs]
    matrix = weight.permute(*theirs, *free).reshape(prod(full[axis] for axis in ours), -1)
    x = reshaped(call, transposed(call, x, (*kept, *ours)), (*(full[a] for a in kept), len(matrix)))
    y = times_constant(call, x, matrix)
    return reshaped(call, y, (*(full[a] for a in kept), *(weight.shape[a] for a in free)))


@from_torch("aten::bilinear")
def _bilinear(call: Call) -> Value:
    """``x W y + b``: a step that is affine in x, and the product of its result with y."""
    x, y, weight, bias = call.ref("input1"), call.ref("input2"), call.constant("weight"), call.get("bias")
    front = string.ascii_letters[3 : 3 + len(call.full_shape(x)) - 1]
    held = call.apply(Einsum(f"{front}a,cab->{front}cb", 0), x, params=(weight,))
    z = contracted(call, held, y, f"{front}cb,{front}b->{front}c")
    return z if bias is None else summed(call, z, bias)
