"""Lemmas: what tightens intervals of neurons for the engine, as trees for the checker, layer by layer."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from bounds.interval import Interval
from bounds.kinds import Pointwise
from bounds.proof.basics import Array
from bounds.proof.chain import Facts
from bounds.proof.format import Lemma
from bounds.propagate import facts as engine
from bounds.propagate.alpha import Pace
from bounds.propagate.crown import forward_facts
from bounds.propagate.problem import Problem
from bounds.proving.leaves import Leaf, lemma
from bounds.proving.lower import Foresight, Whole
from bounds.proving.translation import Translation
from bounds.search.bounding import bounded
from bounds.search.domains import Domains
from bounds.search.neurons import Ends, layers

_LEAST = 0.01  # share of an interval that an end must gain to be worth its leaves
_AT_ONCE = 512  # domains in a batch


def foreseen(problem: Problem, roots: Sequence[Facts], translation: Translation) -> list[engine.Facts]:
    """The engine's facts with the checker's intervals where both know the same values: no tighter, for the
    search is to foresee what the checker will find.

    roots: of each sample's box, which may have been made up to some value only.
    """
    known = forward_facts(problem, tighten=False)
    every = {pair for match in (*translation.matches, *translation.products) for pair in match.same}
    for node, value in every:
        if value < len(roots[0].values):
            shape = known[node].interval.lower.shape
            found = [root.values[value] for root in roots]
            ends = [x.low for x in found], [x.high for x in found]
            low, high = (torch.from_numpy(np.concatenate(each)).view(shape) for each in ends)
            known[node] = replace(known[node], interval=Interval(low, high))
    return forward_facts(problem, tighten=False, known=known)


def lemma_nodes(problem: Problem, known: Sequence[engine.Facts], translation: Translation) -> list[int]:
    """Nodes whose neurons lemmas may tighten: where the checker knows all that may be cut for that."""
    graph, matched = problem.graph, {match.source for match in translation.matches}
    cut = {node.inputs[0] for node in graph.nodes if isinstance(node.op, Pointwise)}
    return [node for node in layers(problem, known) if all(n in matched for n in cut if n <= node)]


@dataclass(eq=False)
class Lemmas:
    """The lemmas of a part, as far as they are made while the checker goes through the network.

    problem: the engine's, about this part alone. nodes: whose neurons are still to be tightened. memory:
    bytes that the leaves may take. end: when to be done.
    """

    sight: Foresight
    part: int
    problem: Problem
    translation: Translation
    nodes: list[int]
    memory: int
    end: float
    made: list[Lemma] = field(default_factory=list)

    def whole(self) -> Whole:
        """What the checker finds in the whole box with the lemmas, which are made on the way."""
        return self.sight.whole(self.part, self._tightened)

    def _tightened(self, facts: Facts) -> None:
        """Make a lemma of the last value and meet its intervals with that, if the time suffices."""
        here = [m for m in self.translation.matches if m.value == len(facts.values) - 1]
        now = time.monotonic()
        if not here or here[0].source not in self.nodes or now >= self.end:
            return
        node = here[0].source
        stop = now + (self.end - now) / len(self.nodes)
        self.nodes.remove(node)
        known = foreseen(self.problem, [facts], self.translation)
        ends = Ends.of(self.problem, known, node)
        leaves = {} if ends is None else self._leaves(ends, ends.leaves(stop))
        if not leaves:
            return
        whole = lemma(self.part, here[0].layer, leaves, self.sight.sizes)
        bounds = self.sight.checker.ends(facts, whole)
        kept = _worth(facts, whole, bounds, all(m.does.kinked for m in here))
        if kept.any():
            element, side = whole.ends[kept], whole.sides[kept]
            self.sight.checker.chain.meet(facts, np.zeros_like(element), element, side, bounds[kept])
            some = [end for end, keep in zip(sorted(leaves), kept, strict=True) if keep]
            self.made.append(
                lemma(self.part, here[0].layer, {end: leaves[end] for end in some}, self.sight.sizes)
            )

    def _leaves(self, ends: Ends, parts: Sequence[Domains]) -> dict[tuple[int, int], list[Leaf]]:
        """Leaves by end, see ``lemma``; nothing where they take too much memory."""
        found, count = defaultdict[tuple[int, int], list[Leaf]](list), len(ends.elements)
        for part in parts:
            for every in torch.split(torch.arange(len(part)), _AT_ONCE):
                domains = bounded(ends.root, part[every], Pace(0), refine=False)
                mine, none = torch.arange(len(every)), np.zeros((len(every), 0), np.float32)
                leaves = self.translation.leaves(domains, mine, none, np.zeros((len(every), 1), np.int64))
                for question, leaf in zip(part.question[every].tolist(), leaves, strict=True):
                    end = int(ends.elements[question % count]), question // count
                    found[end].append(leaf)
                    self.memory -= leaf.bytes
        return found if self.memory > 0 else {}


def _worth(facts: Facts, lemma: Lemma, bounds: Array, kinked: bool) -> Array:
    """Which ends have gained enough, (ends,); of a neuron that one end decides, this end alone.

    kinked: whether neurons are linear on either side of zero.
    """
    fact = facts.values[-1]
    low, high = (end[0, lemma.ends] for end in (fact.low, fact.high))
    old = np.where(lemma.sides > 0, low, -high)
    kept: Array = bounds - old > _LEAST * (high - low)
    if kinked:
        deciding = kept & (bounds >= 0)
        kept &= deciding | ~np.isin(lemma.ends, lemma.ends[deciding])
    return kept
