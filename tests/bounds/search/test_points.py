"""Programs find counterexamples that attacks miss, decide nothing by themselves, and keep to their time."""

import math
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

import bounds
from benchmarks.planted import Planted, planted
from bounds.bound import bindable
from bounds.ops.linear import Linear
from bounds.ops.sshape import Sigmoid
from bounds.programs.exact import ExactProgram
from bounds.programs.maps import Floats
from bounds.propagate.alpha import Pace
from bounds.propagate.cascade import IBP, attempted
from bounds.propagate.problem import Problem
from bounds.rounding import Level
from bounds.search import Status, points, schedule, verify
from bounds.search.bounding import Bounded, Root, bounded
from bounds.search.branching import deciding_rows
from bounds.search.domains import Cuts, Domains
from bounds.search.points import point
from bounds.search.witness import Judge, descended
from bounds.spec import Spec

Below = Callable[[ExactProgram, Floats, float, float], tuple[float, Floats | None]]


@pytest.fixture(scope="module")
def hidden() -> Planted:
    """Attacks find nothing, and the search needs some hundred domains."""
    return planted(0, 5, 16)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs are asked soon, and for longer than whoever leads."""
    monkeypatch.setattr(schedule, "_PROGRAMS", (20.0, 1.0))


def whole(net: Planted) -> tuple[Bounded, Spec]:
    """The whole region as one domain after bounding."""
    problem = Problem(bindable(net.graph, Level.REAL).to(torch.float64), net.region, Level.REAL, 2**28)
    facts = attempted(problem, net.spec, (IBP,)).facts
    root = Root(problem, facts, net.spec, torch.zeros(1, dtype=torch.long))
    domain = Domains(root.sample, Cuts.none(1, root.sample.device), torch.tensor([-torch.inf]), {}, {})
    return bounded(root, domain, Pace(2), refine=True), root.asked(root.sample)


def asked(found: Bounded, spec: Spec, seconds: float = 20.0) -> tuple[int, torch.Tensor] | None:
    with torch.inference_mode():
        return point(found, spec, deciding_rows(found, spec), seconds, math.inf)


def test_programs_see_what_attacks_miss(hidden: Planted) -> None:
    judge = Judge.of(hidden.graph, hidden.region, hidden.spec)
    one = torch.zeros(1, dtype=torch.long)
    assert judge.confirmed(descended(judge, one, None), one)[1] == []
    with torch.no_grad():
        found, spec = whole(hidden)
    tried = asked(found, spec)
    assert tried is not None
    assert judge.confirmed(tried[1][None], one)[1] != []


@pytest.mark.usefixtures("eager")
def test_a_search_with_programs_needs_fewer_domains(hidden: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    [quick] = verify(hidden.graph, hidden.region, hidden.spec, timeout=60)
    monkeypatch.setattr(points, "_MOST_UNDECIDED", -1)
    [slow] = verify(hidden.graph, hidden.region, hidden.spec, timeout=60)
    assert quick.status is slow.status is Status.FALSIFIED
    assert quick.witness is not None
    assert float(hidden.graph(quick.witness[None])) <= 0
    assert quick.domains * 4 < slow.domains


@pytest.mark.usefixtures("eager")
def test_programs_decide_what_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    net = planted(1, 13, 1)  # neurons are cut
    [found] = verify(net.graph, net.region, net.spec, timeout=20)
    assert found.status is Status.FALSIFIED
    assert found.witness is not None
    assert float(net.graph(found.witness[None])) <= 0
    monkeypatch.setattr(points, "_MOST_UNDECIDED", -1)
    [missing] = verify(net.graph, net.region, net.spec, timeout=2)
    assert missing.status is Status.TIMEOUT


def _nothing(*_: object) -> tuple[float, Floats | None]:
    return -math.inf, None


def _never(*_: object) -> tuple[float, Floats | None]:
    return math.inf, None


def _middle(program: ExactProgram, row: Floats, most: float, seconds: float) -> tuple[float, Floats | None]:
    return -1.0, np.zeros(5)


def _far(program: ExactProgram, row: Floats, most: float, seconds: float) -> tuple[float, Floats | None]:
    return -1.0, np.full(5, 1e30)


def _broken(program: ExactProgram, row: Floats, most: float, seconds: float) -> tuple[float, Floats | None]:
    return math.nan, np.full(5, np.nan)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("lie", [_nothing, _never, _middle, _far, _broken])
def test_a_solver_that_lies_changes_no_verdict(
    hidden: Planted, lie: Below, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def below(program: ExactProgram, row: Floats, most: float, seconds: float) -> tuple[float, Floats | None]:
        calls.append(seconds)
        return lie(program, row, most, seconds)

    monkeypatch.setattr(ExactProgram, "below", below)
    raised = Spec(hidden.spec.matrix, hidden.spec.offset + 4.0)
    [false] = verify(hidden.graph, hidden.region, hidden.spec, timeout=60)
    assert false.status is Status.FALSIFIED
    assert calls
    [true] = verify(hidden.graph, hidden.region, raised, timeout=60)
    assert true.status is Status.VERIFIED


@pytest.mark.usefixtures("eager")
def test_the_deadline_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "_SPARE", 0.0)
    net, began = planted(0, 20, 32), 0.0
    limits = []
    below = ExactProgram.below

    def noted(program: ExactProgram, row: Floats, most: float, seconds: float) -> tuple[float, Floats | None]:
        limits.append(time.monotonic() + seconds - began)
        return below(program, row, most, seconds)

    monkeypatch.setattr(ExactProgram, "below", noted)
    began = time.monotonic()
    [found] = verify(net.graph, net.region, net.spec, timeout=3)
    assert time.monotonic() - began < 5
    assert found.status is not Status.VERIFIED
    assert limits
    assert max(limits) < 3.1


def test_curved_functions_are_named() -> None:
    builder = bounds.Builder((2,))
    here = builder.apply(Linear(), [builder.input], (torch.ones(2, 2), torch.zeros(2)))
    here = builder.apply(Linear(), [builder.apply(Sigmoid(), [here])], (torch.ones(1, 2), torch.zeros(1)))
    box = bounds.Box(-torch.ones(1, 2).double(), torch.ones(1, 2).double())
    spec = Spec(torch.ones(1, 1, 1).double(), torch.full((1, 1), -0.5).double())
    net = Planted(builder.build(here), box, spec, torch.zeros(2))
    with torch.no_grad():
        found, asking = whole(net)
    with pytest.raises(bounds.Unsupported, match="linear pieces"):
        asked(found, asking)
