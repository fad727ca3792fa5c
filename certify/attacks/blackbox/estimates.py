"""Score-based attacks: projected steps along gradients that are estimated from differences of scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from certify.attacks.blackbox.search import Progress, ScoreAttack
from certify.attacks.blackbox.view import Scores
from certify.attacks.losses import LOSSES
from certify.attacks.norms import directions, per_sample, size, wide
from certify.attacks.pgd import ascend
from certify.attacks.settings import check_between, check_counts, check_loss

Draw = Callable[[Scores, int], Tensor]

_ROWS = 16  # pairs of one pass
_DECAYS = (0.9, 0.999)  # of Adam's means of gradients and of their squares (Kingma & Ba 2015)


@dataclass(frozen=True, eq=False)
class Climb(Progress):
    """points: (batch, *shape) of the region. mean, square: Adam's means, where they are used."""

    points: Tensor
    mean: Tensor
    square: Tensor
    steps: int = 0


@dataclass(frozen=True)
class NES(ScoreAttack[Climb]):
    """Natural evolution strategies (Ilyas, Engstrom, Athalye & Lin 2018, algorithm 1), in any region.

    Every step asks at ``samples`` normal points around the current one, in antithetic pairs ``sigma`` away
    (in input units; the paper's 50 and 0.001), whose differences weigh their directions, and goes along their
    sum as PGD does. Points asked lie in the region: what its projection leaves of a pair counts.

    queries: at most so many per sample. step_size: of the first step, relative to half of the region's way;
    it falls linearly with the budget. loss: a name in ``LOSSES``.
    Raises ``UsageError`` for a value outside its domain.
    """

    queries: int = 5000
    samples: int = 50
    sigma: float = 0.001
    step_size: float = 1.0
    loss: str = "margin"

    def __post_init__(self) -> None:
        _check("NES", self.queries, self.samples, self.step_size, self.loss)
        check_between("NES", 0, math.inf, sigma=self.sigma)

    def init(self, view: Scores) -> Climb:
        return _start(view)

    def step(self, view: Scores, progress: Climb) -> Climb:
        gradient = _gradient(view, progress.points, self.samples // 2, self.sigma, self.loss, Scores.normal)
        length = self.step_size * _left(self.queries, self.samples, progress.steps)
        points = ascend(view.region, progress.points, gradient.to(progress.points.dtype), length)
        view.values(points[:, None])
        return replace(progress, points=points, steps=progress.steps + 1)


@dataclass(frozen=True)
class SPSA(ScoreAttack[Climb]):
    """Simultaneous perturbation with Adam (Uesato, O'Donoghue, van den Oord & Kohli 2018, algorithm 1).

    Every step asks at ``samples`` points in antithetic pairs whose elements are all ``delta`` away (in input
    units; the paper's 0.01, of its smallest batch of 128 points), and goes by Adam along their differences.
    The length of a step is a share of the region's extent in its direction, for the norm inf the paper's step
    per element, and falls linearly with the budget. Points asked lie in the region: what its projection
    leaves of a pair counts.

    queries: at most so many per sample. step_size: relative to half of the region's way. loss: a name in
    ``LOSSES``.
    Raises ``UsageError`` for a value outside its domain.
    """

    queries: int = 5000
    samples: int = 128
    delta: float = 0.01
    step_size: float = 0.3
    loss: str = "margin"

    def __post_init__(self) -> None:
        _check("SPSA", self.queries, self.samples, self.step_size, self.loss)
        check_between("SPSA", 0, math.inf, delta=self.delta)

    def init(self, view: Scores) -> Climb:
        return _start(view)

    def step(self, view: Scores, progress: Climb) -> Climb:
        gradient = _gradient(view, progress.points, self.samples // 2, self.delta, self.loss, _signs)
        first, second = _DECAYS
        number = progress.steps + 1
        # The direction alone: Adam's steps do not depend on the scale of the scores but by its constant.
        mean = first * progress.mean + (1 - first) * gradient
        square = second * progress.square + (1 - second) * gradient**2
        scale = (square / (1 - second**number)).sqrt()
        adam = (mean / (1 - first**number)) / scale.clamp(min=torch.finfo(scale.dtype).tiny)
        region, dtype = view.region, progress.points.dtype
        half = (region.argmax(adam.to(dtype)) - region.argmax(-adam.to(dtype))).to(adam.dtype) / 2
        length = self.step_size * _left(self.queries, self.samples, progress.steps) * size(half, 2)
        points = progress.points + (directions(adam) * per_sample(length, adam)).to(dtype)
        points = region.project(points)
        view.values(points[:, None])
        return replace(progress, points=points, mean=mean, square=square, steps=number)


def _start(view: Scores) -> Climb:
    zero = torch.zeros_like(wide(view.start))
    return Climb(torch.zeros_like(view.over), view.start, zero, zero)


def _left(queries: int, samples: int, steps: int) -> float:
    """The share of the steps that the budget has left; step lengths fall with it."""
    return max(0.0, 1 - steps / max(1, (queries - 1) // (2 * (samples // 2) + 1)))


def _signs(view: Scores, k: int) -> Tensor:
    return (view.uniform(k) < 0.5).to(wide(view.start).dtype) * 2 - 1


def _gradient(view: Scores, points: Tensor, pairs: int, radius: float, loss: str, draw: Draw) -> Tensor:
    """The gradient of a loss of the scores from antithetic pairs, of Euclidean norm 1, in a wide dtype.

    A pair with an answer that is missing or no number does not count.
    """
    gradient = torch.zeros_like(wide(points))
    for first in range(0, pairs, _ROWS):
        offset = radius * draw(view, min(_ROWS, pairs - first))
        both = [_projected(view, (points[:, None] + way * offset).to(points.dtype)) for way in (1, -1)]
        raised = [_losses(view.values(each), loss) for each in both]
        difference = (raised[0] - raised[1]).nan_to_num(0.0, posinf=0.0, neginf=0.0).to(gradient.dtype)
        gradient = gradient + torch.einsum("nk,nk...->n...", difference, wide(both[0] - both[1]))
    return directions(gradient)


def _projected(view: Scores, points: Tensor) -> Tensor:
    """Points of the regions, several for each sample: (batch, k, *shape)."""
    owner = torch.arange(len(points), device=points.device).repeat_interleave(points.shape[1])
    return view.region[owner].project(points.flatten(0, 1)).view_as(points)


def _losses(values: Tensor, loss: str) -> Tensor:
    return LOSSES[loss](values.flatten(0, 1)).view(values.shape[:2])


def _check(name: str, queries: int, samples: int, step_size: float, loss: str) -> None:
    check_counts(name, 2, queries=queries, samples=samples)  # samples come in pairs
    check_between(name, 0, math.inf, step_size=step_size)
    check_loss(name, loss)
