"""The search: domains are bounded, tried, closed or cut, until none is open."""

from __future__ import annotations

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
from bounds.search.domains import Cuts, Domains
from bounds.search.ledger import Ledger
from bounds.search.pool import Pool
from bounds.search.result import Status
from bounds.search.slices import Slices
from bounds.search.witness import Judge

# Gradient steps per domain: short ones, since a domain begins with what was best for its parent. More of them
# where what is missing is less than what the first ones have won.
_FIRST_STEPS, _MORE_STEPS, _INPUT_STEPS = Pace(7, 0.1, 0.75), Pace(24, 0.05, 0.85), Pace(2)
_LAST = Pace(100, 0.1, 0.95)  # where nothing is left to cut
_CANDIDATES = 5
_FIRST, _AT_ONCE = 32, 2048  # domains in the first batches, and in any at most
_PACE = (0.5, 2.0)  # seconds that a batch should take at least and at most
_ASKED = 8  # minimisers that an attack starts from, of each batch that it is asked about


@dataclass(frozen=True, eq=False)
class Search:
    """One search over all open questions.

    sound, quick: the root at the level to claim, and for the search. sample: of each region of the root.
    attack: (samples, starts) -> candidates, one per sample. by_inputs: whether inputs are cut, not neurons.
    memory: bytes for waiting domains. accept: who decides, instead of the sound root, which domains of a
    batch are proved, a mask; then no counterexamples are looked for. nodes: whose
    neurons may be cut, None for all.
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
    slices: Slices = field(default_factory=Slices)

    def run(self) -> None:
        """Until nothing is open or, with ``OutOfTime``, the time is over."""
        every = torch.arange(len(self.sound.sample))
        self.ledger.anew(self.sample.tolist())
        whole = Domains(
            every, Cuts.none(len(every), every.device), torch.full(every.shape, -torch.inf), {}, {}
        )
        most = self._fits()
        pool, *others = (
            self._bounded(whole[part], ask=True) for part in every.tensor_split(-(-len(every) // most))
        )
        for other in others:
            pool = pool.joined(other)
        at_once, batches = min(_FIRST, most), 0
        while len(pool := self._still_open(pool)):
            self.sound.problem.check_time()
            now, pool = pool.taken(at_once, self._samples(pool.domains), self.ledger.domains)
            began, batches = time.monotonic(), batches + 1
            ask = batches & (batches - 1) == 0  # the first, second, fourth, eighth ...
            pool = pool.joined(self._bounded(now.domains.cut(now.places), ask))
            seconds = time.monotonic() - began
            if seconds < _PACE[0] and len(now) == at_once:
                at_once = min(2 * at_once, most)
            elif seconds > _PACE[1]:
                at_once = max(at_once // 2, 1)

    def _fits(self) -> int:
        """Domains in a batch at most."""
        rows = self.quick.spec.matrix.shape[1]
        return max(1, min(_AT_ONCE, alpha.rows_at_once(self.quick.problem) // (2 * rows)))

    def _samples(self, domains: Domains) -> Tensor:
        """The sample that each domain belongs to."""
        return self.sample[self.sound.sample[domains.question]]

    def _still_open(self, pool: Pool) -> Pool:
        """The domains of samples without a decision; samples without a domain are verified."""
        undecided = set(self.ledger.open) & set(self.sample.tolist())
        of = self._samples(pool.domains)
        self.ledger.bounded(of, pool.domains.lower, whole=pool.domains.cuts.node.shape[1] == 0)
        samples = of.tolist()
        self.ledger.settle(undecided - set(samples), Status.VERIFIED)
        pool = pool[torch.tensor([sample in undecided for sample in samples], dtype=torch.bool)]
        if pool.bytes <= self.memory:
            return pool
        pool = pool.slim()
        if pool.bytes > self.memory:
            self.ledger.settle(undecided, Status.UNKNOWN)
            return pool[torch.zeros(len(pool), dtype=torch.bool)]
        return pool

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
        if not self.by_inputs and self.accept is None:
            is_open = is_open & ~self._by_corners(found, is_open & (every.node[:, 0] == 0))
        places, left = every[is_open], found.domains[is_open]
        stuck = places.score[:, 0] <= 0
        if stuck.any():
            again = bounded(self.quick, left[stuck], _LAST, self.by_inputs)
            lost = left[stuck][self._left(again, ask=False)]
            self.ledger.lost(self._samples(lost), lost.lower)
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
        if self.ledger.open:
            tried = self.slices.point(found, spec, row, self.sound.problem.end)
            if tried is not None:
                self._try(tried[1][None], samples[torch.tensor(tried[:1])])

    def _by_corners(self, found: Bounded, where: Tensor) -> Tensor:
        """Which of the worst domains in ``where`` are closed by the least points of their linear pieces.

        Points at which a specification fails settle its sample.
        """
        closed = torch.zeros_like(where)
        worst = found.domains.lower.masked_fill(~where, torch.inf).argsort()[: min(_ASKED, int(where.sum()))]
        spec, shape = self.quick.asked(found.domains.question), found.last.region.shape
        tried = corners(found, spec, branching.deciding_rows(found, spec), worst) if len(worst) else []
        if tried:
            of = torch.tensor([each.domain for each in tried])
            points = torch.stack([each.point.view(shape) for each in tried])
            self._try(points, self._samples(found.domains)[of])
            lower = proved(self.sound, self.quick.whole(weighed(found, tried)), self.by_inputs)
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
