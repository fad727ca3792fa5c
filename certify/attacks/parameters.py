"""The worst parameters of a transform: a grid, refined."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from certify.attacks.base import Found, Problem
from certify.errors import UsageError
from certify.evidence import NONFINITE, Claim, Evidence
from certify.query import Query
from certify.run import Run
from certify.threat import Parametric

_MOST_VALUES = 31  # of one parameter in the grid (Engstrom et al. 2019, section 5)


@dataclass(frozen=True)
class ParameterSearch:
    """Grid search over a transform's parameters (Engstrom et al. 2019), then compass search around the best.

    It needs no gradient, which these losses are too rugged for (section 4 there). The grid has the same odd
    number of values for every parameter, at most 31, ends and 0 included, and at most ``looks`` points; then
    each of ``rounds`` looks at both sides of the best point along every parameter, and halves its step where
    none is better (Kolda, Lewis & Torczon 2003). A sample leaves as soon as it is broken.

    Witnesses carry their parameters in the evidence's detail, from which the judge makes them again.
    Raises ``UsageError`` for a value outside its domain.
    """

    looks: int = 775
    rounds: int = 12

    def __post_init__(self) -> None:
        if self.looks < 1 or self.rounds < 0:
            raise UsageError(f"{self!r} is no search; give looks >= 1 and rounds >= 0")

    @property
    def claims(self) -> frozenset[Claim]:
        """An attack finds counterexamples; finding none says nothing."""
        return frozenset({Claim.FALSIFIED})

    def supports(self, query: Query) -> str | None:
        """None if the threat is a transform with parameters."""
        if isinstance(query.threat, Parametric):
            return None
        return f"{query.threat!r} is no transform with parameters; try PGD"

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        """The worst parameters of each sample; a witness is a candidate to be replayed."""
        threat = query.threat
        if not isinstance(threat, Parametric):
            return [Evidence(sample, repr(self)) for sample in query.samples]
        spec = query.spec.to(query.x.dtype).on(query.x.device)
        problem = Problem(query.model, query.region, spec, query.x, query.samples, repr(self), run)
        search = _Search(problem, threat, query.model.input_range)
        values = _values(self.looks, len(threat.limits))
        search.grid(values)
        search.refine(self.rounds, start=1 / max(1, values - 1))
        return [self._evidence(search, i) for i in range(len(query.x))]

    def _evidence(self, search: _Search, i: int) -> Evidence:
        best, tally, sample = search.best, search.problem.tally, search.problem.samples[i]
        return Evidence(
            sample,
            repr(self),
            witness=best.points[i] if best.broken[i] else None,
            detail={
                "smallest_margin": float(best.deciding[i]),
                **dict(zip(search.threat.limits, search.parameters[i].tolist(), strict=True)),
                **tally.detail(sample),
                **({NONFINITE: 1} if best.nonfinite[i] else {}),
            },
            seconds=tally.seconds.get(sample, 0.0),
        )


class _Search:
    """The best parameters seen so far of each sample."""

    def __init__(self, problem: Problem, threat: Parametric, valid: tuple[float, float] | None) -> None:
        self.problem, self.threat, self.valid = problem, threat, valid
        self.best = Found.nothing(problem)
        self.limits = torch.tensor(
            list(threat.limits.values()), dtype=torch.float64, device=problem.start.device
        )
        self.parameters = self.limits.new_zeros(len(problem.start), len(self.limits))

    def look(self, index: Tensor, parameters: Tensor) -> Tensor:
        """Look at the samples ``index``; returns which have become better. parameters: (samples, k)."""
        part = self.problem[index]
        points = self.threat.moved(part.start, parameters, self.valid)
        look = part.look(points)
        better = look.deciding < self.best.deciding[index]
        self.best = self.best.updated(index, look)
        self.parameters[index[better]] = parameters[better]
        return better

    def open(self) -> Tensor:
        """The samples that are not broken."""
        return (~self.best.broken).nonzero()[:, 0]

    def grid(self, count: int) -> None:
        """Look at every point of the grid of ``count`` values each, the untransformed sample first."""
        ends = range(-(count // 2), count // 2 + 1)
        values = sorted((2 * i / max(1, count - 1) for i in ends), key=abs)
        for unit in itertools.product(values, repeat=len(self.limits)):
            index = self.open()
            if len(index) == 0:
                return
            self.look(index, (self.limits * self.limits.new_tensor(unit)).expand(len(index), -1))

    def refine(self, rounds: int, start: float) -> None:
        """Compass search: both sides of the best point along each parameter, in steps that shrink.

        start: the first step, as a share of each limit.
        """
        count = len(self.limits)
        step = torch.full_like(self.best.deciding, start, dtype=torch.float64)
        for _ in range(rounds):
            improved = torch.zeros_like(self.best.broken)
            for axis, side in itertools.product(range(count), (-1.0, 1.0)):
                index = self.open()
                if len(index) == 0:
                    return
                parameters = self.parameters[index].clone()
                parameters[:, axis] += side * step[index] * self.limits[axis]
                parameters = parameters.clamp(-self.limits, self.limits)
                improved[index] |= self.look(index, parameters)
            step = torch.where(improved, step, step / 2)


def _values(looks: int, parameters: int) -> int:
    """The largest odd number of values per parameter that makes no more than ``looks`` points."""
    return max(
        (n for n in range(1, _MOST_VALUES + 1, 2) if n**parameters <= looks),
        default=1,
    )
