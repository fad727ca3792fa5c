"""Instances of every composite operator, with the shapes they take; the conformance test walks this table."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.kinds import Composite
from bounds.linear import Shape
from bounds.ops.attention import Attend
from bounds.ops.minmax import AtLeast, Extreme, Maximum, MaxPool, Minimum
from bounds.ops.softmax import LogSoftmax, LogSumExp, Softmax
from bounds.ops.standardise import Standardise, SumOfSquares, Unify


@dataclass(frozen=True, eq=False)
class Case:
    """An operator, the shapes of its inputs and float32 parameters; eps: radius of the inputs."""

    op: Composite
    ins: tuple[Shape, ...]
    params: tuple[Tensor, ...] = ()
    eps: float = 0.3


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def _extremes() -> list[Case]:
    return [
        Case(Maximum(), ((2, 3), (2, 3))),
        Case(Minimum(), ((4,), (4,))),
        Case(AtLeast(), ((2, 3),), (_draw(3),)),
        Case(Extreme(0, largest=True), ((5,),)),
        Case(Extreme(1, largest=False), ((2, 4, 3),)),
        Case(Extreme(2, largest=True), ((2, 1, 7),)),
    ]


def _pools() -> list[Case]:
    plain, padded = ((0, 2), (1, 3)), ((0, 1, 3), (0, 2, 4), (1, 3, 4))
    edges, uneven = ((0, 1, 4), (0, 3, 4)), ((0, 1, 3), (1, 2, 3))
    return [
        Case(MaxPool((plain, plain)), ((2, 4, 4),)),
        Case(MaxPool((padded, uneven)), ((1, 5, 4),)),
        Case(MaxPool((edges, padded)), ((1, 5, 6),)),
        Case(MaxPool((padded,)), ((2, 6),)),
        Case(MaxPool((((0, 0, 1, 2, 2),),)), ((2, 3),)),
        Case(MaxPool((edges, plain, ((0,), (1,)))), ((1, 5, 4, 2),)),
    ]


def _softmax() -> list[Case]:
    mask = torch.tensor([1.0, 0, 1, 1, 0]).expand(2, 5)
    return [
        Case(Softmax(0), ((5,),)),
        Case(Softmax(1), ((2, 3, 2),)),
        Case(Softmax(1), ((2, 5),), (mask,)),
        Case(LogSoftmax(0), ((5,),)),
        Case(LogSoftmax(0), ((3, 2),)),
        Case(LogSumExp(0), ((5,),)),
        Case(LogSumExp(1), ((2, 4),)),
        Case(Attend(), ((2, 3), (3, 2))),
        Case(Attend(), ((2, 2, 3), (2, 3, 1)), (torch.ones(2, 3).tril().expand(2, 2, 3),)),
    ]


def _standardised() -> list[Case]:
    return [
        Case(SumOfSquares((0,)), ((5,),)),
        Case(SumOfSquares((1, 2)), ((2, 2, 3),)),
        Case(Unify((0,), 1e-5), ((5,),), eps=0.1),
        Case(Unify((1,), 1e-3), ((2, 3),), eps=0.1),
        Case(Standardise((0,), 1e-5), ((5,),), eps=0.1),
        Case(Standardise((0,), 1e-5), ((1,),)),
        Case(Standardise((1, 2), 1e-5), ((2, 2, 3),), eps=0.1),
    ]


def cases() -> list[Case]:
    """All of them."""
    parts = (_extremes, _pools, _softmax, _standardised)
    return [case for part in parts for case in part()]
