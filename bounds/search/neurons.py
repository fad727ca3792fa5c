"""Tighter intervals of single neurons by a short branch and bound on each end, layer by layer.

Bounds of deep networks lose most to lines over intervals that are too wide. All domains of a search share
these: a few dozen domains for each end are soon paid back, the more so as each layer begins with what was
found about those before it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import prod

import torch
from torch import Tensor

from bounds.graph import Graph, Node
from bounds.interval import Interval
from bounds.kinds import Affine, Pointwise
from bounds.ops.gather import Pick
from bounds.ops.shape import Reshape
from bounds.propagate import alpha
from bounds.propagate.alpha import Pace
from bounds.propagate.crown import forward_facts, undecided_elements
from bounds.propagate.facts import Facts
from bounds.propagate.problem import Problem
from bounds.search import branching
from bounds.search.bounding import Bounded, Root, bounded, proved
from bounds.search.domains import Cuts, Domains
from bounds.search.pool import Pool
from bounds.spec import Spec

# Shares of the time left that a first search may take, and then tighter neurons, first and once more if they
# have gained so much of what that search has, which may be cut short, and so much of what is missing.
GLANCE, SHARES, _WORTH, _MUCH = 0.04, (0.05, 0.4), 0.25, 0.15
# Gradient steps per domain. Few, and no candidates are tried: in the same time, more cuts gain more.
_WHOLE, _PART = Pace(20, 0.1, 0.85), Pace(3, 0.1, 0.75)
_AT_ONCE = 512  # domains in a batch at most
_ENDS = 2**11  # of a layer at most: of more, none would get its share
_GAIN = 0.02  # of the intervals' widths, that as many more domains as there are must have gained to go on
_NEAR = 0.05  # of an interval's width, within which of a value that is attained an end is good enough
_SEARCHED = 0.6  # share of a layer's time, the rest of which its proofs may take


def worthwhile(gained: Tensor, by_search: Tensor, missing: Tensor) -> bool:
    """Whether tighter neurons should have more time, by what they and a search have gained; (samples,)."""
    return bool(gained.mean() > torch.maximum(_WORTH * by_search, _MUCH * missing).mean())


def layers(problem: Problem, facts: Sequence[Facts]) -> list[int]:
    """Nodes with ends to be moved: what enters neurons, where little else loses, and no more than pays."""
    graph = problem.graph
    if not all(isinstance(node.op, Affine | Pointwise) for node in graph.nodes[1:]):
        return []
    enters = sorted({n.inputs[0] for n in graph.nodes if isinstance(n.op, Pointwise)})
    counts = [(node, _open(problem, facts, node).sum(1)) for node in enters if not facts[node].tight]
    return [node for node, count in counts if 0 < 2 * int(count.max()) <= _ENDS]


def tightened(problem: Problem, facts: list[Facts], end: float) -> list[Facts]:
    """Facts at least as tight, at the problem's level, by some time on the clock ``time.monotonic``.

    Each sample by itself. Raises ``OutOfTime`` where the problem's own time is over.
    """
    batch, found = len(problem.region), list[list[Interval]]()
    for sample in torch.arange(batch):
        now = time.monotonic()
        part = now + (end - now) / (batch - int(sample))
        mine = _tightened(problem[sample[None]], [fact.of(sample[None]) for fact in facts], part)
        found.append([fact.interval for fact in mine])
    joined = [reduce(Interval.joined, each) for each in zip(*found, strict=True)]
    known = [replace(f, interval=f.interval.met(x)) for f, x in zip(facts, joined, strict=True)]
    return forward_facts(problem, tighten=False, known=known)


def _tightened(problem: Problem, facts: list[Facts], end: float) -> list[Facts]:
    """The same for one sample."""
    nodes = layers(problem, facts)
    for k, node in enumerate(nodes):
        now = time.monotonic()
        if now >= end:
            break
        ends = Ends.of(problem, facts, node)
        leaves = [] if ends is None else ends.leaves(now + (end - now) / (len(nodes) - k))
        if ends is not None and leaves:
            facts[node] = replace(facts[node], interval=ends.proved(leaves))
            facts = forward_facts(problem, tighten=True, known=facts)
    return facts


def _open(problem: Problem, facts: Sequence[Facts], node: int) -> Tensor:
    """The elements that a tighter interval would help; (batch, elements)."""
    x = facts[node].interval
    return undecided_elements(problem, node, x).expand(x.lower.shape).flatten(1)


@dataclass(frozen=True, eq=False)
class Ends:
    """Ends of the intervals of a node's open elements, the question about each being its lower bound.

    problem: of one sample. interval: what is known of the node. elements: (m,) that are open. root, quick: of
    the graph up to them, whose 2 m questions are the lower ends and then the negated upper ones.
    """

    problem: Problem
    node: int
    interval: Interval
    elements: Tensor
    root: Root
    quick: Root

    @classmethod
    def of(cls, problem: Problem, facts: list[Facts], node: int) -> Ends | None:
        """None where no element is open."""
        elements = _open(problem, facts, node)[0].nonzero()[:, 0]
        if len(elements) == 0:
            return None
        size, count, x = prod(problem.graph.nodes[node].shape), len(elements), facts[node].interval
        flat = Node(Reshape((size,)), (node,), (), (size,), "elements")
        picked = Node(Pick((count,), tuple(elements.tolist())), (node + 1,), (), (count,), "open elements")
        graph = Graph((*problem.graph.nodes[: node + 1], flat, picked), node + 2)
        part = replace(problem, graph=graph)
        every = Interval(x.lower.flatten(1), x.upper.flatten(1))
        some = Interval(every.lower[:, elements], every.upper[:, elements])
        known = forward_facts(part, tighten=False, known=[*facts[: node + 1], Facts(every), Facts(some)])
        unit = torch.eye(count, dtype=x.lower.dtype, device=x.lower.device)
        spec = Spec(torch.cat([unit, -unit])[:, None], unit.new_zeros(2 * count, 1))
        root = Root(part, known, spec, torch.zeros(2 * count, dtype=torch.long, device=unit.device))
        return cls(problem, node, x, elements, root, root.quick(torch.float32).condensed())

    def leaves(self, end: float) -> list[Domains]:
        """What a search, until some time at most, cuts the region to for each end that gains by it: domains
        of the root. Nothing where there is too little time."""
        now = time.monotonic()
        stop = now + _SEARCHED * (end - now)
        leaves = _Leaves(self)
        if not leaves.begin(stop):
            return []
        leaves.grow(stop)
        gained = leaves.lower > self.known
        parts = [d[gained[d.question]] for d in leaves.domains]
        return [self.quick.whole(part) for part in parts if len(part)]

    def proved(self, leaves: Sequence[Domains]) -> Interval:
        """The node's interval met with the least proved bounds of each end's leaves."""
        lower = self.known
        bounds = torch.full_like(lower, torch.inf)
        for part in leaves:
            found = proved(self.root, part, refine=False)
            bounds = bounds.scatter_reduce(0, part.question, found.to(bounds), "amin")
        better = bounds.isfinite() & (bounds > lower)
        return self.interval.met(self.whole(torch.where(better, bounds, lower)))

    def is_open(self, lower: Tensor) -> Tensor:
        """Which elements would still be open with such ends, (m,)."""
        return undecided_elements(self.problem, self.node, self.whole(lower)).flatten()[self.elements]

    @property
    def known(self) -> Tensor:
        """The ends as lower bounds, (2 m,)."""
        x = self.interval
        return torch.cat([x.lower.flatten()[self.elements], -x.upper.flatten()[self.elements]])

    def whole(self, lower: Tensor) -> Interval:
        """The node's interval with such ends, (2 m,)."""
        low, high = self.interval.lower.flatten().clone(), self.interval.upper.flatten().clone()
        least, most = lower[: len(self.elements)], -lower[len(self.elements) :]
        low[self.elements], high[self.elements] = torch.minimum(least, most), torch.maximum(least, most)
        return Interval(low.view_as(self.interval.lower), high.view_as(self.interval.upper))


