"""RayS: a search for the best direction among the corners of a cube."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from certify.attacks.blackbox.search import DecisionAttack, Progress, across, bisect
from certify.attacks.blackbox.view import Decisions
from certify.attacks.norms import wide
from certify.attacks.settings import check_counts

_TOLERANCE = 1e-3  # of the radius, relative to the valid range


@dataclass(frozen=True, eq=False)
class Ray(Progress):
    """signs: (batch, *shape), the best direction. radius: (batch,), where it was seen broken; inf: nowhere.

    level, block: (batch,), the next block to be turned, of 2^level. fresh: (batch,), whether this pass over
    the blocks has come nearer.
    """

    signs: Tensor
    radius: Tensor
    level: Tensor
    block: Tensor
    fresh: Tensor


@dataclass(frozen=True)
class RayS(DecisionAttack[Ray]):
    """RayS in Linf (Chen & Gu 2020, algorithm 3): without a gradient's estimate and without a random number.

    A direction is a sign per element. Blocks of signs are turned, first all of them, then halves, quarters
    and so on to single elements; the direction is taken over if it is broken at the best radius, which one
    query tells, and the radius is then found by bisection to 0.001 of the valid range. The search ends
    with a pass over all single elements that changes nothing.

    queries: at most so many per sample.
    Raises ``UsageError`` for a value outside its domain.
    """

    norms: ClassVar[frozenset[float]] = frozenset({math.inf})

    queries: int = 5000

    def __post_init__(self) -> None:
        check_counts("RayS", 2, queries=self.queries)

    def init(self, view: Decisions) -> Ray:
        n, device = len(view), view.start.device
        zero = torch.zeros(n, dtype=torch.int64, device=device)
        return Ray(
            torch.zeros(n, dtype=torch.bool, device=device),
            torch.ones_like(wide(view.start)),
            torch.full((n,), torch.inf, dtype=torch.float64, device=device),
            zero,
            zero - 1,  # before the first block: the direction as it is
            torch.zeros(n, dtype=torch.bool, device=device),
        )

    def step(self, view: Decisions, progress: Ray) -> Ray:
        start, size = view.start.to(progress.signs.dtype), progress.signs[0].numel()
        width = -(-size // 2**progress.level)
        place = torch.arange(size, device=start.device)
        own = (place >= (progress.block * width)[:, None]) & (place < ((progress.block + 1) * width)[:, None])
        signs = torch.where(own.view_as(start), -progress.signs, progress.signs)

        def way(radius: Tensor) -> Tensor:
            return start + across(radius, start) * signs

        farthest, tolerance = _ends(view)
        reach = torch.minimum(progress.radius, farthest)
        broken = view.broken(way(reach)[:, None])[:, 0]
        near = torch.zeros_like(reach)
        radius = bisect(view, way, near, reach, torch.where(broken, tolerance, torch.inf))
        better = broken & (radius < progress.radius)
        turned = replace(
            progress,
            signs=torch.where(across(better, start).bool(), signs, progress.signs),
            radius=torch.where(better, radius, progress.radius),
            fresh=progress.fresh | better,
        )
        return _next(turned, width, size)


def _next(progress: Ray, width: Tensor, size: int) -> Ray:
    """With the block that is next; after the last of its level the level below, after single ones again."""
    block = progress.block + 1
    ended = (progress.block >= 0) & (block * width >= size)
    single = width == 1
    return replace(
        progress,
        done=progress.done | (ended & single & ~progress.fresh),
        level=torch.where(ended & ~single, progress.level + 1, progress.level),
        block=torch.where(ended, 0, block),
        fresh=progress.fresh & ~ended,
    )


def _ends(view: Decisions) -> tuple[Tensor, Tensor]:
    """The radius beyond which no direction leads, and the tolerance of a radius; (batch,) float64.

    Where any input is valid, the largest element, at least 1, stands for the width of the valid range, and a
    thousand times that for its end.
    """
    start, box = view.start.double().flatten(1), view.region.box()
    if not view.bounded:
        size = start.abs().amax(1).clamp(min=1)
        return 1e3 * size, _TOLERANCE * size
    lower, upper = box.lower.double().flatten(1), box.upper.double().flatten(1)
    return torch.maximum(upper - start, start - lower).amax(1), _TOLERANCE * (upper - lower).amax(1)
