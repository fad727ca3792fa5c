"""What floats are fooled by, the levels of a proof are not."""

import math

import pytest
import torch

import bounds
from benchmarks.deceptive import Deception, boundary, deceptions
from bounds.search import Status, verify

CASES = {case.name: case for case in deceptions()}
TRUE_BUT_EXECUTED_WRONGLY = {
    "absorbed", "summation order", "many layers", "long sum", "overflow", "tied classes",
}  # fmt: skip
FALSE_BUT_EXECUTED_WELL = set(CASES) - TRUE_BUT_EXECUTED_WRONGLY


def says_verified(case: Deception, level: str) -> bool:
    [found] = verify(case.graph, case.region, case.spec, level=level, timeout=0.2)
    return found.status is Status.VERIFIED


def some_float_bound_proves(case: Deception) -> bool:
    """By interval analysis or CROWN, in float32 or float64, without account of rounding."""
    lower = [
        float(bounds.bound(case.graph, case.region, case.spec, method, dtype, "float").lower)
        for method in ("ibp", "crown")
        for dtype in (torch.float32, torch.float64)
    ]
    return max(lower) > 0


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 12
    assert len(FALSE_BUT_EXECUTED_WELL) >= 6


@pytest.mark.parametrize("name", sorted(FALSE_BUT_EXECUTED_WELL))
def test_false_in_exact_arithmetic_though_floats_agree(name: str) -> None:
    case = CASES[name]
    assert case.region.contains(case.point[None]).all()
    assert case.exact() <= 0 < case.executed()
    assert some_float_bound_proves(case)
    assert says_verified(case, "float")
    assert not says_verified(case, "real")
    assert not says_verified(case, "deployed")


@pytest.mark.parametrize("name", sorted(TRUE_BUT_EXECUTED_WRONGLY))
def test_true_in_exact_arithmetic_though_not_when_executed(name: str) -> None:
    case = CASES[name]
    assert case.region.contains(case.point[None]).all()
    assert case.exact() > 0
    assert not 0 < case.executed() < math.inf
    assert some_float_bound_proves(case)
    assert says_verified(case, "real")
    assert not says_verified(case, "deployed")


@pytest.mark.parametrize("missing", [2.0**-40, 2.0**-54])
def test_thresholds_just_beyond_the_truth(missing: float) -> None:
    """Over many seeds some float bound lies; which of them do depends on the machine's sums."""
    fooled = 0
    for seed in range(8):
        case = boundary(seed, missing)
        assert case.exact() < 0
        fooled += some_float_bound_proves(case)
        assert not says_verified(case, "real")
        assert not says_verified(case, "deployed")
    assert fooled > 0
