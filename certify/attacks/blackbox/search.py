"""What black-box attacks share: the two drivers, one per view, starts that are broken, and bisection."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from certify.attacks.base import Found, PerSample, Problem, RegionAttack
from certify.attacks.blackbox.view import Decisions, Scores, View, deciding, decisions_of, scores_of
from certify.attacks.minimal import DistanceAttack, Nearby, Nearest
from certify.attacks.norms import distance, per_sample, wide
from certify.query import Query
from certify.sampled import Sampled


@dataclass(frozen=True, eq=False)
class Progress(PerSample):
    """Where a black-box attack stands, per sample. done: (batch,), what it has no more questions about."""

    done: Tensor


_TRIES = 200  # random points until enough of them are broken
_STARTS = 4
_FINEST, _COARSEST = 1e-7, 1e-3  # shares of a way to which a boundary is found

Way = Callable[[Tensor], Tensor]
P = TypeVar("P", bound=Progress)
V_contra = TypeVar("V_contra", bound=View, contravariant=True)


class Asking(Protocol[V_contra, P]):
    """What the driver needs of a black-box attack."""

    def init(self, view: V_contra) -> P:
        """The progress before the first step; the starts have been asked and hold."""

    def step(self, view: V_contra, progress: P) -> P:
        """Ask, and go on; a sample for which nothing is asked leaves."""


class ScoreAttack(RegionAttack, Generic[P]):
    """Base of attacks within a region by scores, without gradients. queries: at most so many per sample."""

    queries: int

    @abstractmethod
    def init(self, view: Scores) -> P:
        """See ``Asking``."""

    @abstractmethod
    def step(self, view: Scores, progress: P) -> P:
        """See ``Asking``."""

    def supports(self, query: Query) -> str | None:
        """None if the region is a set to search and the model answers at once, else the reason."""
        return super().supports(query) or no_answer(query)

    def find(self, problem: Problem) -> Found:
        """Ask until a sample is broken or its budget is spent."""
        record = Deepest(Found.nothing(problem))
        view = scores_of(problem, self.queries, record)
        view.values(problem.start[:, None])
        drive(self, view)
        return record.best


class DecisionAttack(DistanceAttack, Generic[P]):
    """Base of minimal-distance attacks by decisions, without gradients.

    queries: at most so many per sample.
    """

    queries: int

    @abstractmethod
    def init(self, view: Decisions) -> P:
        """See ``Asking``."""

    @abstractmethod
    def step(self, view: Decisions, progress: P) -> P:
        """See ``Asking``."""

    def supports(self, query: Query) -> str | None:
        """None if the attack measures the threat's norm and the model answers at once, else the reason."""
        return super().supports(query) or no_answer(query)

    def find(self, problem: Nearby) -> Nearest:
        """Ask until each sample's budget is spent; the nearest failure that any query has met."""
        record = Closest(Nearest.nothing(problem), problem)
        view = decisions_of(problem, self.queries, record)
        view.broken(problem.start[:, None])
        drive(self, view)
        return record.best


def drive(attack: Asking[V_contra, P], view: V_contra) -> None:
    """Run an attack; samples leave when they are done, their aim is reached or their budget is spent."""
    view = view[~view.over]
    if len(view) == 0:
        return
    progress = attack.init(view)
    while True:
        keep = (~(progress.done | view.over)).nonzero()[:, 0]
        if len(keep) == 0:
            return
        if len(keep) < len(view):
            view, progress = view[keep], progress[keep]
        before = view.queries
        progress = attack.step(view, progress)
        progress = replace(progress, done=progress.done | (view.queries == before))


def no_answer(query: Query) -> str | None:
    """The reason why a single query has no answer, if so."""
    if isinstance(query.model, Sampled):
        return f"{query.model.name} answers by sampling; attack it by EoT() or SmoothAdv()"
    return None


@dataclass
class Deepest:
    """The record of a search in a region: what breaks it, else what comes closest to that."""

    best: Found

    def note(self, index: Tensor, points: Tensor, values: Tensor, given: Tensor) -> None:
        value, k = deciding(values, given).min(dim=1)
        here = points[torch.arange(len(k), device=k.device), k]
        self.best = self.best.joined(index, Found(here, value, _nonfinite(values, given)))

    def settled(self, index: Tensor) -> Tensor:
        return self.best.broken[index]


@dataclass
class Closest:
    """The record of a search for the nearest failure."""

    best: Nearest
    problem: Nearby

    def note(self, index: Tensor, points: Tensor, values: Tensor, given: Tensor) -> None:
        broken = deciding(values, given) <= 0
        owner = index[broken.nonzero()[:, 0]]
        away = torch.full(broken.shape, torch.inf, dtype=torch.float64, device=points.device)
        delta = points[broken].double() - self.problem.start[owner].double()
        away[broken] = distance(delta, self.problem.norm)
        value, k = away.min(dim=1)
        here = points[torch.arange(len(k), device=k.device), k]
        self.best = self.best.joined(index, Nearest(here, value, value, _nonfinite(values, given)))

    def settled(self, index: Tensor) -> Tensor:
        return self.best.distance[index] <= self.problem.enough


