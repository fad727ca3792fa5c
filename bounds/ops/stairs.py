"""Functions that are constant between jumps: floor, ceil, round, trunc, sign, step."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.kinds import Piece, Pointwise
from bounds.ops.registry import Call, Value, from_torch, register_function, unary
from bounds.piecewise import chosen

_MOST_PIECES = 64


@dataclass(frozen=True)
class Stairs(Pointwise):
    """Rising stairs, numbered by their value. At a jump both limits count, which is sound.

    The gap to a line is least at an end of a stair, and over whole stairs of one width it is monotone in
    their number: the first two and the last two stairs of an interval decide, and those of ``odd``.
    """

    # Stairs whose width differs from that of the others, and their neighbours.
    odd: ClassVar[tuple[int, ...]] = ()

    @abstractmethod
    def start(self, stair: Tensor) -> Tensor:
        """Where a stair begins; may be minus infinity."""

    @abstractmethod
    def end(self, stair: Tensor) -> Tensor:
        """Where a stair ends; may be infinity."""

    def image(self, x: Interval, rounded: bool) -> Interval:
        x = x.closed()  # comparisons would hide what is not a number
        return Interval(self.function(x.lower), self.function(x.upper))

    def contact(self, x: Interval, slope: Tensor, side: int) -> tuple[Tensor, Tensor]:
        points, values = self._corners(x)
        gaps = self.gap(slope, points, values, side, rounded=False)
        return chosen(points, gaps)

    def intercept(self, x: Interval, slope: Tensor, side: int, rounded: bool) -> Tensor:
        points, values = self._corners(x)
        best = self.gap(slope, points, values, side, rounded).amin(0)
        return torch.nan_to_num(best, nan=-math.inf, posinf=-math.inf, neginf=-math.inf) * side

    def pieces(self, x: Interval) -> Sequence[Piece]:
        """One for each stair, up to a limit."""
        first, last = self.function(x.lower), self.function(x.upper)
        count = float((last - first).max()) + 1 if first.numel() else 0.0
        if not count <= _MOST_PIECES:
            return ()
        found, flat = [], torch.zeros_like(first)
        for step in range(int(count)):
            stair = first + step
            start = torch.where(stair <= last, self.start(stair), math.inf)
            found.append(Piece(start, self.end(stair), flat, stair))
        return found

    def undecided(self, x: Interval) -> Tensor:
        return self.function(x.lower) != self.function(x.upper)

    def slopes(self, x: Interval) -> tuple[Tensor, Tensor]:
        flat = torch.zeros_like(x.lower)
        return self.searched(x, self.undecided(x), flat, flat)

    def _corners(self, x: Interval) -> tuple[Tensor, Tensor]:
        """Both ends of the stairs that decide, as far as they lie in the interval, and their values."""
        first, last = self.function(x.lower), self.function(x.upper)
        inner = [torch.minimum(first + 1, last), torch.maximum(last - 1, first)]
        inner += [torch.minimum(torch.maximum(torch.full_like(first, k), first), last) for k in self.odd]
        stairs = torch.stack([first, last, *inner])
        ends = torch.cat([self.start(stairs), self.end(stairs)])
        points = torch.minimum(torch.maximum(ends, x.lower), x.upper)
        return points, torch.cat([stairs, stairs])


@dataclass(frozen=True)
class Floor(Stairs):
    """The largest integer not above z."""

    def function(self, z: Tensor) -> Tensor:
        return torch.floor(z)

    def start(self, stair: Tensor) -> Tensor:
        return stair

    def end(self, stair: Tensor) -> Tensor:
        return stair + 1


@dataclass(frozen=True)
class Ceil(Stairs):
    """The smallest integer not below z."""

    def function(self, z: Tensor) -> Tensor:
        return torch.ceil(z)

    def start(self, stair: Tensor) -> Tensor:
        return stair - 1

    def end(self, stair: Tensor) -> Tensor:
        return stair


@dataclass(frozen=True)
class Round(Stairs):
    """The nearest integer, the even one of two."""

    def function(self, z: Tensor) -> Tensor:
        return torch.round(z)

    def start(self, stair: Tensor) -> Tensor:
        return stair - 0.5

    def end(self, stair: Tensor) -> Tensor:
        return stair + 0.5


@dataclass(frozen=True)
class Trunc(Stairs):
    """The integer part, towards zero."""

    odd: ClassVar[tuple[int, ...]] = (-1, 0, 1)

    def function(self, z: Tensor) -> Tensor:
        return torch.trunc(z)

    def start(self, stair: Tensor) -> Tensor:
        return stair - (stair <= 0).to(stair)

    def end(self, stair: Tensor) -> Tensor:
        return stair + (stair >= 0).to(stair)


@dataclass(frozen=True)
class Sign(Stairs):
    """-1, 0 or 1."""

    def function(self, z: Tensor) -> Tensor:
        return torch.sign(z)

    def start(self, stair: Tensor) -> Tensor:
        return torch.where(stair < 0, -math.inf, 0.0).to(stair)

    def end(self, stair: Tensor) -> Tensor:
        return torch.where(stair > 0, math.inf, 0.0).to(stair)


@dataclass(frozen=True)
class Step(Stairs):
    """0 below zero and 1 above, with 1 at zero if ``closed`` and 0 otherwise."""

    closed: bool

    def function(self, z: Tensor) -> Tensor:
        return (z >= 0 if self.closed else z > 0).to(z)

    def start(self, stair: Tensor) -> Tensor:
        return torch.where(stair > 0, 0.0, -math.inf).to(stair)

    def end(self, stair: Tensor) -> Tensor:
        return torch.where(stair > 0, math.inf, 0.0).to(stair)


for _op, _torch, _onnx in (
    (Floor(), "floor", "Floor"),
    (Ceil(), "ceil", "Ceil"),
    (Trunc(), "trunc", None),
    (Trunc(), "fix", None),
    (Sign(), "sign", "Sign"),
    (Sign(), "sgn", None),
    (Round(), None, "Round"),
):
    register_function(_op, _torch, _onnx)


@from_torch("aten::round")
def _round(call: Call) -> Value:
    if call.number("decimals", 0) != 0:
        raise call.unsupported("decimals")
    return call.apply(Round(), unary(call))


@from_torch("aten::heaviside")
def _heaviside(call: Call) -> Value:
    at_zero = call.number("values")
    if at_zero not in (0, 1):
        raise call.unsupported(f"the value {at_zero} at zero", "use 0 or 1")
    return call.apply(Step(closed=at_zero == 1), unary(call))
