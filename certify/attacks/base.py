"""What all attacks share: the problem, a look at the network, and the one driver of iterative attacks.

An attack searches an input set for a point where a specification fails; it knows the set only by
``argmax``, ``project`` and ``box``, so the norm never enters. What it finds is a candidate:
``certify.decide`` replays it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor

import bounds
from certify.attacks.losses import Loss, aimed_at
from certify.attacks.norms import floats_of
from certify.attacks.tally import Tally
from certify.evidence import NONFINITE, Claim, Evidence
from certify.query import Query
from certify.run import Run

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Look:
    """The network seen at some points.

    points: (batch, *shape), a leaf of autograd. values: of the specification's clauses (batch, clauses).
    samples, tally: where the cost of a gradient is counted.
    """

    points: Tensor
    values: Tensor
    samples: tuple[int, ...] = ()
    tally: Tally = field(default_factory=Tally)

    @property
    def finite(self) -> Tensor:
        """Where every value is a finite number; elsewhere the network has no answer. (batch,) booleans."""
        return self.values.detach().isfinite().all(dim=1)

    @property
    def deciding(self) -> Tensor:
        """The value that decides per sample: the specification holds where it is > 0; +inf if not finite."""
        return self.values.detach().min(dim=1).values.masked_fill(~self.finite, torch.inf)

    @property
    def broken(self) -> Tensor:
        """Where the specification fails; a tie is a failure, an output that is not finite is none."""
        return self.deciding <= 0

    def gradient(self, loss: Loss, more: bool = False) -> Tensor:
        """The gradient of a loss at the points; 0 where it is not a number or there is none.

        more: whether the gradient of another loss will be asked for, so that the pass must be kept.
        """
        with torch.enable_grad():
            total = loss(self.values).sum()
        if not total.requires_grad:  # constant, as far as autograd can see
            return torch.zeros_like(self.points)
        self.tally.backwards.update(self.samples)
        (gradient,) = torch.autograd.grad(total, self.points, materialize_grads=True, retain_graph=more)
        return gradient.nan_to_num(0.0, posinf=0.0, neginf=0.0)

    def gradients(self) -> Tensor:
        """The gradient of every clause's value, (batch, clauses, *shape); one backward pass for each."""
        numbers = torch.arange(self.values.shape[1], device=self.values.device)
        rows = [self.gradient(aimed_at(j.expand(len(self.values))), more=True) for j in numbers]
        return -torch.stack(rows, dim=1)


@dataclass(frozen=True, eq=False)
class Problem:
    """A batch of searches: find a point of each sample's ``region`` where its ``spec`` fails.

    forward: (batch, *shape) -> (batch, outputs), differentiable. start: a point of each region. samples: ids
    that key the randomness, together with ``key``, the attack's ``repr``. tally: what it has cost so far.
    """

    forward: Forward
    region: bounds.InputSet
    spec: bounds.Spec
    start: Tensor
    samples: tuple[int, ...]
    key: str
    run: Run
    tally: Tally = field(default_factory=Tally)

    def look(self, points: Tensor) -> Look:
        """Evaluate the network; gradients are recorded for the points."""
        leaf = points.detach().requires_grad_()
        with torch.enable_grad():
            values = self.spec.clauses(self.spec.evaluate(self.forward(leaf)))
        self.tally.looked(self.samples)
        return Look(leaf, values, self.samples, self.tally)

    @property
    def num_clauses(self) -> int:
        """The number of values that a look gives per sample."""
        clause = self.spec.clause
        return self.spec.offset.shape[1] if clause is None else int(clause.max()) + 1

    def random_points(self, stage: str) -> Tensor:
        """Points drawn uniformly from each region's box and projected; each sample has its own generator."""
        shape, dtype, device = self.start.shape[1:], self.start.dtype, self.start.device
        generators = (self.run.generator(self.key, sample, stage) for sample in self.samples)
        draws = [torch.rand(shape, generator=g, dtype=dtype, device=device) for g in generators]
        box = self.region.box()
        return self.region.project(box.lower + torch.stack(draws) * (box.upper - box.lower))

    def __getitem__(self, keep: Tensor) -> Self:
        """The problems of some samples; ``keep`` holds indices."""
        return replace(
            self,
            region=self.region[keep],
            spec=self.spec[keep],
            start=self.start[keep],
            samples=tuple(self.samples[i] for i in keep.tolist()),
        )


