"""``bounds.verify``: cut what bounds do not settle until every part of the region is decided."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from bounds.bound import bindable, check_shapes, is_out_of_memory
from bounds.errors import InvalidInput
from bounds.graph import Graph
from bounds.propagate.cascade import ALPHA, CLIMB, CROWN_IBP, DECIDE, IBP, SLIM, Attempt, Method, attempted
from bounds.propagate.problem import OutOfTime, Problem
from bounds.rounding import Level, check_dot_products
from bounds.search.chains import shortened
from bounds.search.clauses import joined
from bounds.search.ledger import Ledger
from bounds.search.result import Decision, Status
from bounds.search.schedule import FEW_INPUTS, Schedule
from bounds.search.varying import folded, moving
from bounds.search.witness import Judge, descended
from bounds.sets import InputSet
from bounds.spec import Spec

# (region, spec, starts) -> points, (batch, *shape) each: one candidate for each sample of the region, looked
# for from where starts are, or from anywhere. Points are replayed before they are believed.
Falsifier = Callable[[InputSet, Spec, Tensor | None], Tensor]

_FIRST = (IBP, CROWN_IBP)
# Where a property has many parts each can cost little: with few inputs, zonotopes of few generators bound
# neurons nearly as well as rows of their own.
_MANY, _SLIM = (*_FIRST, DECIDE), (*_FIRST, SLIM, CLIMB)
_JOINT = Method(tighten=True, steps=20, joint=5)
_SMALL = 0.1  # share of the time left that all tighter neurons may take: every domain of a search has them
_JOINT_SHARE = 0.3  # after which they are given up: neurons that stay undecided take longer than foreseen
_PARTS = 32  # numbers of the facts for each element of a node, some of them on their way
_ALIKE = 8  # times as many samples are bounded by intervals alone


def verify(
    graph: Graph,
    region: InputSet,
    spec: Spec,
    *,
    timeout: float = 60.0,
    level: Level | str = Level.REAL,
    memory: int = 2**28,
    pool: int = 2**31,
    falsify: Falsifier | None = None,
    joint: bool = False,
) -> list[Decision]:
    """Decide for each sample whether ``spec`` holds on its whole region.

    First bounds of growing cost, then branch and bound (Bunel et al. 2020; Wang et al. 2021, beta-CROWN):
    neurons or inputs are cut, the minimisers of bounds are tried as counterexamples, and a domain is closed
    only by bounds at ``level``.

    timeout: seconds for all samples together; kept to about a second.
    memory: bytes that the rows of one chunk may take. pool: bytes that waiting domains may take; samples that
        need more end as ``UNKNOWN``.
    falsify: an attack, asked first and now and then: (region, spec, starts or None) -> one candidate for each
        sample, (batch, *shape).
    joint: whether all samples are parts of one property, so that one counterexample ends the search.

    Raises ``InvalidInput`` for shapes that do not fit together and a timeout < 0, ``Unsupported`` for
    operators without bounds.
    """
    began = time.monotonic()
    if not timeout >= 0:
        raise InvalidInput(f"a timeout is a number of seconds >= 0, not {timeout}")
    level = Level(level)
    check_shapes(graph, region, spec)
    if level is not Level.FLOAT:
        check_dot_products(region.box().lower.device.type)
    judge = Judge.of(graph, region, spec.expanded(len(region)))
    ledger = Ledger.blank(began, level, joint, len(region))
    try:
        with torch.inference_mode():
            _Call(graph, region, judge.spec, ledger, judge, falsify, memory, pool, began + timeout).run()
    except OutOfTime:
        return ledger.closed(Status.TIMEOUT)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return ledger.closed(Status.UNKNOWN)
    return ledger.closed(Status.UNKNOWN)


@dataclass(frozen=True, eq=False)
class _Call:
    """One call of ``verify``, from cheap bounds to the search."""

    graph: Graph
    region: InputSet
    spec: Spec
    ledger: Ledger
    judge: Judge
    falsify: Falsifier | None
    memory: int
    pool: int
    end: float

    def run(self) -> None:
        """Fill the ledger; raises ``OutOfTime``."""
        level = self.ledger.level
        dtype = torch.float32 if level is Level.FLOAT else torch.float64
        graph = bindable(self.graph, level).to(dtype)
        spec = self.spec.to(dtype)
        if level is not Level.DEPLOYED:  # which speaks of the layers as they are executed
            graph, spec = joined(shortened(graph), spec)
            graph = graph.to(dtype)
        region = self.region.to(dtype)
        whole = Problem(graph, region, level, self.memory, self.end, step_dtype=torch.float32)
        waiting = self._waiting(whole)
        slim = len(waiting) > 1 and self._few
        if len(waiting) > 1:  # the easy ones everywhere before any time goes into a hard one
            easy = _SLIM if slim else _MANY
            for group, problem in waiting:
                self.ledger.noted(spec[group], attempted(problem, spec[group], easy), group)
        for share in (0.5, 1.0):
            waiting = self._waiting(whole)
            for k, (group, problem) in enumerate(waiting):
                now = time.monotonic()
                part = share if len(waiting) > 1 else 1.0
                end = now + part * (self.end - now) / (len(waiting) - k)  # what one leaves is for the others
                with suppress(OutOfTime):
                    self._decide(replace(problem, end=end), spec[group], group, slim)
            self._check_time()

    def _check_time(self) -> None:
        if time.monotonic() >= self.end:
            raise OutOfTime

    def _waiting(self, whole: Problem) -> list[tuple[Tensor, Problem]]:
        """Open samples, so many together as fit, and the question about them.

        Where few inputs vary, those samples of which the same ones do, and the question about what varies.
        """
        samples = torch.tensor(self.ledger.open, dtype=torch.long)
        folds = self._few and whole.level is not Level.DEPLOYED
        if folds:
            box = self.region.box()
            alike = torch.unique((box.lower < box.upper).flatten(1), dim=0, return_inverse=True)[1]
            samples = samples[alike[samples].argsort(stable=True)]
        found = []
        for block in torch.split(samples, self._at_once(whole) * (_ALIKE if folds else 1)):
            problem = folded(whole[block]) if folds else whole[block]
            parts = torch.split(torch.arange(len(block)), self._at_once(problem))
            found += [(block[part], problem[part]) for part in parts]
        return found

    def _at_once(self, problem: Problem) -> int:
        """Samples whose facts take about as much memory as a chunk of rows."""
        elements = sum(prod(node.shape) for node in problem.graph.nodes)
        return max(1, self.memory // (_PARTS * elements * problem.region.box().lower.element_size()))

    def _decide(self, problem: Problem, spec: Spec, group: Tensor, slim: bool) -> None:
        """A group of samples, from cheap bounds to the search."""
        problem.check_time()
        if not self.ledger.open:
            return
        found = self.ledger.noted(spec, attempted(problem, spec, (IBP,) if slim else _FIRST), group)
        if len(found.left):
            found = self._attacked(found, group)
        if self.ledger.open and len(found.left) and not slim:
            found = self.ledger.noted(spec, self._tightened(problem, spec, found), group)
        if not self.ledger.open or len(found.left) == 0:
            return
        book, judge = self.ledger, self.judge
        Schedule(problem, spec, found, group, book, judge, self._attack, self.pool, self._varying, slim).run()

    def _tightened(self, problem: Problem, spec: Spec, found: Attempt) -> Attempt:
        """Rows for neurons, too; with slopes of their own where that promises to prove what is left, or
        costs little: each step takes about as long as all before, on a busy machine by the processor's clock.
        """
        began = time.monotonic(), time.process_time()
        found = attempted(problem, spec, (DECIDE,), found)
        before = found.rows.lower.clone()
        found = attempted(problem, spec, (ALPHA,), found)
        left = found.left
        missing = -spec[left].worst(found.rows.lower[left])
        gained = -missing - spec[left].worst(before[left])
        now = time.monotonic()
        so_far = min(now - began[0], time.process_time() - began[1])
        cheap = _JOINT.joint * so_far < _SMALL * (problem.end - now)
        close = bool((missing < 2 * gained).float().mean() > 0.5)
        if len(left) and (cheap or close) and not self._few:
            share = replace(problem, end=now + _JOINT_SHARE * (problem.end - now))
            with suppress(OutOfTime):
                found = attempted(share, spec, (_JOINT,), found)
        return found

    @cached_property
    def _varying(self) -> int | None:
        return moving(self.region)

    @property
    def _few(self) -> bool:
        """Whether inputs are cut at first, not neurons: where few of them vary."""
        return self._varying is not None and self._varying <= FEW_INPUTS

    def _attacked(self, found: Attempt, group: Tensor) -> Attempt:
        """Without those samples that an attack has broken."""
        samples = group[found.left]
        self.ledger.tried(samples, *self.judge.confirmed(self._attack(samples, None), samples))
        return self.ledger.undecided(found, group)

    def _attack(self, samples: Tensor, starts: Tensor | None) -> Tensor:
        """Candidates for some samples, in the region as it was given."""
        with torch.inference_mode(False):
            samples = samples.clone()
            starts = None if starts is None else starts.clone()
            if self.falsify is None:
                return descended(self.judge, samples, starts)
            return self.falsify(self.region[samples], self.spec[samples], starts)
