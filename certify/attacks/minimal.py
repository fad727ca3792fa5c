"""What all minimal-distance attacks share: the problem without a budget, and the one driver.

Such an attack is given a norm and the valid range of inputs, never an eps: it looks for the nearest point
where a specification fails. Asked about a threat, it answers whether that point lies in the threat's region.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor

import bounds
from bounds.sets.base import ENDLESS
from certify.attacks.base import Look, PerSample, Problem, State, no_gradient
from certify.attacks.norms import distance, per_sample
from certify.evidence import NONFINITE, Claim, Evidence
from certify.query import Query
from certify.run import Run
from certify.threat import Budgeted

S = TypeVar("S", bound=State)
Rank = Callable[[Tensor, float], Tensor]
_ROUNDING = 1 + 1e-5  # a point this little too far is moved into the region; the replay decides
_ROUNDINGS = 64  # how many of the largest clause value a failure is to be clear of, where it is sought near 0
_BEHIND = 2.0**200  # puts any distance above zero behind every other that is not so marked


@dataclass(frozen=True, eq=False, kw_only=True)
class Nearby(Problem):
    """A batch of searches for the nearest point of the valid range where ``spec`` fails.

    region: the valid range, a box. norm: 0, 1, 2 or inf. bounded: False if any input is valid; the box is
    then far beyond any input. enough: a failure this near ends a sample's search.
    """

    norm: float
    bounded: bool
    enough: float = 0.0

    def distance(self, points: Tensor) -> Tensor:
        """How far each point is from its start, (batch,) float64."""
        return distance(points.detach().double() - self.start.double(), self.norm)

    def reached(self, look: Look, rank: Rank | None = None) -> Tensor:
        """The distance (or rank) of each point looked at where the specification fails, inf elsewhere.

        Only failures are measured: a search shows many points that are none.
        """
        away = self.start.new_full((len(self.start),), torch.inf, dtype=torch.float64)
        rows = look.broken.nonzero()[:, 0]
        if len(rows) == 0:
            return away
        change = look.points.detach()[rows].double() - self.start[rows].double()
        return away.index_copy(0, rows, (rank or distance)(change, self.norm))


@dataclass(frozen=True, eq=False)
class Nearest(PerSample):
    """Per sample the nearest point seen where the specification fails.

    points: the start where none was seen. rank: (batch,) float64, by which the attack calls it the nearest.
    distance: (batch,) float64, of the point as it is; inf where none was seen. nonfinite: whether any output
    seen was NaN or infinite.
    """

    points: Tensor
    rank: Tensor
    distance: Tensor
    nonfinite: Tensor

    @classmethod
    def nothing(cls, problem: Nearby) -> Nearest:
        """Before the first look."""
        n = len(problem.start)
        never = problem.start.new_full((n,), torch.inf, dtype=torch.float64)
        return cls(problem.start, never, never, problem.start.new_zeros(n, dtype=torch.bool))

    @property
    def found(self) -> Tensor:
        """Where any point was seen; (batch,) booleans."""
        return self.distance.isfinite()

    @classmethod
    def at(cls, problem: Nearby, look: Look, rank: Rank) -> Nearest:
        """What one look at a point of each sample shows; failures that are not firm rank behind others."""
        called = problem.reached(look, rank)
        called = torch.where(_firm(look), called, called * _BEHIND)
        return cls(look.points.detach(), called, problem.reached(look), ~look.finite)

    def updated(self, index: Tensor, problem: Nearby, look: Look, rank: Rank) -> Nearest:
        """With what was seen at the samples ``index``, wherever that is nearer."""
        return self.joined(index, Nearest.at(problem, look, rank))

    def joined(self, index: Tensor, other: Nearest) -> Nearest:
        """With what another search has found for the samples ``index``, wherever that is nearer."""
        nonfinite = self.nonfinite.index_copy(0, index, self.nonfinite[index] | other.nonfinite)
        better = other.rank < self.rank[index]
        index = index[better]
        return Nearest(
            self.points.index_copy(0, index, other.points[better]),
            self.rank.index_copy(0, index, other.rank[better]),
            self.distance.index_copy(0, index, other.distance[better]),
            nonfinite,
        )


class DistanceAttack(ABC):
    """Base of all minimal-distance attacks, however they search. Subclasses are frozen dataclasses."""

    norms: ClassVar[frozenset[float]]

    def rank(self, change: Tensor, norm: float) -> Tensor:
        """What makes a failure better than another, smaller first: its distance. (batch,) float64.

        change: from the start, (batch, *shape) float64.
        """
        return distance(change, norm)

    @property
    def claims(self) -> frozenset[Claim]:
        """An attack finds counterexamples; finding none says nothing."""
        return frozenset({Claim.FALSIFIED})

    @abstractmethod
    def find(self, problem: Nearby) -> Nearest:
        """Search for the nearest failure of each sample."""

    def supports(self, query: Query) -> str | None:
        """None if the threat is a ball of a norm that the attack measures, else the reason."""
        norm = query.threat.norm if isinstance(query.threat, Budgeted) else None
        if norm not in self.norms:
            names = ", ".join(f"{each:g}" for each in sorted(self.norms))
            return f"it measures the norms {names}, and {query.threat!r} is no ball of these; try PGD"
        return None

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        """A point where the specification fails in the threat's region, where one is found, to be replayed.

        The search of a sample ends with the first such point; ``Minimum`` asks for the nearest.
        """
        # A little further is not near enough: the region measures in another way.
        eps = query.threat.eps if isinstance(query.threat, Budgeted) else 0.0
        return self.answer(query, run, eps / _ROUNDING)

    def answer(self, query: Query, run: Run, enough: float) -> list[Evidence]:
        """The nearest point found, as a witness where it lies in the threat's region, to be replayed.

        enough: the distance at which a sample's search ends; 0 asks for the minimum.
        """
        if not isinstance(query.threat, Budgeted) or query.threat.norm is None:
            return [Evidence(sample, repr(self)) for sample in query.samples]
        problem = nearby(query, query.threat.norm, repr(self), run, enough)
        found = self.find(problem)
        points, inside = _within(problem, query.region, found, query.threat.eps)
        return [
            Evidence(
                sample,
                repr(self),
                witness=point if near else None,
                detail={
                    "distance": away,
                    **problem.tally.detail(sample),
                    **({NONFINITE: 1} if nonfinite else {}),
                },
                seconds=problem.tally.seconds.get(sample, 0.0),
            )
            for sample, point, near, away, nonfinite in zip(
                query.samples,
                points,
                inside.tolist(),
                found.distance.tolist(),
                found.nonfinite.tolist(),
                strict=True,
            )
        ]


@dataclass(frozen=True)
class Minimum:
    """An attack that is asked for the nearest failure in the threat's region, not for any there."""

    attack: DistanceAttack

    @property
    def claims(self) -> frozenset[Claim]:
        """Those of the attack."""
        return self.attack.claims

    def supports(self, query: Query) -> str | None:
        """Whether the attack does."""
        return self.attack.supports(query)

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        """The nearest failure of each sample."""
        return self.attack.answer(query, run, enough=0.0)


