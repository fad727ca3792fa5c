"""Patches anywhere: first the place, then what stands there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

import bounds
from certify.attacks.base import Attack, Found, Problem, RegionAttack, no_gradient, no_set, search
from certify.attacks.losses import margin
from certify.attacks.pgd import PGD
from certify.errors import UsageError
from certify.query import Query


@dataclass(frozen=True)
class PatchSearch(RegionAttack):
    """PGD at the most promising places of a patch (place and content, as in Rao et al. 2020).

    Places are judged by the gain that the gradient promises there, ``candidates`` of them, kept half a patch
    apart; then by the network's own answer to the patch that is best for that gradient. PGD runs at the best
    ``places`` one by one, where its steps are those in a box, and at last on the set of all places.

    attack: run at each place. Elsewhere than in a set of patches it is all there is.
    Raises ``UsageError`` for numbers below 1.
    """

    # for configurations, which give numbers and leave the attack as it is
    __pydantic_config__: ClassVar[Mapping[str, bool]] = {"arbitrary_types_allowed": True}

    candidates: int = 32
    places: int = 5
    attack: Attack[Any] = field(default_factory=lambda: PGD(steps=40))

    def __post_init__(self) -> None:
        if min(self.candidates, self.places) < 1:
            raise UsageError(f"{self!r} is no search; give candidates >= 1 and places >= 1")

    def supports(self, query: Query) -> str | None:
        """None if the threat is a patch and the model can be differentiated, else the reason."""
        if not isinstance(query.region[:0], bounds.Patch):
            return f"{query.threat!r} is no patch; try PGD"
        return no_set(query) or no_gradient(query)

    def find(self, problem: Problem) -> Found:
        region = problem.region
        if not isinstance(region, bounds.Patch) or region.is_box or len(region) == 0:
            return search(self.attack, problem)
        look = problem.look(problem.start)
        best = Found.nothing(problem).updated(torch.arange(len(region), device=look.points.device), look)
        gradient = look.gradient(margin)
        chosen = _apart(region, region.gains(gradient), self.candidates)
        values = torch.full(chosen.shape, torch.inf, dtype=gradient.dtype, device=gradient.device)
        for column, place in enumerate(chosen.unbind(1)):
            index = (~best.broken).nonzero()[:, 0]
            if len(index) == 0:
                return best
            seen = problem[index].look(_box(region, place)[index].argmax(gradient[index]))
            best = best.updated(index, seen)
            values[index, column] = seen.deciding
        order = chosen.gather(1, values.argsort(dim=1, stable=True))
        sets = [_box(region, place) for place in order[:, : self.places].unbind(1)]
        for rank, each in enumerate([*sets, region]):
            index = (~best.broken).nonzero()[:, 0]
            if len(index) == 0:
                break
            part = replace(problem[index], region=each[index], key=f"{problem.key} {rank}")
            best = best.joined(index, search(self.attack, part))
        return best


def _box(region: bounds.Patch, place: Tensor) -> bounds.Box:
    """The set of a patch at one place per sample; place: (batch,) indices."""
    return bounds.Patch.at(region.center, region.size, region.clip, region.corners()[place])


def _apart(region: bounds.Patch, gains: Tensor, count: int) -> Tensor:
    """The places of largest gain, two near each other only where no others are left; (batch, <= count)."""
    corners = region.corners()
    near = torch.tensor(region.size, device=corners.device) / 2
    left, found = gains.clone(), []
    for _ in range(min(count, len(corners))):
        best = left.argmax(1)
        found.append(best)
        close = ((corners[None] - corners[best][:, None]).abs() < near).all(2)
        # places near a chosen one come last, in the order of their gain; a chosen one never again
        left = torch.where(close & (left >= 0), left - gains.amax(1, keepdim=True) - 1, left)
        left = left.scatter(1, best[:, None], -torch.inf)
    return torch.stack(found, dim=1)