class _Leaves:
    """What the region is cut to for each end: domains that wait to be cut, and those that need or can be it
    no more.

    attained: of each end the least value that was seen.
    """

    def __init__(self, ends: Ends) -> None:
        self._ends, self._quick, self._known = ends, ends.quick, ends.known
        count = len(self._known)
        self._attained = torch.full_like(self._known, torch.inf)
        self._spent, self._done = [0] * count, list[Domains]()
        self._pool: Pool | None = None
        self._most = max(1, min(_AT_ONCE, alpha.rows_at_once(ends.quick.problem) // 2))

    @property
    def domains(self) -> list[Domains]:
        """All leaves."""
        return self._done if self._pool is None else [*self._done, self._pool.domains]

    @property
    def lower(self) -> Tensor:
        """The bound of each end, by float arithmetic; (ends,)."""
        return torch.maximum(self._least(), self._known)

    def _least(self) -> Tensor:
        """What the leaves alone say of each end, which may be less than is known; (ends,)."""
        least = torch.full_like(self._known, torch.inf)
        for part in self.domains:
            least = least.scatter_reduce(0, part.question, part.lower.to(least), "amin")
        return least

    def begin(self, stop: float) -> bool:
        """Bounds of all ends without cuts; False where there is no time for these."""
        every = torch.arange(len(self._known), device=self._known.device)
        empty = torch.full(every.shape, -torch.inf, device=every.device)
        whole = Domains(every, Cuts.none(len(every), every.device), empty, {}, {})
        began, parts = time.monotonic(), torch.split(every, self._most)
        for k, part in enumerate(parts):
            self._add(bounded(self._quick, whole[part], _WHOLE, refine=False))
            if time.monotonic() - began > (k + 1) / len(parts) * (stop - began):
                return False
        return True

    def grow(self, stop: float) -> None:
        """Until time is over, or the last domains have gained too little."""
        count, before = sum(self._spent), self._open_width()
        while (pool := self._pool) is not None and time.monotonic() < stop:
            active = self._active(pool.domains)
            if not bool(active.any()) or pool.bytes > self._ends.problem.memory:
                return
            idle, waiting = pool[~active], pool[active]
            now, rest = waiting.taken(self._most, waiting.domains.question, self._spent)
            self._pool = idle.joined(rest)
            self._add(bounded(self._quick, now.domains.cut(now.places), _PART, refine=False))
            if sum(self._spent) >= 2 * count:
                count, width = sum(self._spent), self._open_width()
                if width > (1 - _GAIN) * before:
                    return
                before = width

    def _add(self, found: Bounded) -> None:
        """Take domains that were bounded, each as a leaf."""
        left, spec = found.domains, self._quick.asked(found.domains.question)
        for question in left.question.tolist():
            self._spent[question] += 1
        points = branching.minimisers(found.last, branching.deciding_rows(found, spec))
        values = spec.evaluate(self._quick.problem.graph(points).flatten(1))[:, 0].to(self._attained)
        values = values.masked_fill(found.empty | values.isnan(), torch.inf)
        self._attained = self._attained.scatter_reduce(0, left.question, values, "amin")
        places = branching.neurons(found, spec, 1)
        done = places.score[:, 0] <= 0
        if bool(done.any()):
            self._done.append(left[done])
        more = Pool(left[~done], places[~done].pick(torch.zeros_like(left.question[~done])))
        self._pool = more if self._pool is None else self._pool.joined(more)

    def _active(self, waiting: Domains) -> Tensor:
        """Which domains to cut: not those of decided elements, or of nearly attained ends; (domains,)."""
        lower = self.lower
        low, negated = lower.chunk(2)
        near = self._attained - _NEAR * (-negated - low).repeat(2)
        of, is_open = waiting.question, self._ends.is_open(lower).repeat(2)
        return is_open[of] & (waiting.lower.to(near) < near[of])

    def _open_width(self) -> float:
        """The widths, by the leaves alone, of all elements that are still open."""
        low, negated = self._least().chunk(2)
        return float((-negated - low)[self._ends.is_open(self.lower)].sum())