@dataclass(frozen=True, eq=False)
class PerSample:
    """Base of values in which every tensor, and every other such value, has an entry per sample."""

    def __getitem__(self, keep: Tensor) -> Self:
        """The value for some samples."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        cut: dict[str, Any] = {k: v[keep] for k, v in values.items() if isinstance(v, Tensor | PerSample)}
        return replace(self, **cut)


@dataclass(frozen=True, eq=False)
class State(PerSample):
    """Where an iterative attack stands: the points to look at next and the number of steps made."""

    points: Tensor
    steps: int = 0


S = TypeVar("S", bound=State)


@dataclass(frozen=True, eq=False)
class Found(PerSample):
    """Per sample the point with the smallest deciding value seen so far, and that value (+inf: none seen).

    nonfinite: whether any output seen was NaN or infinite.
    """

    points: Tensor
    deciding: Tensor
    nonfinite: Tensor

    @classmethod
    def nothing(cls, problem: Problem) -> Found:
        """Before the first look."""
        n = (len(problem.start),)
        return cls(
            problem.start,
            problem.start.new_full(n, torch.inf),
            problem.start.new_zeros(n, dtype=torch.bool),
        )

    @property
    def broken(self) -> Tensor:
        """Where the specification fails; a tie is a failure."""
        return self.deciding <= 0

    def of_groups(self, size: int) -> Found:
        """Of each ``size`` consecutive searches, which are copies of one, the best."""
        if size == 1:
            return self
        best = self.deciding.view(-1, size).argmin(1)
        rows = torch.arange(len(best), device=best.device) * size + best
        return Found(self.points[rows], self.deciding[rows], self.nonfinite.view(-1, size).any(1))

    def updated(self, index: Tensor, look: Look) -> Found:
        """With what was seen at the samples ``index``, wherever that is better."""
        return self.joined(index, Found(look.points.detach(), look.deciding, ~look.finite))

    def joined(self, index: Tensor, other: Found) -> Found:
        """With what another search has found for the samples ``index``, wherever that is better."""
        nonfinite = self.nonfinite.index_copy(0, index, self.nonfinite[index] | other.nonfinite)
        better = other.deciding < self.deciding[index]
        if not better.any():  # what is most often so need not cost a copy of the points
            return replace(self, nonfinite=nonfinite)
        index = index[better]
        return Found(
            self.points.index_copy(0, index, other.points[better]),
            self.deciding.index_copy(0, index, other.deciding[better].to(self.deciding.dtype)),
            nonfinite,
        )


class RegionAttack(ABC):
    """Base of all attacks that search a region, however they do. Subclasses are frozen dataclasses."""

    @property
    def claims(self) -> frozenset[Claim]:
        """An attack finds counterexamples; finding none says nothing."""
        return frozenset({Claim.FALSIFIED})

    @abstractmethod
    def find(self, problem: Problem) -> Found:
        """Search the region of each sample."""

    def supports(self, query: Query) -> str | None:
        """None if the attack can search the query's region, else the reason."""
        return no_set(query)

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        """Search each sample's region for another decision; a witness is a candidate to be replayed."""
        return self.answers(self.problem(query, run))

    def problem(self, query: Query, run: Run) -> Problem:
        """The searches that a query asks for, beginning at its inputs."""
        spec = query.spec.to(query.x.dtype).on(query.x.device)
        region = floats_of(query.region)
        return Problem(query.model, region, spec, query.x, query.samples, repr(self), run)

    def answers(self, problem: Problem) -> list[Evidence]:
        """What a search of each sample's region has found."""
        found = self.find(problem)
        facts = zip(
            problem.samples,
            found.points,
            found.broken.tolist(),
            found.deciding.tolist(),
            found.nonfinite.tolist(),
            strict=True,
        )
        return [
            Evidence(
                sample,
                repr(self),
                witness=point if broken else None,
                detail={
                    "smallest_margin": value,
                    **problem.tally.detail(sample),
                    **({NONFINITE: 1} if nonfinite else {}),
                },
                seconds=problem.tally.seconds.get(sample, 0.0),
            )
            for sample, point, broken, value, nonfinite in facts
        ]

    def falsify(
        self, forward: Forward, region: bounds.InputSet, spec: bounds.Spec, run: Run
    ) -> Tensor | None:
        """A candidate counterexample to any specification: a point of shape ``region.shape``, or None.

        forward: (batch, *shape) -> (batch, outputs). Where the region holds several sets, the first of them
        that breaks. To be replayed by ``certify.decide.refutes``, like any candidate.
        """
        box = region.box()
        start = region.project(box.centre)
        spec = spec.to(start.dtype).on(start.device)
        samples = tuple(range(len(region)))
        problem = Problem(forward, floats_of(region), spec, start, samples, repr(self), run)
        found = self.find(problem)
        return found.points[found.broken][0] if found.broken.any() else None


