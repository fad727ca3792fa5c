"""Proofs of what a search has verified, or would verify."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.bound import bindable, check_shapes
from bounds.graph import Graph
from bounds.proof.basics import Array
from bounds.proof.chain import Account, Chain, Facts
from bounds.proof.check import Checked, Checker
from bounds.proof.file import digest
from bounds.proof.format import Lemma, Proof, Statement
from bounds.propagate import facts as engine
from bounds.propagate.cascade import ALPHA
from bounds.propagate.crown import climbed
from bounds.propagate.problem import OutOfTime, Problem
from bounds.proving.alternatives import Mixing, Question
from bounds.proving.lemmas import Lemmas, foreseen, lemma_nodes
from bounds.proving.lower import Foresight, Whole
from bounds.proving.matching import matches
from bounds.proving.notary import Notary, OutOfMemory
from bounds.proving.statements import alternatives, statement
from bounds.proving.translation import Translation
from bounds.proving.whole import Found, easy
from bounds.rounding import Level
from bounds.search.bounding import Root
from bounds.search.chains import shortened
from bounds.search.clauses import joined
from bounds.search.ledger import Ledger
from bounds.search.neurons import GLANCE, SHARES, worthwhile
from bounds.search.questions import questions
from bounds.search.result import Status
from bounds.search.schedule import Race, Way, cuts
from bounds.search.search import Search
from bounds.search.varying import moving
from bounds.search.witness import Judge
from bounds.sets import InputSet
from bounds.spec import Spec


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
class _Asked:
    """A statement as the engine searches for its proof."""

    sight: Foresight
    problem: Problem
    spec: Spec
    mixing: Mixing
    translation: Translation
    judge: Judge

    def foreseen(self, found: Found) -> tuple[Problem, list[engine.Facts]]:
        """The problem about the parts that are left, and facts of these."""
        problem = self.problem[torch.tensor(list(found.left))]
        return problem, foreseen(problem, [found.roots[k].facts for k in found.left], self.translation)

    def worst(self, found: Found, samples: Tensor) -> Tensor:
        """Bounds of some whole parts, by the engine with the checker's intervals; (samples,)."""
        problem, spec = self.problem[samples], self.spec[samples]
        known = foreseen(problem, [found.roots[k].facts for k in samples.tolist()], self.translation)
        nothing = torch.full_like(spec.offset, -torch.inf)
        every = torch.ones_like(nothing, dtype=torch.bool)
        return spec.worst(climbed(problem, known, spec, ALPHA.steps, nothing, every))


