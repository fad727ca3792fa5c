"""Proofs of what a search has verified, or would verify."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bounds.bound import bindable, check_shapes
from bounds.graph import Graph
from bounds.interval import Interval
from bounds.proof.chain import Account, Chain, Facts
from bounds.proof.check import Checked, Checker
from bounds.proof.file import digest
from bounds.proof.format import Array, Proof, Statement
from bounds.propagate import facts as engine
from bounds.propagate.crown import forward_facts
from bounds.propagate.problem import OutOfTime, Problem
from bounds.proving.alternatives import Mixing, Question
from bounds.proving.lower import Foresight
from bounds.proving.matching import matches
from bounds.proving.notary import Notary, OutOfMemory
from bounds.proving.statements import alternatives, statement
from bounds.proving.translation import Translation
from bounds.proving.whole import Easy, easy
from bounds.rounding import Level
from bounds.search.bounding import Root
from bounds.search.chains import shortened
from bounds.search.clauses import joined
from bounds.search.ledger import Ledger
from bounds.search.questions import questions
from bounds.search.result import Status
from bounds.search.search import Search
from bounds.search.witness import Judge
from bounds.sets import InputSet
from bounds.spec import Spec

_FEW_INPUTS = 12


@dataclass(frozen=True, eq=False)
class _Timed(Chain):
    """The checker's chain of bounds, which ends some time."""

    end: float

    def lower(self, facts: Facts, value: int, rows: Array, account: Account) -> Array:
        if time.monotonic() >= self.end:
            raise OutOfTime
        return super().lower(facts, value, rows, account)


@dataclass(frozen=True, eq=False)
class Attempted:
    """A proof that the checker has accepted, and what it found; None where some part of the statement was not
    proved. statuses: of all parts."""

    proof: Proof | None
    checked: Checked | None
    statuses: Sequence[Status]


def prove(
    graph: Graph,
    region: InputSet,
    spec: Spec,
    model: bytes,
    *,
    timeout: float = 60.0,
    level: Level | str = Level.REAL,
    memory: int = 2**28,
    pool: int = 2**31,
    leaves: int = 2**30,
) -> Attempted:
    """Search for a proof that the checker accepts.

    The search is that of ``verify``, but a domain is closed only where the checker's own chain of bounds
    proves it. model: the bytes of the ONNX file that the graph was read from. leaves: bytes that the proof
    may take before it is packed; see ``verify`` for the other limits. The timeout covers the checker, too.

    Raises ``Refused`` for networks that the checker does not read, ``InvalidInput`` for regions that are no
    boxes and level float, ``Unsupported`` for operators without bounds.
    """
    level, end = Level(level), time.monotonic() + timeout
    check_shapes(graph, region, spec)
    claim = statement(digest(model), level, region, spec)
    checker = Checker(model, level.value)
    checker.chain = _Timed(checker.chain.network, checker.chain.a, checker.chain.deployed, end)
    try:
        with torch.inference_mode():
            proof, statuses = _Call(
                graph, region, spec, level, claim, checker, memory, pool, leaves, end
            ).run()
        return Attempted(proof, None if proof is None else checker.accept(proof), statuses)
    except OutOfTime:
        return Attempted(None, None, [Status.TIMEOUT] * len(region))


