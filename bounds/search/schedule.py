"""Whose turn it is: inputs are cut, neurons are cut, neurons are made tighter, or programs are asked.

Which of them gets anywhere on a network cannot be told beforehand. Its shape says who leads at first. The
others get slices within a small share of the leader's time, and who promises to be done far sooner, by what
it has settled in its own time, leads from then on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from bounds.bound import is_out_of_memory
from bounds.errors import Unsupported
from bounds.graph import Graph
from bounds.kinds import Pointwise
from bounds.propagate.cascade import ALPHA, DECIDE, SLIM, Attempt, attempted
from bounds.propagate.problem import OutOfTime, Problem
from bounds.search.bounding import Root
from bounds.search.branching import deciding_rows
from bounds.search.ledger import Ledger
from bounds.search.neurons import GLANCE, SHARES, layers, tightened, worthwhile
from bounds.search.points import point, worth_asking
from bounds.search.questions import questions
from bounds.search.result import Status
from bounds.search.search import Search
from bounds.search.slices import Slices
from bounds.search.witness import Judge
from bounds.spec import Spec

# Inputs that vary: up to so many, these are cut at first; up to so many, it is tried beside neurons.
FEW_INPUTS, _SOME_INPUTS = 12, 64
# Of the leader's time, a share and the first slice in seconds: for another way to cut, and for programs.
_OTHERS, _PROGRAMS = (0.1, 0.3), (0.05, 0.5)
_LEADS = 1.5  # how much sooner another way must promise to be done to lead
_SPARE = 2.0  # seconds before the end from which on it is too late to ask a program
_ASKED = 8  # domains at most that a program is asked about


def cuts(graph: Graph, varying: int | None) -> list[bool]:
    """The ways to cut a network, the one to begin with first: whether inputs are cut, not neurons.

    varying: how many inputs of a sample vary at most, None where the region is no box.
    """
    if varying is None or varying > _SOME_INPUTS:
        return [False]
    if varying > FEW_INPUTS:
        return [False, True]
    return [True, False] if any(isinstance(node.op, Pointwise) for node in graph.nodes) else [True]


@dataclass(eq=False)
class Way:
    """A way to cut, and how far it has come.

    begin: makes its search by some time, None where nothing is left to be searched. spent: seconds.
    """

    begin: Callable[[float], Search | None]
    slices: Slices = field(default_factory=lambda: Slices(*_OTHERS))
    search: Search | None = None
    spent: float = 0.0
    failed: bool = False

    def work(self, stop: float, end: float) -> None:
        """Go on, see ``Search.run``; raises ``OutOfTime``."""
        began = time.monotonic(), time.process_time()
        try:
            if self.search is None:
                self.search = self.begin(end)
            if self.search is None:
                self.failed = True
            else:
                self.search.run(stop, end)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.failed = True
        finally:
            # on a busy machine the clock runs ahead of the work
            self.spent += min(time.monotonic() - began[0], time.process_time() - began[1])

    @property
    def over(self) -> bool:
        """Whether it cannot go on."""
        return self.failed or (self.search is not None and self.search.over)

    @property
    def left(self) -> float:
        """Seconds for the rest of the question, if it goes on as so far."""
        closed = 0.0 if self.search is None or self.over else self.search.closed
        return self.spent * (1 / closed - 1) if closed > 0 else math.inf


@dataclass(eq=False)
class Race:
    """Ways to cut that share the time, the first one being the leader.

    end: of all time. grace: how many times as long as its slice another way may take to come to a stop before
    it is broken off, at the loss of its batch. led: seconds that leaders have had.
    """

    ways: list[Way]
    end: float
    grace: float = 1.0
    led: float = 0.0

    @property
    def leader(self) -> Way | None:
        """The first of those that can go on."""
        return next((way for way in self.ways if not way.over), None)

    def turn(self, due: float = math.inf) -> None:
        """One turn, of a way whose slice is due or of the leader; raises ``OutOfTime`` at the end.

        due: when, in the leader's time, somebody else is to have one.
        """
        leader, *others = (way for way in self.ways if not way.over)
        other = next((way for way in others if self.led >= way.slices.due), None)
        if other is not None:
            self._follow(other)
            if _LEADS * other.left < leader.left:
                leader.slices = other.slices.after(self.led)
                self.ways.sort(key=lambda way: way is not other)
            return
        before = leader.spent
        pause = min([due, *(way.slices.due for way in others)]) - self.led
        leader.work(time.monotonic() + max(pause, 0.0), self.end)
        self.led += leader.spent - before

    def _follow(self, way: Way) -> None:
        """A slice for a way that does not lead."""
        with way.slices.taken() as stop, suppress(OutOfTime):
            way.work(stop, min(stop + self.grace * way.slices.seconds, self.end))
        if time.monotonic() >= self.end:
            raise OutOfTime


@dataclass(eq=False)
class Schedule:
    """All that is done about a group of samples which bounds and attacks have left open.

    found: what is known of them. attack: see ``Search``. pool: bytes for waiting domains. varying: how many
    inputs of a sample vary at most, None where the region is no box. slim: whether neurons are bounded by
    zonotopes where inputs are cut.
    """

    problem: Problem
    spec: Spec
    found: Attempt
    group: Tensor
    ledger: Ledger
    judge: Judge
    attack: Callable[[Tensor, Tensor | None], Tensor]
    pool: int
    varying: int | None
    slim: bool

    def run(self) -> None:
        """Until all samples are decided or nobody can go on; raises ``OutOfTime``."""
        ways = self._ways()
        if self.varying is None or self.varying > FEW_INPUTS:
            self._tighten(ways[0])
        race, programs = Race(ways, self.problem.end), Slices(*_PROGRAMS)
        if not worth_asking(self.problem.graph):
            programs.seconds = math.inf
        while self._is_open and (leader := race.leader) is not None:
            if race.led >= programs.due:
                self._ask(leader, programs)
            race.turn(programs.due)
        self.ledger.settle(self.group.tolist(), Status.UNKNOWN)

    def _ways(self) -> list[Way]:
        """All ways to cut this network, the one to begin with first."""
        begin = {True: self._by_inputs, False: self._by_neurons}
        return [Way(begin[by_inputs]) for by_inputs in cuts(self.problem.graph, self.varying)]

    @property
    def _is_open(self) -> bool:
        return bool(set(self.ledger.open) & set(self.group.tolist()))

    def _ask(self, leader: Way, programs: Slices) -> None:
        """A slice for programs, about the worst domains that wait."""
        too_late = time.monotonic() + programs.seconds + _SPARE > self.problem.end
        found = None if too_late or leader.search is None else leader.search.weakest(_ASKED)
        if leader.search is None or found is None:
            programs.seconds = math.inf
            return
        asked = leader.search.quick.asked(found.domains.question)
        seconds = programs.seconds
        try:
            with programs.taken():
                tried = point(found, asked, deciding_rows(found, asked), seconds, self.problem.end)
        except Unsupported:
            programs.seconds = math.inf
            return
        if tried is not None:
            leader.search.tried(found, *tried)

    def _tighten(self, leader: Way) -> None:
        """A short search, then tighter intervals of single neurons: where they gain enough beside that, for
        longer, and for another search, whose domains all share them."""
        left = self.problem.end - time.monotonic()
        if not layers(self.problem[self.found.left], self.found.facts):
            return
        leader.work(time.monotonic() + GLANCE * left, self.problem.end)
        self._refresh()
        for share in SHARES:
            if not self._is_open:
                break
            by_search, before = self.ledger.gained(self.group[self.found.left]), self.found
            facts = tightened(self.problem[self.found.left], before.facts, time.monotonic() + share * left)
            known = replace(before, facts=facts, last=ALPHA)
            self.found = attempted(self.problem, self.spec, (ALPHA,), known)
            missing = -_worst(self.spec, before, before.left)
            by_neurons = _worst(self.spec, self.found, before.left) + missing
            self.found = self.ledger.noted(self.spec, self.found, self.group)
            pays = worthwhile(by_neurons, by_search, missing)
            if pays or leader.over:
                leader.search, leader.failed = None, False
            if not pays:
                break

    def _refresh(self) -> None:
        self.found = self.ledger.undecided(self.found, self.group)

    def _by_inputs(self, end: float) -> Search | None:
        self._refresh()
        return self._search(by_inputs=True)

    def _by_neurons(self, end: float) -> Search | None:
        self._refresh()
        if self.slim:  # neurons had no rows of their own so far
            problem = replace(self.problem, end=end)
            found = attempted(problem, self.spec, (DECIDE, ALPHA), self.found)
            self.found = self.ledger.noted(self.spec, found, self.group)
        return self._search(by_inputs=False)

    def _search(self, by_inputs: bool) -> Search | None:
        """Branch and bound on what is left of the group."""
        found = self.found
        if len(found.left) == 0:
            return None
        asked, place = questions(self.spec, found.left, found.rows.lower, apart=not by_inputs)
        generators = SLIM.generators if self.slim and by_inputs else None
        root = Root(self.problem[found.left], found.facts, asked, place, generators)
        # Where inputs are cut a proof would begin without the parents' neurons and cost more than it saves.
        searched_as_proved = by_inputs or not self.problem.rounded
        quick = root if searched_as_proved else root.quick(torch.float32).condensed()
        sample = self.group[found.left]
        return Search(root, quick, sample, self.ledger, self.judge, self.attack, by_inputs, self.pool)


def _worst(spec: Spec, found: Attempt, samples: Tensor) -> Tensor:
    """The bounds that decide some samples, (samples,)."""
    return spec[samples].worst(found.rows.lower[samples])
