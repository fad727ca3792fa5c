"""Whoever leads, verdicts are true; and who promises to be done sooner comes to lead."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import pytest
import torch

import bounds
from bounds.bound import bindable
from bounds.propagate.cascade import CROWN_IBP, IBP, attempted
from bounds.propagate.problem import OutOfTime, Problem
from bounds.rounding import Level
from bounds.search import Status, schedule
from bounds.search.ledger import Ledger
from bounds.search.schedule import Schedule, Way
from bounds.search.search import Search
from bounds.search.slices import Slices
from bounds.search.witness import Judge
from bounds.spec import Spec

from ...strategies import cnn, mlp
from .oracles import least_by_milp
from .test_verify import box, check_close_calls, shifted, shrinking, spec_of

NETS: dict[str, Callable[[int], bounds.Graph]] = {
    "few inputs": mlp,
    "some inputs": shrinking,
    "convolutions": cnn,
}


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everyone has as much time as who leads, and leads as soon as anything is settled."""
    monkeypatch.setattr(schedule, "_OTHERS", (1.0, 5e-3))
    monkeypatch.setattr(schedule, "_PROGRAMS", (0.2, 5e-3))
    monkeypatch.setattr(schedule, "_LEADS", 0.0)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Clocks that only the test moves."""
    hand = [0.0]
    for name in ("monotonic", "process_time"):
        monkeypatch.setattr(time, name, lambda: hand[0])
    return hand


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("name", NETS)
def test_close_calls_whoever_leads(name: str) -> None:
    for seed in range(3):
        check_close_calls(NETS[name](seed), seed)


@pytest.mark.parametrize("by_inputs", [True, False])
def test_a_search_that_is_broken_off_ends_as_one_that_is_not(by_inputs: bool) -> None:
    for maker in (mlp, shrinking):
        graph = maker(1)
        region, spec = box(graph, 1, 0.3), spec_of(graph, 1, None)
        least = least_by_milp(graph, region, spec)
        for off in (3e-4, -3e-4):
            asked = shifted(spec, off - least)
            whole, broken = (plan_of(graph, region, asked) for _ in range(2))
            with torch.inference_mode():
                one, other = whole._search(by_inputs), broken._search(by_inputs)
                assert one is not None
                assert other is not None
                one.run()
                while broken._is_open and not other.over:
                    with suppress(OutOfTime):
                        other.run(end=time.monotonic())  # loses the batch
                    other.run(time.monotonic() + 1e-2, whole.problem.end)
                assert one.over
                status, again = (each.ledger.closed(Status.UNKNOWN)[0].status for each in (whole, broken))
            assert again is status
            assert status is not (Status.FALSIFIED if off > 0 else Status.VERIFIED)
            assert status is not Status.UNKNOWN or not by_inputs


def plan_of(graph: bounds.Graph, region: bounds.Box, spec: Spec, timeout: float = 60.0) -> Schedule:
    """The schedule of one question, after the cheapest bounds."""
    end = time.monotonic() + timeout
    problem = Problem(bindable(graph, Level.REAL).to(torch.float64), region, Level.REAL, 2**28, end)
    book = Ledger.blank(time.monotonic(), Level.REAL, False, len(region))
    with torch.inference_mode():
        found = attempted(problem, spec, (IBP, CROWN_IBP))
    judge, group = Judge.of(graph, region, spec), torch.arange(len(region))
    varying = int((region.lower < region.upper).flatten(1).sum(1).max())
    return Schedule(
        problem, spec, found, group, book, judge, lambda x, _: centre(region, x), 2**31, varying, False
    )


def centre(region: bounds.Box, samples: torch.Tensor) -> torch.Tensor:
    return region.box().centre[samples]


@dataclass(eq=False)
class Pretended:
    """A search that settles so much per second until it has settled all, and verifies then."""

    now: list[float]
    ledger: Ledger
    speed: float
    log: list[float]
    closed: float = 0.0

    def run(self, stop: float, end: float) -> None:
        while self.now[0] < stop and not self.over:
            if self.now[0] >= end:
                raise OutOfTime
            self.now[0] += 0.01
            self.log.append(self.speed)
            self.closed += 0.01 * self.speed
        if self.over:
            self.ledger.settle([0], Status.VERIFIED)

    @property
    def over(self) -> bool:
        return self.closed >= 1

    def weakest(self, count: int) -> None:
        return None


@pytest.mark.parametrize(
    ("first", "second", "leads"), [(0.002, 0.05, 0.05), (0.02, 0.025, 0.02), (0.05, 0.002, 0.05)]
)
def test_who_settles_far_more_leads(
    now: list[float], monkeypatch: pytest.MonkeyPatch, first: float, second: float, leads: float
) -> None:
    graph = mlp(0)
    plan = plan_of(graph, box(graph, 0, 0.3), spec_of(graph, 0, None), timeout=100.0)
    log: list[float] = []
    pretended = [Pretended(now, plan.ledger, speed, log) for speed in (first, second)]
    ways = [Way(lambda _, p=p: cast(Search, p)) for p in pretended]
    monkeypatch.setattr(plan, "_ways", lambda: ways)
    plan.run()
    assert plan.ledger.closed(Status.UNKNOWN)[0].status is Status.VERIFIED
    assert log[0] == first
    assert log.count(leads) > 0.6 * len(log)
    assert now[0] < 1.5 / leads
    if leads == first:  # the other one has had its share, and no more
        assert 0 < log.count(second) <= 0.11 * log.count(first) + 1


def test_who_cannot_go_on_leaves_it_to_the_others(now: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    graph = mlp(0)

    def fails(_: float) -> Search:
        raise RuntimeError("can't allocate memory: you tried to allocate 1 bytes")

    def nothing_left(_: float) -> None:
        return None

    for others, wanted in (([0.1], Status.VERIFIED), ([], Status.UNKNOWN)):
        plan = plan_of(graph, box(graph, 0, 0.3), spec_of(graph, 0, None), timeout=now[0] + 100.0)
        able = [cast(Search, Pretended(now, plan.ledger, speed, [])) for speed in others]
        ways = [Way(fails), Way(nothing_left), *(Way(lambda _, p=p: p) for p in able)]
        monkeypatch.setattr(plan, "_ways", lambda ways=ways: ways)
        plan.run()
        assert plan.ledger.closed(Status.TIMEOUT)[0].status is wanted


@pytest.mark.parametrize(("pays", "searches"), [(False, 1), (True, 2)])
def test_a_search_goes_on_where_tighter_neurons_do_not_pay(
    pays: bool, searches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = shrinking(0)
    region, spec = box(graph, 0, 0.3), spec_of(graph, 0, None)
    plan = plan_of(graph, region, shifted(spec, 1e-4 - least_by_milp(graph, region, spec)))
    begun, search = [], plan._search
    monkeypatch.setattr(schedule, "GLANCE", 0.0)
    monkeypatch.setattr(schedule, "layers", lambda problem, facts: [1])
    monkeypatch.setattr(schedule, "tightened", lambda problem, facts, end: facts)
    monkeypatch.setattr(schedule, "worthwhile", lambda *_: pays)
    monkeypatch.setattr(plan, "_search", lambda by_inputs: begun.append(by_inputs) or search(by_inputs))
    with torch.inference_mode():
        plan.run()
    assert plan.ledger.closed(Status.UNKNOWN)[0].status is Status.VERIFIED
    assert begun == [False] * searches


def test_other_errors_are_not_swallowed() -> None:
    def fails(_: float) -> Search:
        raise RuntimeError("sizes do not match")

    with pytest.raises(RuntimeError, match="sizes"):
        Way(fails).work(math.inf, math.inf)


def test_slices_keep_to_their_share(now: list[float]) -> None:
    slices, led = Slices(0.05, 0.5), 0.0
    spent = []
    while led < 200:
        if led < slices.due:
            led += 1.0
            continue
        with slices.taken() as stop:
            now[0] = stop
        assert slices.spent <= 0.05 * led
        spent.append(slices.spent)
    assert spent == [0.5, 1.5, 3.5, 7.5]
    assert slices.after(300.0).due == (15.0 + 8.0) / 0.05


def test_few_or_some_inputs_begin_and_many_are_not_cut() -> None:
    def kinds(inputs: int) -> Iterator[Any]:
        graph = shrinking(0, inputs)
        plan = plan_of(graph, box(graph, 0, 0.3), spec_of(graph, 0, None))
        for way in plan._ways():
            search = way.begin(math.inf)
            assert search is not None
            yield search.by_inputs

    assert list(kinds(12)) == [True, False]
    assert list(kinds(13)) == [False, True]
    assert list(kinds(64)) == [False, True]
    assert list(kinds(65)) == [False]
