"""Square Attack: random search in windows of the image, by the network's outputs alone."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import bounds
from certify.attacks.base import Forward, Found, Problem, RegionAttack
from certify.attacks.moves import BallMoves, BoxMoves, Moves, Planes
from certify.attacks.norms import floats_of
from certify.attacks.settings import check_between, check_counts
from certify.query import Query

# Andriushchenko et al. 2020, section 5: where the share of the image is halved, of 10,000 queries.
_HALVED = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)
_OF = 10_000


@dataclass(frozen=True)
class Square(RegionAttack):
    """Square Attack (Andriushchenko et al. 2020) for boxes and balls of the norms 2 and 1.

    A query changes a window of the best point so far, and is kept if the deciding value falls: in a box the
    window goes to corners (algorithm 2), in a ball it takes over the change of a second window (algorithm 3;
    for the norm 1 by Croce & Hein 2021). Inputs of one axis are lines, of two images; all axes but the last
    two count as channels. Samples leave as soon as they are broken.

    queries: per sample, schedule and all. p_init: the share of the image that the first windows cover.
    Raises ``UsageError`` for a value outside its domain.
    """

    queries: int = 5000
    p_init: float = 0.8

    def __post_init__(self) -> None:
        check_counts("Square", 1, queries=self.queries)
        check_between("Square", 0, 1, p_init=self.p_init)

    def supports(self, query: Query) -> str | None:
        """None for boxes and balls, else what to use instead."""
        reason = super().supports(query)
        if reason is not None or query.region.is_box or isinstance(query.region, bounds.Ball):
            return reason
        return f"Square moves in boxes and balls of a norm, which {query.threat!r} has none of; try PGD"

    def find(self, problem: Problem) -> Found:
        best, index = Found.nothing(problem), torch.arange(len(problem.start), device=problem.start.device)
        if len(index) == 0:
            return best
        problem = replace(problem, forward=_without_gradients(problem.forward))
        planes, moves = Planes.of(problem.region.shape), _moves(problem.region)
        draws = _draws(problem, "queries", (self.queries, planes.numbers))
        points, here = moves.first(_draws(problem, "first", planes.first_numbers)), best
        for query in range(1, self.queries + 1):
            everyone = torch.arange(len(index), device=index.device)
            here = here.updated(everyone, problem.look(points))
            keep = (~here.broken).nonzero()[:, 0]
            if len(keep) == 0 or query == self.queries:
                break
            if len(keep) < len(index):
                best = best.joined(index, here)
                index, problem, moves, draws = index[keep], problem[keep], moves[keep], draws[keep]
                here = here[keep]
            points = moves.next(here.points, self._share(query), draws[:, query])
        return best.joined(index, here)

    def _share(self, query: int) -> float:
        """The share of the image that a query's window covers."""
        return float(self.p_init / 2 ** bisect_left(_HALVED, query * _OF // self.queries))


def _without_gradients(forward: Forward) -> Forward:
    """The outputs alone, which is all that the search needs; autograd has nothing to keep."""

    def scores(z: Tensor) -> Tensor:
        with torch.no_grad():
            return forward(z)

    return scores


def _moves(region: bounds.InputSet) -> Moves:
    if isinstance(region, bounds.Ball) and not region.is_box:
        return BallMoves.of(region)
    return BoxMoves.of(floats_of(region))


def _draws(problem: Problem, stage: str, shape: tuple[int, ...]) -> Tensor:
    """Uniform numbers from each sample's own generator; (batch, *shape) in float32."""
    device = problem.start.device
    generators = (problem.run.generator(problem.key, sample, stage) for sample in problem.samples)
    return torch.stack([torch.rand(shape, generator=each, device=device) for each in generators])