@dataclass(frozen=True, eq=False)
class _Call:
    graph: Graph
    region: InputSet
    spec: Spec
    level: Level
    claim: Statement
    checker: Checker
    memory: int
    pool: int
    leaves: int
    end: float

    def run(self) -> tuple[Proof | None, Sequence[Status]]:
        """The proof, if there is one, and the statuses of all parts; raises ``OutOfTime`` early on."""
        network, parts = self.checker.chain.network, self.claim.parts
        sight = Foresight(self.checker, parts, [network.steps[k].size for k in network.functions])
        found = easy(sight)
        ledger = Ledger.blank(time.monotonic(), self.level, False, len(parts))
        ledger.settle([k for k in range(len(parts)) if k not in found.left], Status.VERIFIED)
        otherwise, trees = Status.UNKNOWN, found.trees
        if found.left:
            search, notary = self._search(sight, found, ledger)
            try:
                search.run()
            except OutOfTime:
                otherwise = Status.TIMEOUT
            except OutOfMemory:
                pass  # nothing that is open will be proved
        statuses = [each.status for each in ledger.closed(otherwise)]
        if set(statuses) != {Status.VERIFIED}:
            return None, statuses
        return Proof(self.claim, (*trees, *(notary.trees() if found.left else ()))), statuses

    def _search(self, sight: Foresight, found: Easy, ledger: Ledger) -> tuple[Search, Notary]:
        """The search for what is left, with a judge to decide it."""
        left = torch.tensor(list(found.left))
        plain, region = bindable(self.graph, self.level).to(torch.float64), self.region.to(torch.float64)
        short = shortened(plain)
        given = self.spec.expanded(len(region)).to(torch.float64)
        longer, spec = joined(short, given)
        graph, mixing = longer.to(torch.float64), Mixing.none()
        if longer is not short:
            mixing = Mixing.of(graph, self.claim.parts[0])
        by_inputs = few_vary(region)
        # The checker's word counts: the search may go ahead without account of its own rounding.
        level = Level.FLOAT if self.level is Level.REAL else self.level
        problem = Problem(graph, region[left], level, self.memory, self.end)
        translation = Translation(matches(graph, self.checker.chain.network, region), sum(sight.sizes))
        asked = list(self._questions(found, apart=not by_inputs))
        notary = Notary(sight, found.roots, asked, translation, mixing, by_inputs, self.leaves)
        rows, sample = questions(spec, left, _open(spec, found), apart=not by_inputs)
        root = Root(problem, _foreseen(problem, notary), rows, sample)
        search = Search(
            sound=root,
            quick=root if by_inputs else root.quick(torch.float32),
            sample=left,
            ledger=ledger,
            judge=Judge.of(self.graph, self.region, given),
            attack=_nothing(region),
            by_inputs=by_inputs,
            memory=self.pool,
            accept=notary.accept,
            nodes={match.source for match in translation.matches},
        )
        return search, notary

    def _questions(self, found: Easy, apart: bool) -> Iterator[Question]:
        """In the order of ``questions``."""
        for k, open_ in found.left.items():
            counts = [len(self.claim.parts[k].clauses[c].rows) for c in open_]
            if apart:
                yield from (Question(k, (c,), (count,)) for c, count in zip(open_, counts, strict=True))
            else:
                yield Question(k, open_, tuple(counts))


def _open(spec: Spec, found: Easy) -> Tensor:
    """Bounds of rows by which ``questions`` asks for the clauses that are left, (parts, rows)."""
    lower = torch.ones_like(spec.offset)
    for k, open_ in found.left.items():
        groups = alternatives(spec, k)
        for c in open_:
            lower[k, torch.from_numpy(groups[c])] = -torch.inf
    return lower


def _foreseen(problem: Problem, notary: Notary) -> list[engine.Facts]:
    """The engine's facts with the checker's intervals where both know the same values: no tighter, for the
    search is to foresee what the checker will find."""
    known, roots = forward_facts(problem, tighten=False), list(notary.roots.values())
    for match in notary.translation.matches:
        shape = known[match.source].interval.lower.shape
        found = [root.values[match.value] for root in roots]
        ends = [x.low for x in found], [x.high for x in found]
        low, high = (torch.from_numpy(np.concatenate(each)).view(shape) for each in ends)
        known[match.source] = replace(known[match.source], interval=Interval(low, high))
    return forward_facts(problem, tighten=False, known=known)


def few_vary(region: InputSet) -> bool:
    """Whether inputs are cut, not neurons."""
    box = region.box()
    return region.is_box and int((box.lower < box.upper).flatten(1).sum(1).max()) <= _FEW_INPUTS


def _nothing(region: InputSet) -> Callable[[Tensor, Tensor | None], Tensor]:
    """No attack: what is to be proved has withstood them."""
    centre = region.box().centre
    return lambda samples, starts: centre[samples] if starts is None else starts
