"""Projected gradient steps from where a bound is taken."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch

import bounds
from certify.attacks.base import Attack, Look, Problem, State
from certify.attacks.losses import margin
from certify.attacks.pgd import ascend
from certify.attacks.settings import check_counts
from certify.evidence import Evidence
from certify.query import Query
from certify.run import Run

BOUND = "bound"  # the key of the detail that holds the bound from which a search began


@dataclass(frozen=True)
class FromBounds(Attack[State]):
    """PGD on the margin from the point at which the relaxation looks worst, for models with a graph.

    CROWN's bound (Zhang et al. 2018) of each margin is taken at a point of the region. All of these are
    looked at, and the search begins at the one where the network itself is worst. The detail
    "bound" is the bound of the specification, by float arithmetic: where it is > 0, a proof may be had.

    steps: from there, each shorter than the last.
    Raises ``UsageError`` for a value outside its domain.
    """

    steps: int = 20

    def __post_init__(self) -> None:
        check_counts("FromBounds", 1, steps=self.steps)

    def supports(self, query: Query) -> str | None:
        """None if the model can be differentiated and has a graph to bound, else the reason."""
        if (reason := super().supports(query)) is not None:
            return reason
        try:
            _minimisers(query[torch.arange(len(query.x), device=query.x.device) == 0], Run())
        except bounds.BoundsError as error:
            return str(error)
        return None

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        """Search each sample's region for another decision; a witness is a candidate to be replayed."""
        began = time.perf_counter()
        problem = self.problem(query, run)
        attained = _minimisers(query, run)
        looks = [problem.look(problem.region.project(each.to(query.x))) for each in attained.points.unbind(1)]
        worst = torch.stack([look.deciding for look in looks]).argmin(0)
        start = torch.stack([look.points.detach() for look in looks])[worst, torch.arange(len(worst))]
        waited = time.perf_counter() - began
        found = self.answers(replace(problem, start=start))
        lower = query.spec.worst(attained.lower.to(query.x)).tolist()
        return [
            replace(each, detail={**each.detail, BOUND: value}, seconds=each.seconds + waited)
            for each, value in zip(found, lower, strict=True)
        ]

    def init(self, problem: Problem, attempt: int) -> State:
        return State(problem.start)

    def step(self, problem: Problem, state: State, look: Look) -> State:
        length = 1 - state.steps / self.steps
        points = ascend(problem.region, state.points, look.gradient(margin), length)
        return State(points, state.steps + 1)

    def done(self, state: State) -> bool:
        return state.steps == self.steps


def _minimisers(query: Query, run: Run) -> bounds.Minimisers:
    """One point per margin; raises ``bounds.Unsupported`` where there are no bounds."""
    graph = query.model.graph
    if graph is None:
        raise bounds.Unsupported(
            f"{query.model.name} has no graph to bound; begin at random points, with PGD()"
        )
    return bounds.minimisers(graph, query.region, query.spec, run.memory)