@dataclass(frozen=True, eq=False)
class _Going:
    """A search on its way, who checks and keeps what it closes, and the book of that."""

    search: Search
    notary: Notary
    ledger: Ledger

    def closed(self, found: Found) -> Found:
        """With the trees of parts that it has closed."""
        decided = {k: self.ledger.decisions[k] for k in found.left}
        return found.closed(
            {k: list(self.notary.trees(k)) for k, each in decided.items() if each is not None}
        )


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
        found, otherwise = easy(sight, range(len(parts))), Status.UNKNOWN
        if found.left:
            asked = self._asked(sight)
            ways = cuts(asked.problem.graph, moving(self.region))
            going = [self._search(asked, found, ways[0])]
            try:
                if not ways[0]:
                    found, going[0] = self._by_neurons(asked, found, going[0])
                self._race(asked, found, going, ways)
            except OutOfTime:
                otherwise = Status.TIMEOUT
            except OutOfMemory:
                pass  # nothing that is open will be proved
            for each in going:
                found = each.closed(found)
        if found.left:
            return None, [otherwise if k in found.left else Status.VERIFIED for k in range(len(parts))]
        trees = [tree for k in sorted(found.trees) for tree in found.trees[k]]
        lemmas = [lemma for k in sorted(found.lemmas) for lemma in found.lemmas[k]]
        return Proof(self.claim, tuple(trees), lemmas=tuple(lemmas)), [Status.VERIFIED] * len(parts)

    def _race(self, asked: _Asked, found: Found, going: list[_Going], ways: Sequence[bool]) -> None:
        """Let all ways to cut share the time; those that begin are added to the ones that go already."""

        def begun(_: float) -> Search:
            going.append(self._search(asked, found, ways[len(going)]))
            return going[-1].search

        # What a notary has kept may not be lost with its batch.
        first = going[0].search
        race = Race([Way(lambda _: first), *(Way(begun) for _ in ways[1:])], self.end, grace=math.inf)
        while race.leader is not None and any(
            all(each.ledger.decisions[k] is None for each in going) for k in found.left
        ):
            race.turn()

    def _asked(self, sight: Foresight) -> _Asked:
        plain, region = bindable(self.graph, self.level).to(torch.float64), self.region.to(torch.float64)
        short, spec = shortened(plain), self.spec.expanded(len(region)).to(torch.float64)
        longer, rows = joined(short, spec)
        graph, mixing = longer.to(torch.float64), Mixing.none()
        if longer is not short:
            mixing = Mixing.of(graph, self.claim.parts[0])
        # The checker's word counts: the search may go ahead without account of its own rounding.
        level = Level.FLOAT if self.level is Level.REAL else self.level
        problem = Problem(graph, region, level, self.memory, self.end)
        translation = Translation(*matches(graph, self.checker.chain.network, region), sum(sight.sizes))
        judge = Judge.of(self.graph, self.region, spec)
        return _Asked(sight, problem, rows, mixing, translation, judge)

    def _by_neurons(self, asked: _Asked, found: Found, going: _Going) -> tuple[Found, _Going]:
        """A short search, then lemmas for what it leaves, with more time if they gain enough beside it, and
        another search. If they do not, the first one is to go on without: lemmas make proofs longer."""
        if not lemma_nodes(*asked.foreseen(found), asked.translation):
            return found, going
        left, (short, long) = self.end - time.monotonic(), SHARES
        going.search.run(time.monotonic() + GLANCE * left)
        found = going.closed(found)
        if not found.left:
            return found, going
        samples = torch.tensor(list(found.left))
        tried = self._tightened(asked, found, time.monotonic() + short * left)
        before, after = (asked.worst(each, samples) for each in (found, tried))
        if tried.left and not worthwhile(after - before, going.ledger.gained(samples), -before):
            return found, going
        if tried.left:
            tried = self._tightened(asked, tried, time.monotonic() + long * left)
        return tried, self._search(asked, tried, by_inputs=False) if tried.left else going

    def _tightened(self, asked: _Asked, found: Found, end: float) -> Found:
        """With lemmas for the parts that are left, made until some time, and what these prove at once."""
        roots, lemmas = dict[int, Whole](), dict[int, tuple[Lemma, ...]]()
        problem, known = asked.foreseen(found)
        nodes = lemma_nodes(problem, known, asked.translation)
        for place, k in enumerate(found.left):
            now, one = time.monotonic(), torch.tensor([place])
            stop = now + (end - now) / (len(found.left) - place)
            making = Lemmas(asked.sight, k, problem[one], asked.translation, list(nodes), self.leaves, stop)
            roots[k] = making.whole()
            lemmas[k] = tuple(making.made)
        return found.again(easy(asked.sight, found.left, roots, lemmas))

    def _search(self, asked: _Asked, found: Found, by_inputs: bool) -> _Going:
        """The search for what is left, with a judge to decide it."""
        every, left = range(len(self.claim.parts)), torch.tensor(list(found.left))
        ledger = Ledger.blank(time.monotonic(), self.level, False, len(every))
        ledger.settle([k for k in every if k not in found.left], Status.VERIFIED)
        translation = asked.translation
        which = list(self._questions(found, apart=not by_inputs))
        notary = Notary(asked.sight, found.roots, which, translation, asked.mixing, by_inputs, self.leaves)
        rows, sample = questions(asked.spec, left, _open(asked.spec, found), apart=not by_inputs)
        root = Root(*asked.foreseen(found), rows, sample)
        search = Search(
            sound=root,
            quick=root if by_inputs else root.quick(torch.float32),
            sample=left,
            ledger=ledger,
            judge=asked.judge,
            attack=_nothing(asked.problem.region),
            by_inputs=by_inputs,
            memory=self.pool,
            accept=notary.accept,
            nodes={match.source for match in translation.matches},
        )
        return _Going(search, notary, ledger)

    def _questions(self, found: Found, apart: bool) -> Iterator[Question]:
        """In the order of ``questions``."""
        for k, open_ in found.left.items():
            counts = [len(self.claim.parts[k].clauses[c].rows) for c in open_]
            if apart:
                yield from (Question(k, (c,), (count,)) for c, count in zip(open_, counts, strict=True))
            else:
                yield Question(k, open_, tuple(counts))


def _open(spec: Spec, found: Found) -> Tensor:
    """Bounds of rows by which ``questions`` asks for the clauses that are left, (parts, rows)."""
    lower = torch.ones_like(spec.offset)
    for k, open_ in found.left.items():
        groups = alternatives(spec, k)
        for c in open_:
            lower[k, torch.from_numpy(groups[c])] = -torch.inf
    return lower


def _nothing(region: InputSet) -> Callable[[Tensor, Tensor | None], Tensor]:
    """No attack: what is to be proved has withstood them."""
    centre = region.box().centre
    return lambda samples, starts: centre[samples] if starts is None else starts