class Minimal(DistanceAttack, Generic[S]):
    """Base of those by gradients: where to begin, where to look next, when to stop.

    Subclasses are frozen dataclasses. ``nearest`` looks, keeps the nearest failure and stops.
    """

    @abstractmethod
    def init(self, problem: Nearby, look: Look) -> S:
        """The state before the first step, from a look at the starts, where no specification fails."""

    @abstractmethod
    def step(self, problem: Nearby, state: S, look: Look) -> S:
        """The next state, from a look at ``state.points``."""

    @abstractmethod
    def done(self, state: S) -> bool:
        """Whether the look at ``state.points`` is the last for all samples."""

    def settled(self, state: S, look: Look) -> Tensor:
        """Samples for which the look at ``state.points`` is the last; (batch,) booleans."""
        return torch.zeros_like(look.broken)

    def finish(self, problem: Nearby, found: Nearest) -> Nearest:
        """What a last search makes of the failures found; nearer ones are taken over."""
        return found

    def supports(self, query: Query) -> str | None:
        """None if the attack measures the threat's norm and the model can be differentiated by its input."""
        return super().supports(query) or no_gradient(query)

    def find(self, problem: Nearby) -> Nearest:
        return nearest(self, problem)


def nearby(query: Query, norm: float, key: str, run: Run, enough: float = 0.0) -> Nearby:
    """The search for the nearest failure of a query's specification in the model's input range.

    enough: the distance at which a sample's search ends; 0 asks for the minimum.
    """
    x, valid = query.x, query.model.input_range
    low, high = valid or (-ENDLESS[query.x.dtype], ENDLESS[query.x.dtype])
    return Nearby(
        forward=query.model,
        region=bounds.Box(torch.full_like(x, low), torch.full_like(x, high)),
        spec=query.spec.to(x.dtype).on(x.device),
        start=x,
        samples=query.samples,
        key=key,
        run=run,
        norm=norm,
        bounded=valid is not None,
        enough=enough,
    )


