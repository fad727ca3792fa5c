"""Bounds of a batch of domains: quick ones to search by, and proved ones to decide by."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from bounds.graph import Graph
from bounds.interval import Interval
from bounds.kinds import Affine, Pointwise
from bounds.propagate import alpha, forward
from bounds.propagate.alpha import Pace
from bounds.propagate.crown import forward_facts
from bounds.propagate.dual import Pass
from bounds.propagate.facts import Facts, node_facts
from bounds.propagate.forms import Layout
from bounds.propagate.problem import Problem
from bounds.propagate.turns import Multiplier, Place, Turn, turns
from bounds.rounding import Level
from bounds.search.condensed import Condensed, condensed
from bounds.search.domains import Cuts, Domains
from bounds.sets import Box, InputSet
from bounds.spec import Spec

_PROVED = 2**18  # neurons of domains that are proved at once: of more each takes longer, out of the caches


@dataclass(frozen=True, eq=False)
class Root:
    """What is known before anything is cut, at one level and in one dtype.

    problem: the graph over the regions of all samples. facts: of every node, per sample. spec: the questions'
    rows, (questions, rows, outputs); sample: (questions,) whose region each asks about. generators: of the
    zonotopes that bound neurons instead of rows of their own, None for such rows. smaller: how the graph was
    made from that of another root, None where it is the same.
    """

    problem: Problem
    facts: list[Facts]
    spec: Spec
    sample: Tensor
    generators: int | None = None
    smaller: Condensed | None = None

    def asked(self, question: Tensor) -> Spec:
        """The rows of some questions, which may repeat."""
        clause = None if self.spec.clause is None else self.spec.clause[question]
        return Spec(self.spec.matrix[question], self.spec.offset[question], clause)

    def quick(self, dtype: torch.dtype) -> Root:
        """The same for a search without account of rounding, in another dtype."""
        graph, region = self.problem.graph.to(dtype), self.problem.region.to(dtype)
        if region.is_box:
            region = Box(region.box().lower, region.box().upper)
        problem = replace(self.problem, graph=graph, region=region, level=Level.FLOAT)
        known = [Facts(f.interval.outward(dtype)) for f in self.facts]
        facts = forward_facts(problem, tighten=False, known=known)
        return Root(problem, facts, self.spec.to(dtype), self.sample, self.generators)

    def condensed(self) -> Root:
        """The same with the open neurons alone, where that is cheaper; for a search without refinement."""
        smaller = condensed(self.problem.graph, self.facts)
        if smaller is None:
            return self
        problem = replace(self.problem, graph=smaller.graph)
        facts = forward_facts(problem, tighten=False, known=[Facts(x) for x in smaller.intervals])
        return replace(self, problem=problem, facts=facts, smaller=smaller)

    def until(self, end: float) -> Root:
        """The same with another end of its time, on the clock ``time.monotonic``."""
        return replace(self, problem=replace(self.problem, end=end))

    def whole(self, domains: Domains) -> Domains:
        """Domains of this root as those of the one that it was made from."""
        return domains if self.smaller is None else self.smaller.whole(domains)


@dataclass(frozen=True, eq=False)
class Bounded:
    """A batch of domains after bounding.

    domains: with their new bounds and choices. empty: (domains,) where the cuts leave nothing. rows: bounds
    of all rows, (domains, per_sample). gained: (domains,) what the gradient steps have won. facts, last: what
    bounds rest on, for branching and for witnesses.
    """

    domains: Domains
    empty: Tensor
    rows: Tensor
    gained: Tensor
    facts: list[Facts]
    last: Pass

    def with_choices(self, of: Tensor, domains: Domains) -> Bounded:
        """With other choices for some of the domains, the only ones that are hoped to be proved by them."""
        mine = self.domains
        chosen = {place: x.index_copy(0, of, domains.chosen[place]) for place, x in mine.chosen.items()}
        lower = torch.full_like(mine.lower, -1.0).index_fill(0, of, 1.0)
        return replace(
            self, domains=replace(mine, chosen=chosen, lower=lower), empty=torch.zeros_like(self.empty)
        )


def bounded(root: Root, domains: Domains, pace: Pace, refine: bool) -> Bounded:
    """Bounds at the root's level by gradient steps on slopes and multipliers.

    refine: neurons get rows of their own, too, and what is found out about them is kept for the children.
    """
    problem, facts, empty = _facts(root, domains, refine)
    spec, layout = root.asked(domains.question), _layout(domains, root.spec)
    quick, known = problem, facts
    if problem.rounded:
        quick = replace(root.problem.quick, region=problem.region.to(torch.float32))
        known = [fact.quick for fact in facts]
    free = _free(quick.graph, known, layout, domains.cuts)
    rows, offset = spec.matrix.reshape(-1, *problem.graph.output_shape), spec.offset.flatten()
    like = known[0].interval.lower.dtype
    start = [begun(turn, domains.chosen) for turn in free]
    found = alpha.climb(quick, known, rows.to(like), layout, offset.to(like), free, start, pace)
    numbers = zip(free, found.chosen, strict=True)
    chosen = {turn.place: x.view(len(domains), -1, *x.shape[1:]) for turn, x in numbers}
    values = found.value.view(len(domains), -1)
    gained = spec.worst(values) - spec.worst(found.first.view_as(values))
    if problem.rounded:
        values = _settled(problem, facts, replace(domains, chosen=chosen), spec)
    lower = torch.maximum(spec.worst(values), domains.lower).masked_fill(empty, torch.inf)
    kept = _kept(problem.graph, facts) if refine else {}
    left = Domains(domains.question, domains.cuts, lower, chosen, kept)
    return Bounded(left, empty, values, gained, known, found.last)


def proved(root: Root, domains: Domains, refine: bool) -> Tensor:
    """Bounds at the root's level with the choices that domains come with, inf for empty ones; (domains,)."""
    size = sum(prod(node.shape) for node in root.problem.graph.nodes)
    every = torch.arange(len(domains), device=domains.question.device)
    parts = torch.split(every, max(1, _PROVED // size))
    return torch.cat([_proved(root, domains[part], refine) for part in parts])


def _proved(root: Root, domains: Domains, refine: bool) -> Tensor:
    problem, facts, empty = _facts(root, replace(domains, known={}), refine)
    spec = root.asked(domains.question)
    return spec.worst(_settled(problem, facts, domains, spec)).masked_fill(empty, torch.inf)


def _settled(problem: Problem, facts: list[Facts], domains: Domains, spec: Spec) -> Tensor:
    """Bounds of all rows at the problem's level with the choices that domains come with; (domains, rows)."""
    layout = _layout(domains, spec)
    free = _free(problem.graph, facts, layout, domains.cuts)
    chosen = [begun(turn, domains.chosen) for turn in free]
    rows, offset = spec.matrix.reshape(-1, *problem.graph.output_shape), spec.offset.flatten()
    return alpha.settled(problem, facts, rows, layout, offset, free, chosen).view(len(domains), -1)


def _kept(graph: Graph, facts: list[Facts]) -> dict[int, Interval]:
    """The intervals of what enters nonlinear functions."""
    sources = {n.inputs[0] for n in graph.nodes if isinstance(n.op, Pointwise)}
    return {source: facts[source].interval for source in sorted(sources) if source > 0}


def _layout(domains: Domains, spec: Spec) -> Layout:
    samples = torch.arange(len(domains), device=domains.question.device)
    return Layout(samples, spec.matrix.shape[1])


def _facts(root: Root, domains: Domains, refine: bool) -> tuple[Problem, list[Facts], Tensor]:
    """The facts of each domain, the cut intervals among them, and which domains are empty."""
    sample, cuts = root.sample[domains.question], domains.cuts
    region, empty = _cut_region(root.problem.region[sample], cuts)
    problem = replace(root.problem, region=region)
    alone = len(root.problem.region) == 1
    known = [f.repeated(len(sample)) if alone else f.of(sample) for f in root.facts]
    for node, interval in domains.known.items():
        known[node] = replace(known[node], interval=interval)
    limits = {node: cuts.on(node, known[node].interval.lower) for node in cuts.nodes if node > 0}
    for node, limit in limits.items():
        x = known[node].interval
        low, high = torch.maximum(x.lower, limit.lower), torch.minimum(x.upper, limit.upper)
        empty = empty | (low > high).flatten(1).any(1)
        known[node] = replace(known[node], interval=Interval(torch.minimum(low, high), high))
    if refine and root.generators is not None:
        found = forward.facts_of(problem, root.generators)
        known = [replace(k, interval=k.interval.met(f.interval)) for k, f in zip(known, found, strict=True)]
    if not (refine or 0 in cuts.nodes):
        return problem, _relaxed(problem, known, limits.keys()), empty
    facts = forward_facts(problem, tighten=refine and root.generators is None, known=known)
    for node, limit in limits.items():
        x = facts[node].interval
        # Where an interval and a cut do not meet, their "intersection" is what lies between them.
        outside = (x.lower < limit.lower) | (x.upper > limit.upper)
        empty = empty | outside.flatten(1).any(1)
    return problem, facts, empty


def _relaxed(problem: Problem, facts: list[Facts], cut: Collection[int]) -> list[Facts]:
    """Facts with the relaxation of nodes that take cut ones; what intervals say farther on is little."""
    graph = problem.graph
    for index in sorted({user for node in cut for user in graph.users[node]}):
        node = graph.nodes[index]
        if not isinstance(node.op, Affine):
            ins = tuple(facts[i] for i in node.inputs)
            found = node_facts(graph, node, ins, problem.level, relaxed=True)
            facts[index] = replace(found, interval=found.interval.met(facts[index].interval.closed()))
    return facts


def _cut_region(region: InputSet, cuts: Cuts) -> tuple[InputSet, Tensor]:
    """The regions where inputs are cut; which need boxes."""
    empty = torch.zeros(len(region), dtype=torch.bool, device=cuts.node.device)
    if 0 not in cuts.nodes:
        return region, empty
    box = region.box()
    limit = cuts.on(0, box.lower)
    low, high = torch.maximum(box.lower, limit.lower), torch.minimum(box.upper, limit.upper)
    empty = (low > high).flatten(1).any(1)
    return Box(torch.minimum(low, high), high), empty


def _free(graph: Graph, facts: list[Facts], layout: Layout, cuts: Cuts) -> list[Turn]:
    """All that rows may choose: lines, planes, and multipliers of the cuts."""
    return [*turns(graph, facts, layout), *_multipliers(graph, facts, layout, cuts)]


def _multipliers(graph: Graph, facts: list[Facts], layout: Layout, cuts: Cuts) -> Sequence[Multiplier]:
    """One for each element that is cut, at the first function of the node."""
    found = []
    for node in cuts.nodes:
        users = [u for u in graph.users[node] if isinstance(graph.nodes[u].op, Pointwise)]
        if node == 0 or not users:
            continue
        limit = cuts.on(node, facts[node].interval.lower)
        least, most = limit.lower[layout.rows], limit.upper[layout.rows]
        above, below = least > -torch.inf, most < torch.inf
        start = torch.zeros_like(least)
        found.append(
            Multiplier(
                users[0],
                start,
                above | below,
                start.masked_fill(below, -torch.inf),
                start.masked_fill(above, torch.inf),
                least.masked_fill(~above, 0.0),
                most.masked_fill(~below, 0.0),
            )
        )
    return found


def begun(turn: Turn, chosen: Mapping[Place, Tensor]) -> Tensor:
    """The numbers to begin with: those that were best before, (domains, per_sample, *shape), if there are."""
    known = chosen.get(turn.place)
    return turn.begun(None if known is None else known.flatten(0, 1))