class Attack(RegionAttack, Generic[S]):
    """Base of iterative attacks by gradients: where to begin, where to look next, when to stop.

    Subclasses are frozen dataclasses. They never judge: ``search`` looks, keeps the best and stops.
    """

    @property
    def attempts(self) -> int:
        """How often the attack begins anew on samples that are not broken yet."""
        return 1

    def copies(self, problem: Problem, attempt: int) -> int:
        """How many searches of each sample an attempt makes side by side; the first that breaks ends all."""
        return 1

    @abstractmethod
    def init(self, problem: Problem, attempt: int) -> S:
        """The state before the first look; the copies of a sample follow each other in the problem."""

    @abstractmethod
    def step(self, problem: Problem, state: S, look: Look) -> S:
        """The next state, from a look at ``state.points``."""

    @abstractmethod
    def done(self, state: S) -> bool:
        """Whether the look at ``state.points`` is the last."""

    def supports(self, query: Query) -> str | None:
        """None if the region is a set to search and the model can be differentiated, else the reason."""
        return no_set(query) or no_gradient(query)

    def find(self, problem: Problem) -> Found:
        return search(self, problem)


def no_set(query: Query) -> str | None:
    """The reason why not every point of a query's region is one that the adversary reaches, if so."""
    if query.threat.is_exact:
        return None
    return f"{query.threat!r} is a transform; search its parameters by ParameterSearch()"


def no_gradient(query: Query) -> str | None:
    """The reason why a query's model cannot be differentiated by its input, if so."""
    leaf = query.x[:1].detach().requires_grad_()
    with torch.enable_grad():
        if query.model(leaf).requires_grad:
            return None
    return f"{query.model.name} gives no gradient for its input; attack a differentiable model"


def search(attack: Attack[S], problem: Problem) -> Found:
    """Run all attempts of an attack; each sample leaves as soon as it is broken."""
    best = Found.nothing(problem)
    for attempt in range(attack.attempts):
        index = (~best.broken).nonzero()[:, 0]
        if len(index) == 0:
            break
        copies = attack.copies(problem, attempt)
        if copies > 0:
            part = problem[index.repeat_interleave(copies)]
            best = best.joined(index, _climb(attack, part, attempt, copies))
    return best


def _climb(attack: Attack[S], problem: Problem, attempt: int, copies: int) -> Found:
    """One attempt: look, keep the best, drop the samples of which a copy is broken, step."""
    best = Found.nothing(problem)
    index = torch.arange(len(problem.start), device=problem.start.device)
    state = attack.init(problem, attempt)
    while True:
        look = problem.look(state.points)
        best = best.updated(index, look)
        broken = best.broken[index].view(-1, copies).any(1)
        keep = (~broken).repeat_interleave(copies).nonzero()[:, 0]
        if len(keep) == 0 or attack.done(state):
            return best.of_groups(copies)
        state = attack.step(problem, state, look)
        if len(keep) < len(index):
            index, problem, state = index[keep], problem[keep], state[keep]
