"""Proofs of what a search has verified, or would verify."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bounds.bound import bindable, check_shapes
from bounds.graph import Graph
from bounds.proof.chain import Account, Chain, Facts
from bounds.proof.check import Checked, Checker
from bounds.proof.file import digest
from bounds.proof.format import Array, Lemma, Proof, Statement
from bounds.propagate import facts as engine
from bounds.propagate.cascade import ALPHA
from bounds.propagate.crown import climbed
from bounds.propagate.problem import OutOfTime, Problem
from bounds.proving.alternatives import Mixing, Question
from bounds.proving.lemmas import Lemmas, foreseen, has_lemmas
from bounds.proving.lower import Foresight
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
class _Asked:
    """A statement as the engine searches for its proof. by_inputs: whether inputs are cut, not neurons."""

    sight: Foresight
    problem: Problem
    spec: Spec
    mixing: Mixing
    translation: Translation
    judge: Judge
    by_inputs: bool

    def foreseen(self, found: Found) -> tuple[Problem, list[engine.Facts]]:
        """The problem about the parts that are left, and facts of these."""
        problem = self.problem[torch.tensor(list(found.left))]
        return problem, foreseen(problem, [found.roots[k] for k in found.left], self.translation)

    def worst(self, found: Found, samples: Tensor) -> Tensor:
        """Bounds of some whole parts, by the engine with the checker's intervals; (samples,)."""
        problem, spec = self.problem[samples], self.spec[samples]
        known = foreseen(problem, [found.roots[k] for k in samples.tolist()], self.translation)
        nothing = torch.full_like(spec.offset, -torch.inf)
        every = torch.ones_like(nothing, dtype=torch.bool)
        return spec.worst(climbed(problem, known, spec, ALPHA.steps, nothing, every))


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
        found, statuses = easy(sight, range(len(parts))), [Status.VERIFIED] * len(parts)
        if found.left:
            asked = self._asked(sight)
            found = self._by_neurons(asked, found)
            if found.left:
                found, ledger, otherwise = self._searched(asked, found, self.end)
                statuses = [each.status for each in ledger.closed(otherwise)]
        if found.left:
            return None, statuses
        trees = (tree for k in sorted(found.trees) for tree in found.trees[k])
        lemmas = (each for k in sorted(found.lemmas) for each in sorted(found.lemmas[k], key=lambda x: x.of))
        return Proof(self.claim, tuple(trees), lemmas=tuple(lemmas)), statuses

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
        translation = Translation(matches(graph, self.checker.chain.network, region), sum(sight.sizes))
        judge = Judge.of(self.graph, self.region, spec)
        return _Asked(sight, problem, rows, mixing, translation, judge, few_vary(region))

    def _by_neurons(self, asked: _Asked, found: Found) -> Found:
        """A short search, then lemmas for what it leaves: with more time where they gain enough beside it,
        and none where they do not, for they make proofs longer."""
        if asked.by_inputs or not has_lemmas(*asked.foreseen(found), asked.translation):
            return found
        left = self.end - time.monotonic()
        found, ledger, _ = self._searched(asked, found, time.monotonic() + GLANCE * left)
        if not found.left:
            return found
        short, long = SHARES
        samples = torch.tensor(list(found.left))
        tried = self._tightened(asked, found, time.monotonic() + short * left)
        before, after = (asked.worst(each, samples) for each in (found, tried))
        if tried.left and not worthwhile(after - before, ledger.gained(samples), -before):
            return found
        return self._tightened(asked, tried, time.monotonic() + long * left) if tried.left else tried

    def _tightened(self, asked: _Asked, found: Found, end: float) -> Found:
        """With lemmas for the parts that are left, made until some time, and what these prove at once."""
        roots, lemmas = dict[int, Facts](), dict[int, tuple[Lemma, ...]]()
        problem, known = asked.foreseen(found)
        nodes = has_lemmas(problem, known, asked.translation)
        for place, k in enumerate(found.left):
            now, one = time.monotonic(), torch.tensor([place])
            stop = now + (end - now) / (len(found.left) - place)
            making = Lemmas(asked.sight, k, problem[one], asked.translation, list(nodes), self.leaves, stop)
            roots[k] = making.whole()
            lemmas[k] = tuple(making.made)
        return found.again(easy(asked.sight, found.left, roots, lemmas))

    def _searched(self, asked: _Asked, found: Found, end: float) -> tuple[Found, Ledger, Status]:
        """A search until some time: with what it closes, its ledger, and the status of what is left."""
        ledger = Ledger.blank(time.monotonic(), self.level, False, len(self.claim.parts))
        ledger.settle([k for k in range(len(self.claim.parts)) if k not in found.left], Status.VERIFIED)
        search, notary = self._search(asked, found, ledger, end)
        otherwise = Status.UNKNOWN
        try:
            search.run()
        except OutOfTime:
            otherwise = Status.TIMEOUT
        except OutOfMemory:
            pass  # nothing that is open will be proved
        decided = {k: ledger.decisions[k] for k in found.left}
        closed = [k for k, each in decided.items() if each is not None and each.status is Status.VERIFIED]
        return found.closed({k: list(notary.trees(k)) for k in closed}), ledger, otherwise

    def _search(self, asked: _Asked, found: Found, ledger: Ledger, end: float) -> tuple[Search, Notary]:
        """The search for what is left, with a judge to decide it."""
        left, translation, by_inputs = torch.tensor(list(found.left)), asked.translation, asked.by_inputs
        which = list(self._questions(found, apart=not by_inputs))
        notary = Notary(asked.sight, found.roots, which, translation, asked.mixing, by_inputs, self.leaves)
        rows, sample = questions(asked.spec, left, _open(asked.spec, found), apart=not by_inputs)
        problem, known = asked.foreseen(found)
        root = Root(replace(problem, end=end), known, rows, sample)
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
        return search, notary

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


def few_vary(region: InputSet) -> bool:
    """Whether inputs are cut, not neurons."""
    box = region.box()
    return region.is_box and int((box.lower < box.upper).flatten(1).sum(1).max()) <= _FEW_INPUTS


def _nothing(region: InputSet) -> Callable[[Tensor, Tensor | None], Tensor]:
    """No attack: what is to be proved has withstood them."""
    centre = region.box().centre
    return lambda samples, starts: centre[samples] if starts is None else starts