def _nonfinite(values: Tensor, given: Tensor) -> Tensor:
    """Whether any output seen was NaN or infinite; (n,) booleans."""
    return (given & ~values.isfinite().all(2)).any(1)


def bisect(view: Decisions, way: Way, near: Tensor, far: Tensor, width: Tensor) -> Tensor:
    """The smallest broken share of a way, to within ``width``, by halving (near, far); all (batch,).

    way: points at shares. The way is taken to be broken at ``far``; what is returned was seen broken, or is
    ``far``. A sample with far - near <= width asks nothing.
    """
    while True:
        wanted = (far - near > width) & ~view.over
        if not wanted.any():
            return far
        middle = (near + far) / 2
        # In the dtype of the network two shares may be one point: then no further halving helps.
        broken = view.broken(way(middle)[:, None], wanted[:, None])[:, 0]
        far = torch.where(wanted & broken, middle, far)
        near = torch.where(wanted & ~broken, middle, near)


def precision(view: Decisions) -> float:
    """The share of a way to which a boundary on it is found.

    ``d^-1.5`` in d dimensions, for the norm inf ``d^-2`` (Chen, Jordan & Wainwright 2020, section 3.4), but
    at most a thousandth, and at least what single precision resolves.
    """
    share: float = view.start[0].numel() ** (-2.0 if view.norm == math.inf else -1.5)
    return min(max(share, _FINEST), _COARSEST)


def at_boundary(view: Decisions, points: Tensor) -> Tensor:
    """Broken points brought to the boundary by bisection, and still broken; (batch, *shape)."""
    way, one = straight(view, points), torch.ones(len(view), dtype=torch.float64, device=points.device)
    return way(bisect(view, way, 0 * one, one, one * precision(view)))


def straight(view: Decisions, points: Tensor) -> Way:
    """The ways from the starts to points: a segment, for the norm inf the points cut to growing cubes."""
    start = view.start.to(points.dtype)
    delta = points - start
    if view.norm != math.inf:
        return lambda share: start + across(share, delta) * delta
    reach = delta.abs().flatten(1).amax(1)

    def cut(share: Tensor) -> Tensor:
        most = across(share * reach, delta)
        return start + torch.minimum(torch.maximum(delta, -most), most)

    return cut


def across(values: Tensor, points: Tensor) -> Tensor:
    """One number per sample in the dtype of points, shaped to be broadcast over them."""
    return per_sample(values.to(points.dtype), points)


def broken_starts(view: Decisions) -> tuple[Tensor, Tensor]:
    """A broken point of each sample, the nearest on some random ways, and whether there is one.

    Random points are asked until ``_STARTS`` of them are broken, at most ``_TRIES``; each of these is brought
    near by bisection to a hundredth of its way. (batch, *shape) in a wide dtype, (batch,) booleans.
    """
    points = wide(view.start).clone()
    nearest = torch.full((len(view),), torch.inf, dtype=torch.float64, device=points.device)
    hits = torch.zeros(len(view), dtype=torch.int64, device=points.device)
    for number in range(_TRIES):
        index = ((hits < _STARTS) & ~view.over).nonzero()[:, 0]
        if len(index) == 0:
            break
        part, draws = view[index], random_points(view[index], number)
        broken = part.broken(draws[:, None])[:, 0].nonzero()[:, 0]
        if len(broken) == 0:
            continue
        index, part = index[broken], part[broken]
        near, away = _approached(part, draws[broken])
        hits[index] += 1
        better = away < nearest[index]
        nearest[index[better]], points[index[better]] = away[better], near[better]
    return points, hits > 0


def _approached(view: Decisions, points: Tensor) -> tuple[Tensor, Tensor]:
    """Broken points brought nearer by bisection, and their distances."""
    way, one = straight(view, points), torch.ones(len(view), dtype=torch.float64, device=points.device)
    near = way(bisect(view, way, 0 * one, one, one / 100))
    return near, distance(near.double() - view.start.double(), view.norm)


def random_points(view: Decisions, number: int) -> Tensor:
    """Valid points, the ``number``-th of each sample's own; (batch, *shape).

    Uniform, on images in turn constant in squares of one pixel, of half the image, a quarter and so on, for
    many networks hold all white noise for one class; on other inputs in turn uniform and corners of the
    valid range. Where any input is valid, in boxes around the start that double after each turn.
    """
    noise = view.uniform(1)[:, 0]
    kinds = 2
    if noise.dim() >= 4:
        height, width = noise.shape[-2:]
        kinds = max(1, min(height, width).bit_length())
        cells = 2 ** (number % kinds)  # per side; one cell stands for white noise
        if cells > 1:
            row, column = (torch.arange(n, device=noise.device) * cells // n for n in (height, width))
            noise = noise[..., row, :][..., column]
    elif number % kinds:
        noise = noise.round()
    if view.bounded:
        box = view.region.box()
        return torch.lerp(box.lower.to(noise.dtype), box.upper.to(noise.dtype), noise)
    start = view.start.to(noise.dtype)
    size = start.abs().flatten(1).amax(1).clamp(min=1) * 2.0 ** min(number // kinds, 60)
    return start + (2 * noise - 1) * across(size, start)