def _within(problem: Nearby, region: bounds.InputSet, found: Nearest, eps: float) -> tuple[Tensor, Tensor]:
    """Points of the region for the failures found, and where they are failures; (batch,) booleans.

    A failure a rounding too far is moved into the region and looked at again.
    """
    exact = region.contains(found.points) & found.found
    inside = found.distance <= eps * _ROUNDING
    moved = torch.where(per_sample(exact, found.points), found.points, region.project(found.points))
    again = (inside & ~exact).nonzero()[:, 0]
    if len(again):
        inside = inside.index_copy(0, again, problem[again].look(moved[again]).broken)
    return moved, inside


def nearest(attack: Minimal[S], problem: Nearby) -> Nearest:
    """Run an attack; samples that are broken at the start have distance 0 and leave at once."""
    best = Nearest.nothing(problem)
    if len(problem.start) == 0:
        return best
    look = problem.look(problem.start)
    best = Nearest.nothing(problem).joined(_all(problem), Nearest.at(problem, look, attack.rank))
    index = (~best.found).nonzero()[:, 0]
    if len(index) == 0:
        return best
    if len(index) < len(problem.start):
        look = problem[index].look(problem.start[index])
    best = best.joined(index, _descend(attack, problem[index], look))
    index = (best.found & (best.distance > problem.enough)).nonzero()[:, 0]
    if len(index) == 0:
        return best
    return best.joined(index, attack.finish(problem[index], best[index]))


def shorten(problem: Nearby, found: Nearest, steps: int, rank: Rank = distance) -> Nearest:
    """The nearest failure on the way from each sample's start to the failure found, by false position.

    On the way the smallest clause value goes from > 0 to <= 0, so that it has a root. Every other step
    halves the interval, for a value that is far from linear. A failure must be firm: nearer to the root it
    would be one or none as the network's sums are rounded, which differs from batch to batch.
    """
    if steps == 0:
        return found
    best, everyone = found, _all(problem)
    low, high = problem.look(problem.start).deciding, problem.look(found.points).deciding
    one = torch.ones_like(low)
    near, far = torch.zeros_like(low), one
    way = found.points - problem.start
    for step in range(steps):
        # A little beyond the root of the line between the two: at the root itself rounding would decide.
        share = (low / (low - high)).lerp(one, 1e-4) if step % 2 == 0 else one / 2
        here = torch.where(share.isfinite(), near + share * (far - near), near)
        look = problem.look(problem.region.project(problem.start + per_sample(here, way) * way))
        firm = _firm(look)
        seen = Nearest.at(problem, look, rank)
        best = best.joined(everyone, replace(seen, rank=seen.rank.masked_fill(~firm, torch.inf)))
        low, high = torch.where(firm, low, look.deciding.clamp(min=0)), torch.where(firm, look.deciding, high)
        near, far = torch.where(firm, near, here), torch.where(firm, here, far)
    return best


def _firm(look: Look) -> Tensor:
    """Failures that another rounding of the clause values would not undo; (batch,) booleans."""
    size = look.values.detach().abs().amax(1)
    return look.deciding <= -_ROUNDINGS * torch.finfo(look.values.dtype).eps * size


def _all(problem: Nearby) -> Tensor:
    return torch.arange(len(problem.start), device=problem.start.device)


def _descend(attack: Minimal[S], problem: Nearby, look: Look) -> Nearest:
    """From a look at the starts: step, look, keep the nearest, drop what is settled."""
    best, index = Nearest.nothing(problem), _all(problem)
    state = attack.init(problem, look)
    while True:
        look = problem.look(state.points)
        best = best.updated(index, problem, look, attack.rank)
        over = attack.settled(state, look) | (best.distance[index] <= problem.enough)
        keep = (~over).nonzero()[:, 0]
        if len(keep) == 0 or attack.done(state):
            return best
        state = attack.step(problem, state, look)
        if len(keep) < len(index):
            index, problem, state = index[keep], problem[keep], state[keep]
