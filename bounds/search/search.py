"""The search: domains are bounded, tried, closed or cut, until none is open."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from bounds.propagate import alpha
from bounds.propagate.alpha import Pace
from bounds.search import branching
from bounds.search.bounding import Bounded, Root, bounded, proved
from bounds.search.corners import corners, weighed
from bounds.search.domains import NOWHERE, Cuts, Domains
from bounds.search.ledger import Ledger
from bounds.search.pool import Pool
from bounds.search.result import Status
from bounds.search.witness import Judge

# Gradient steps per domain: short ones, since a domain begins with what was best for its parent. More of them
# where what is missing is less than what the first ones have won.
_FIRST_STEPS, _MORE_STEPS, _INPUT_STEPS = Pace(7, 0.1, 0.75), Pace(24, 0.05, 0.85), Pace(2)
_LAST = Pace(100, 0.1, 0.95)  # where nothing is left to cut
_AGAIN = Pace(1)  # for bounds that are known already
_CANDIDATES = 5
_FIRST, _AT_ONCE = 32, 2048  # domains in the first batches, and in any at most
_PACE = (0.5, 2.0)  # seconds that a batch should take at least and at most
_ASKED = 8  # minimisers that an attack starts from, of each batch that it is asked about


@dataclass(eq=False)
class Search:
    """One search over all open questions, which can be broken off and taken up again.

    sound, quick: the root at the level to claim, and for the search. sample: of each region of the root.
    attack: (samples, starts) -> candidates, one per sample. by_inputs: whether inputs are cut, not neurons.
    memory: bytes for waiting domains. accept: who decides, instead of the sound root, which domains of a
    batch are proved, a mask; then no counterexamples are looked for. nodes: whose
    neurons may be cut, None for all.

    pool: what waits to be cut, None before the first batch. hopeless: samples with parts that this search can
    neither prove nor cut, and the worst bound of these; they can still be falsified.
    """

    sound: Root
    quick: Root
    sample: Tensor
    ledger: Ledger
    judge: Judge
    attack: Callable[[Tensor, Tensor | None], Tensor]
    by_inputs: bool
    memory: int
    accept: Callable[[Bounded], Tensor] | None = None
    nodes: Collection[int] | None = None
    pool: Pool | None = None
    hopeless: dict[int, float] = field(default_factory=dict)
    _at_once: int = _FIRST
    _batches: int = 0

    def run(self, stop: float = math.inf, end: float | None = None) -> None:
        """Until nothing is left to cut, or some time; both on the clock ``time.monotonic``.

        stop: from when on to begin no other batch. end: when to break off with ``OutOfTime``, at the loss of
        the batch at hand; None for the end of the problem.
        """
        if end is not None:
            same = self.quick is self.sound
            self.sound = self.sound.until(end)
            self.quick = self.sound if same else self.quick.until(end)
        pool = self._begun() if self.pool is None else self.pool
        while len(pool := self._still_open(pool)):
            self.pool = pool
            if time.monotonic() >= stop:
                return
            self.sound.problem.check_time()
            pool = self._step(pool)
        self.pool = pool

    @property
    def over(self) -> bool:
        """Whether it has nothing left to cut."""
        return self.pool is not None and len(self.pool) == 0

    @property
    def closed(self) -> float:
        """Which part of all questions is settled, where each cut halves what it cuts."""
        if self.pool is None:
            return 0.0
        depth = (self.pool.domains.cuts.node != NOWHERE).sum(1)
        samples = self.sample[self.sound.sample].tolist()
        still_open = float(torch.exp2(-depth.double()).sum()) + sum(s in self.hopeless for s in samples)
        return max(0.0, 1 - still_open / len(samples))

    def _begun(self) -> Pool:
        """What is left of all questions without cuts."""
        every = torch.arange(len(self.sound.sample))
        whole = Domains(
            every, Cuts.none(len(every), every.device), torch.full(every.shape, -torch.inf), {}, {}
        )
        parts = every.tensor_split(-(-len(every) // self._fits()))
        pool, *others = (self._bounded(whole[part], ask=True) for part in parts)
        for other in others:
            pool = pool.joined(other)
        return pool

    def _step(self, pool: Pool) -> Pool:
        """What waits after one batch was cut and bounded."""
        most = self._fits()
        count = min(self._at_once, most)
        now, rest = pool.taken(count, self._samples(pool.domains), self.ledger.domains)
        began, batches = time.monotonic(), self._batches + 1
        ask = batches & (batches - 1) == 0  # the first, second, fourth, eighth ...
        left = rest.joined(self._bounded(now.domains.cut(now.places), ask))
        self._batches, seconds = batches, time.monotonic() - began
        if seconds < _PACE[0] and len(now) == count:
            self._at_once = min(2 * count, most)
        elif seconds > _PACE[1]:
            self._at_once = max(count // 2, 1)
        return left

    def _fits(self) -> int:
        """Domains in a batch at most."""
        rows = self.quick.spec.matrix.shape[1]
        return max(1, min(_AT_ONCE, alpha.rows_at_once(self.quick.problem) // (2 * rows)))

    def _samples(self, domains: Domains) -> Tensor:
        """The sample that each domain belongs to."""
        return self.sample[self.sound.sample[domains.question]]

    def _still_open(self, pool: Pool) -> Pool:
        """What waits of samples without a decision; those of which nothing does are verified, or hopeless."""
        undecided = set(self.ledger.open) & set(self.sample.tolist())
        of, lower = self._samples(pool.domains), pool.domains.lower
        given_up = of.new_tensor([*self.hopeless]), lower.new_tensor([*self.hopeless.values()])
        of_all, bounds = (torch.cat(pair) for pair in zip((of, lower), given_up, strict=True))
        self.ledger.bounded(of_all, bounds, whole=pool.domains.cuts.node.shape[1] == 0)
        samples = of.tolist()
        self.ledger.settle(undecided - set(samples) - set(self.hopeless), Status.VERIFIED)
        pool = pool[torch.tensor([sample in undecided for sample in samples], dtype=torch.bool)]
        if pool.bytes > self.memory:
            pool = pool.slim()
        if pool.bytes > self.memory:
            self._lost(pool.domains)
            pool = pool[torch.zeros(len(pool), dtype=torch.bool)]
        return pool

    def _lost(self, domains: Domains) -> None:
        """Note what cannot be cut any more."""
        for sample, bound in zip(self._samples(domains).tolist(), domains.lower.tolist(), strict=True):
            self.hopeless[sample] = min(self.hopeless.get(sample, 0.0), bound)

    def _bounded(self, domains: Domains, ask: bool) -> Pool:
        """What is left open of some domains after bounding them, and where to cut that.

        ask: whether the attack starts from their minimisers.
        """
        for sample in self._samples(domains).tolist():
            self.ledger.domains[sample] += 1
        if self.by_inputs:
            found = bounded(self.quick, domains, _INPUT_STEPS, refine=True)
            return self._cut(found, self._left(found, ask))
        found = bounded(self.quick, domains, _FIRST_STEPS, refine=False)
        left = self._left(found, ask)
        close = left & (-found.domains.lower < found.gained)
        pool = self._cut(found, left & ~close)
        if close.any():
            again = bounded(self.quick, found.domains[close], _MORE_STEPS, refine=False)
            pool = pool.joined(self._cut(again, self._left(again, ask=False)))
        return pool

    def _left(self, found: Bounded, ask: bool) -> Tensor:
        """Which domains are open after their minimisers were tried; (domains,)."""
        if self.accept is not None:
            return ~self.accept(found)
        self._try_minimisers(found, ask)
        closed = (found.domains.lower > 0).nonzero()[:, 0]
        lower = found.domains.lower[closed]
        if self.quick is not self.sound and len(closed):
            lower = proved(self.sound, self.quick.whole(found.domains[closed]), self.by_inputs)
        closed, lower = closed[lower > 0], lower[lower > 0]
        self.ledger.proved(self._samples(found.domains[closed]).tolist(), lower.tolist())
        return torch.ones_like(found.empty).index_fill(0, closed, False)

    def _cut(self, found: Bounded, is_open: Tensor) -> Pool:
        """Where to cut domains; those without any place get a last chance."""
        every = self._places(found)
        if not self.by_inputs:
            is_open = is_open & ~self._by_corners(found, is_open & (every.node[:, 0] == 0))
        places, left = every[is_open], found.domains[is_open]
        stuck = places.score[:, 0] <= 0
        if stuck.any():
            again = bounded(self.quick, left[stuck], _LAST, self.by_inputs)
            lost = left[stuck][self._left(again, ask=False)]
            self._lost(lost)
            left, places = left[~stuck], places[~stuck]
        if len(left) == 0:
            return Pool(left, places.pick(left.question))
        return Pool(left, places.pick(branching.chosen(self.quick, left, places, self.by_inputs)))

    def _places(self, found: Bounded) -> branching.Candidates:
        """Where each domain may be cut, inputs where no neuron is left."""
        spec = self.quick.asked(found.domains.question)
        if self.by_inputs:
            return branching.inputs(found, spec, 1, self._own)
        places = branching.neurons(found, spec, _CANDIDATES, self.nodes)
        nothing = places.score[:, 0] <= 0
        if self.quick.problem.region.is_box and nothing.any():
            return places.where(~nothing, branching.inputs(found, spec, _CANDIDATES, self._own))
        return places

    def _try_minimisers(self, found: Bounded, ask: bool) -> None:
        """Settle samples whose specification fails where a bound is taken, or near it."""
        spec = self.quick.asked(found.domains.question)
        row = branching.deciding_rows(found, spec)
        points, samples = branching.minimisers(found.last, row), self._samples(found.domains)
        self._try(points, samples)
        if ask and self.ledger.open:
            worst = found.domains.lower.argsort()[:_ASKED]
            self._try(self.attack(samples[worst], self._points(points[worst])), samples[worst])

    def weakest(self, count: int) -> Bounded | None:
        """Some of those that wait, the worst ones, as their bounds stand; None where nothing waits."""
        if self.pool is None or self.over:
            return None
        worst = self.pool.domains.lower.argsort()[:count]
        return bounded(self.quick, self.pool.domains[worst], _AGAIN, self.by_inputs)

    def tried(self, found: Bounded, domain: int, point: Tensor) -> None:
        """Settle the sample of a domain if its specification fails at a point, (*input_shape)."""
        self._try(point[None], self._samples(found.domains[torch.tensor([domain])]))

    def _by_corners(self, found: Bounded, where: Tensor) -> Tensor:
        """Which of the worst domains in ``where`` are closed by the least points of their linear pieces.

        Points at which a specification fails settle its sample.
        """
        closed = torch.zeros_like(where)
        worst = found.domains.lower.masked_fill(~where, torch.inf).argsort()[: min(_ASKED, int(where.sum()))]
        spec, shape = self.quick.asked(found.domains.question), found.last.region.shape
        tried = corners(found, spec, branching.deciding_rows(found, spec), worst) if len(worst) else []
        if tried:
            of, again = torch.tensor([each.domain for each in tried]), weighed(found, tried)
            if self.accept is not None:
                return self.accept(found.with_choices(of, again))
            points = torch.stack([each.point.view(shape) for each in tried])
            self._try(points, self._samples(found.domains)[of])
            lower = proved(self.sound, self.quick.whole(again), self.by_inputs)
            of, lower = of[lower > 0], lower[lower > 0]
            self.ledger.proved(self._samples(found.domains)[of].tolist(), lower.tolist())
            closed[of] = True
        return closed

    def _try(self, points: Tensor, samples: Tensor) -> None:
        self.ledger.tried(samples, *self.judge.confirmed(self._points(points), samples))

    def _points(self, points: Tensor) -> Tensor:
        """In the network's own input, with which that of a folded graph begins."""
        return points.flatten(1)[:, : self._own].view(-1, *self.judge.graph.input_shape)

    @property
    def _own(self) -> int:
        """The elements of the network's own input."""
        return prod(self.judge.graph.input_shape)
