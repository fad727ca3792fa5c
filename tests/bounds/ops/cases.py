"""Instances of every affine operator, with the shapes they take; the conformance test walks this table."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.kinds import Affine
from bounds.linear import Shape
from bounds.ops.adjoint import Adjoint, Constant
from bounds.ops.centre import Centre
from bounds.ops.conv import Conv
from bounds.ops.conv_transpose import ConvTranspose
from bounds.ops.einsum import Einsum
from bounds.ops.elementwise import Add, Divide, Negate, Scale, Shift, Subtract
from bounds.ops.gather import Expand, Gather, Pick, Take
from bounds.ops.linear import Along, Linear, MatMul
from bounds.ops.norm import BatchNorm
from bounds.ops.pool import AdaptiveAvgPool, AvgPool, Sum
from bounds.ops.scan import CumSum
from bounds.ops.select import Keep, Select
from bounds.ops.shape import Reshape, Transpose
from bounds.ops.slicing import Concat, Pad, Slice
from bounds.ops.softmax import Differences


@dataclass(frozen=True, eq=False)
class Case:
    """An operator, the shapes of its inputs and float32 parameters.

    unit, patch: whether rows with one nonzero, and patch rows, have a shortcut through it.
    """

    op: Affine
    ins: tuple[Shape, ...]
    params: tuple[Tensor, ...] = ()
    unit: bool = True
    patch: bool = False


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def _linear() -> list[Case]:
    return [
        Case(Linear(), ((5,),), (_draw(3, 5), _draw(3))),
        Case(Linear(), ((5,),), (_draw(3, 5),)),
        Case(Linear(), ((2, 4, 5),), (_draw(3, 5), _draw(3)), unit=False),
        Case(MatMul(left=False), ((4, 5),), (_draw(5, 3),), unit=False),
        Case(MatMul(left=True), ((2, 4, 5),), (_draw(2, 3, 4),), unit=False),
        Case(MatMul(left=False), ((2, 1, 4, 5),), (_draw(3, 5, 2),), unit=False),
        Case(MatMul(left=True), ((1, 4, 5),), (_draw(6, 3, 4),), unit=False),
        Case(Along(0), ((4, 5),), (_draw(3, 4),), unit=False),
        Case(Along(1), ((2, 4, 5),), (_draw(6, 4),), unit=False),
        Case(Along(1), ((2, 4, 5),), (_draw(6, 4).clamp(min=0.5) - 0.5,), unit=False),
        Case(Einsum("bij,jk->bik", 0), ((4, 5),), (_draw(5, 3),), unit=False),
        Case(Einsum("kj,bij,i->bk", 1), ((4, 5),), (_draw(3, 5), _draw(4)), unit=False),
        Case(Einsum("bij->bj", 0), ((4, 5),), unit=False),
        Case(Einsum("bij,kl->bijkl", 0), ((2, 3),), (_draw(3, 2),), unit=False),
    ]


def _conv() -> list[Case]:
    two = [
        (Conv((1, 1), (0, 0), (1, 1)), (2, 5, 6), _draw(3, 2, 3, 2)),
        (Conv((2, 3), (1, 2), (1, 1)), (2, 6, 7), _draw(3, 2, 3, 3)),
        (Conv((1, 1), (2, 1), (2, 1)), (2, 6, 5), _draw(3, 2, 3, 3)),
        (Conv((2, 1), (1, 0), (1, 2), groups=2), (4, 6, 6), _draw(6, 2, 3, 2)),
        (Conv((1, 2), (3, 1), (2, 2), groups=3), (3, 5, 6), _draw(3, 1, 2, 3)),
    ]
    one = [
        (Conv((2,), (1,), (1,)), (2, 7), _draw(3, 2, 3)),
        (Conv((1,), (2,), (2,), groups=2), (4, 6), _draw(2, 2, 3)),
    ]
    return [
        *(Case(op, (shape,), (w, _draw(len(w))), patch=True) for op, shape, w in two),
        *(Case(op, (shape,), (w, _draw(len(w))), unit=False) for op, shape, w in one),
        Case(two[1][0], (two[1][1],), (two[1][2],), patch=True),
        Case(
            Conv((1, 2, 1), (0, 1, 1), (1, 1, 2), groups=2),
            ((2, 3, 4, 4),),
            (_draw(4, 1, 2, 3, 2), _draw(4)),
            unit=False,
        ),
    ]


def _conv_transpose() -> list[Case]:
    two = [
        (ConvTranspose((1, 1), (0, 0), (0, 0), (1, 1)), (2, 3, 4), _draw(2, 3, 3, 2)),
        (ConvTranspose((2, 3), (1, 0), (1, 2), (1, 1)), (2, 3, 2), _draw(2, 3, 3, 4)),
        (ConvTranspose((2, 2), (2, 1), (0, 1), (1, 2), groups=2), (4, 3, 3), _draw(4, 1, 4, 2)),
        (ConvTranspose((3, 2), (0, 0), (0, 0), (1, 1)), (2, 3, 3), _draw(2, 2, 2, 1)),
        (ConvTranspose((1, 1), (1, 1), (1, 1), (2, 2)), (1, 3, 4), _draw(1, 2, 2, 2)),
    ]
    return [
        *(Case(op, (shape,), (w, _draw(w.shape[1] * op.groups)), patch=True) for op, shape, w in two),
        Case(two[0][0], (two[0][1],), (two[0][2],), patch=True),
        Case(ConvTranspose((2,), (1,), (1,), (1,)), ((2, 4),), (_draw(2, 3, 3), _draw(3)), unit=False),
        Case(
            ConvTranspose((2, 1, 1), (0, 1, 0), (1, 0, 0), (1, 1, 2), groups=2),
            ((2, 2, 3, 2),),
            (_draw(2, 1, 2, 3, 2),),
            unit=False,
        ),
    ]


def _elementwise() -> list[Case]:
    image, channel, vector = (3, 2, 4), (3, 1, 1), (5,)
    positive = _draw(*channel).abs() + 0.1
    return [
        Case(Shift(), (image,), (_draw(*channel),), patch=True),
        Case(Shift(), (image,), (_draw(*image),), patch=True),
        Case(Shift(), (vector,), (torch.tensor(0.7),)),
        Case(Subtract(), (image,), (_draw(*channel),), patch=True),
        Case(Scale(), (image,), (_draw(*channel),), patch=True),
        Case(Scale(), (image,), (_draw(*image),), patch=True),
        Case(Divide(), (image,), (_draw(1, 4).sign() * 3,), patch=True),
        Case(Scale(), (vector,), (torch.tensor(-0.7),)),
        Case(Scale(), (image,), (torch.tensor(1.3),), patch=True),
        Case(Divide(), (image,), (positive,), patch=True),
        Case(Divide(), (vector,), (_draw(5).sign() * 3,)),
        Case(Negate(), (image,), patch=True),
        Case(Negate(), (vector,)),
        Case(Add(), (image, image), patch=True),
        Case(Add(), (vector, vector)),
    ]


def _norm() -> list[Case]:
    def params(n: int, mean: float) -> tuple[Tensor, ...]:
        return _draw(n), _draw(n, seed=1), _draw(n, seed=2) + mean, _draw(n, seed=3).abs() * 0.3 + 0.01

    weight, _, mean, var = params(4, 1000.0)
    cancelling = weight, mean * weight / (var + 1e-5).sqrt(), mean, var
    return [
        Case(BatchNorm(1e-5, 0), ((4,),), cancelling),
        Case(BatchNorm(1e-5, 2), ((3, 4, 2),), params(3, 0.0), patch=True),
        Case(BatchNorm(1e-3, 1), ((3, 4),), params(3, 50.0)),
        Case(BatchNorm(1e-5, 0), ((6,),), params(6, -1000.0)),
        Case(BatchNorm(1e-5, 3), ((2, 3, 2, 2),), params(2, 0.0)),
    ]


def _pool() -> list[Case]:
    image, line = (2, 5, 6), (3, 7)
    return [
        Case(AvgPool((2, 2), (2, 2), (0, 0)), ((2, 4, 6),), patch=True, unit=False),
        Case(AvgPool((3, 2), (1, 3), (1, 1)), (image,), patch=True, unit=False),
        Case(AvgPool((3, 3), (2, 2), (1, 1), count_padding=False), (image,), unit=False),
        Case(AvgPool((2, 2), (2, 2), (0, 0), ceil=True), (image,), unit=False),
        Case(AvgPool((5, 6), (5, 6), (0, 0)), (image,), patch=True, unit=False),
        Case(AvgPool((3,), (2,), (1,)), (line,), unit=False),
        Case(AdaptiveAvgPool((3, 4)), (image,), unit=False),
        Case(AdaptiveAvgPool((7, 2)), (image,), unit=False),
        Case(AdaptiveAvgPool((3,)), (line,), unit=False),
        Case(AvgPool((2, 1, 3), (1, 1, 2), (0, 0, 1)), ((2, 3, 2, 4),), unit=False),
        Case(AdaptiveAvgPool((2, 1, 3)), ((2, 3, 2, 4),), unit=False),
        Case(CumSum(0), (line,), unit=False),
        Case(CumSum(1), (image,), unit=False),
        Case(Sum((1, 2)), (image,), unit=False),
        Case(Centre((1,)), (line,), unit=False),
        Case(Centre((0, 2)), (image,), unit=False),
        Case(Centre((0,)), ((1,),), unit=False),
        Case(Differences(0), ((4,),), unit=False),
        Case(Differences(1), (image,), unit=False),
        Case(Sum((0,)), (image,), unit=False),
        Case(Sum((1,)), (line,), unit=False),
    ]


def _moves() -> list[Case]:
    image = (3, 4, 5)
    return [
        Case(Reshape((60,)), (image,)),
        Case(Reshape((5, 2, 6)), (image,)),
        Case(Reshape((2, 3)), ((6,),)),
        Case(Transpose((2, 0, 1)), (image,)),
        Case(Transpose((0, 2, 1)), (image,)),
        Case(Transpose((1, 2, 0)), (image,)),
        Case(Concat(0), (image, (1, 4, 5), (2, 4, 5)), patch=True),
        Case(Concat(1), (image, (3, 2, 5))),
        Case(Concat(2), (image, (3, 4, 1))),
        Case(Concat(0), ((4,), (2,))),
        Case(Slice(0, range(1, 3)), (image,), patch=True),
        Case(Slice(1, range(1, 4)), (image,), patch=True),
        Case(Slice(2, range(2, 5)), (image,), patch=True),
        Case(Slice(2, range(0, 5, 2)), (image,), patch=True),
        Case(Slice(1, range(1, 4, 2)), (image,), patch=True),
        Case(Slice(1, range(3, -1, -1)), (image,), patch=True),
        Case(Slice(2, range(4, -1, -3)), (image,), patch=True),
        Case(Slice(0, (2, 0)), (image,), patch=True),
        Case(Slice(2, (2, 0, 3)), (image,)),
        Case(Slice(0, range(1, 3)), ((6,),)),
        Case(Pad((1, 2), (0, 3)), (image,), patch=True),
        Case(Pad((2,), (1,)), (image,), patch=True),
        Case(Pad((1, 0, 2), (0, 1, 0)), (image,)),
        Case(Pad((1,), (2,)), ((4,),)),
    ]


def _copies() -> list[Case]:
    image, vector = (3, 4, 5), (6,)
    mask = (_draw(*image) > 0).float()
    return [
        Case(Gather(0, (2, 0, 2, 2)), (image,), patch=True),
        Case(Gather(1, (0, 0, 1, 1, 2, 2, 3, 3)), (image,), patch=True),
        Case(Gather(2, (2, 1, 0, 1, 2, 3, 4, 3)), (image,), patch=True),
        Case(Gather(1, (3, 0, 1, 2, 3, 0)), (image,), patch=True),
        Case(Gather(0, (5, 5, 0)), (vector,)),
        Case(Take((2, 4), (0, 5, -1, 0, 3, 3, -1, 0)), (vector,)),
        Case(Pick((3, 2), (4, -1, -1, 0, 30, 2)), (image,)),
        Case(Expand((3, 4, 5)), ((3, 1, 1),), patch=True),
        Case(Expand((3, 4, 5)), ((1, 4, 1),), patch=True),
        Case(Expand((3, 4, 5)), ((1, 4, 5),), patch=True),
        Case(Expand((2, 6)), ((1, 6),)),
        Case(Keep(), (image,), (mask,), patch=True),
        Case(Keep(), (image,), (mask[:1],), patch=True),
        Case(Keep(), (vector,), (torch.tensor([1.0, 0, 0, 1, 1, 0]),)),
        Case(Select(), (image, image), (mask,), patch=True),
        Case(Select(), (vector, vector), (torch.tensor([1.0, 0, 0, 1, 1, 0]),)),
    ]


def _backward() -> list[Case]:
    conv = Conv((2, 1), (1, 0), (1, 1), 2)
    kernel, image, pooled = _draw(4, 1, 3, 2), (2, 4, 5), (4, 2, 4)
    return [
        Case(Constant((2, 3)), ((4,),), (_draw(2, 3),), unit=False),
        Case(Adjoint(Linear(), ((5,),), (3,)), ((2, 3),), (_draw(3, 5), _draw(3)), unit=False),
        Case(Adjoint(conv, (image,), pooled), ((2, *pooled),), (kernel, _draw(4)), unit=False),
        Case(Adjoint(Negate(), ((3,),), (3,)), ((2, 3),), unit=False),
        Case(Adjoint(Subtract(), ((3,),), (3,)), ((2, 3),), (_draw(3),), unit=False),
        Case(Adjoint(Concat(0), ((2,), (3,)), (5,), 1), ((4, 5),), unit=False),
        Case(Adjoint(Add(), ((3,), (3,)), (3,), 1), ((2, 3),), unit=False),
        Case(Adjoint(Expand((3, 2)), ((3, 1),), (3, 2)), ((2, 3, 2),), unit=False),
    ]


def cases() -> list[Case]:
    """All of them."""
    parts = (_linear, _conv, _conv_transpose, _elementwise, _norm, _pool, _moves, _copies, _backward)
    return [case for part in parts for case in part()]
