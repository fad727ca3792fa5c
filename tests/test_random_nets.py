"""Verdicts on random networks with thresholds next to the truth, beside exact rational enumeration."""

import pytest

from benchmarks.suites.random_nets import FAMILIES, Family, tally


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("level", ["real", "deployed"])
def test_what_is_verified_is_true(family: Family, level: str) -> None:
    found = tally(family, range(4), level)
    assert found.wrong == 0
    assert found.verified + found.falsified > 0


def test_the_questions_tell_levels_apart() -> None:
    """The same questions at level float get answers that are not true."""
    assert sum(tally(family, range(3), "float").wrong for family in FAMILIES) > 0
