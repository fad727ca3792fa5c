"""Budgets by their ends, curves that are bisected for each sample, and methods by their names."""

import math

import numpy as np
import pytest

from certify.budgets import Resolved, Spaced
from certify.config import DECIDERS, parse_config, read_config
from certify.errors import UsageError
from certify.job import fill, prepare
from certify.ledger import Ledger
from certify.monotone import is_asked
from certify.verdict import Verdict
from tests.certify.cli import project

POINTS = 101


def test_budgets_by_their_ends():
    assert Spaced(0.1, 0.4, 4).listed() == [0.1, 0.2, 0.3, 0.4]
    assert Resolved(0.1, 0.4, 0.1).listed() == [0.1, 0.2, 0.3, 0.4]
    assert Resolved(0.0, 0.25, 0.1).listed() == [0.0, 0.1, 0.2, 0.25]
    assert len(Resolved(0.0, 1.0, 1e-3).listed()) == 1001


@pytest.mark.parametrize("ends", [(0.4, 0.1, 0.1), (0.1, 0.1, 0.1), (0.0, 1.0, 1e-9)])
def test_ranges_without_budgets_are_refused(ends):
    with pytest.raises(UsageError, match="resolution coarser"):
        Resolved(*ends).listed()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Rows by (eps, sample) of one fine curve by bisection, and of the same budgets one by one."""
    folder = tmp_path_factory.mktemp("fine")
    config = project.make(folder)
    text = config.read_text().replace(
        "eps = [0.02, 0.05, 0.15]", "eps = {first = 0, last = 0.2, resolution = 0.002}"
    )
    text = text.replace('"crown"', '"ibp"')  # whose bounds leave much open
    head, _, tail = text.partition("[smoothing]")
    text = head + "[run]" + tail.partition("[run]")[2]
    found = []
    for name, each in (
        ("bisected", text),
        ("listed", text.replace("resolution = 0.002", f"points = {POINTS}")),
    ):
        config.write_text(each)
        fill(prepare(read_config(config)), folder / name, lambda *_: None)
        with Ledger.read(folder / name) as ledger:
            found.append({(row.eps, row.sample): row for row in ledger.verdicts()})
    return found


def test_a_fine_curve_costs_a_number_of_questions_that_is_logarithmic(runs):
    bisected, listed = (sum(map(is_asked, rows.values())) for rows in runs)
    each = math.ceil(math.log2(POINTS)) + 1  # for one end of what is open; there are two
    assert bisected <= 2 * each * project.SAMPLES < listed
    assert len(runs[0]) == len(runs[1]) == POINTS * project.SAMPLES


def test_both_ends_of_what_is_open_are_those_of_asking_everywhere(runs):
    """The largest verified and the smallest falsified budget of every sample, up to methods that waver."""
    same = 0
    for sample in range(project.SAMPLES):
        ends = []
        for rows in runs:
            mine = {eps: row.verdict for (eps, each), row in rows.items() if each == sample}
            ends.append(
                (
                    max((e for e, v in mine.items() if v is Verdict.VERIFIED), default=-1),
                    min((e for e, v in mine.items() if v is Verdict.FALSIFIED), default=9),
                )
            )
        same += ends[0] == ends[1]
        assert np.allclose(*ends, atol=0.02)
    assert same >= project.SAMPLES - 2


def test_what_counts_as_open_was_asked_around_it(runs):
    carried = [row for row in runs[0].values() if row.verdict is Verdict.UNKNOWN and not is_asked(row)]
    assert carried
    for row in carried:
        asked = [
            e for (e, s), r in runs[0].items() if s == row.sample and is_asked(r) and r.verdict is row.verdict
        ]
        assert min(asked) < row.eps < max(asked)
        assert row.detail["from_eps"] in asked


def test_the_resolution_is_part_of_the_configuration(tmp_path):
    table = {
        "model": {"path": "m"}, "data": {"path": "d"}, "deciders": {"use": ["crown"]},
        "threat": {"norm": "linf", "eps": {"first": 0, "last": 1, "points": 11}},
    }  # fmt: skip
    listed = parse_config(table)
    table["threat"]["eps"] = {"first": 0, "last": 1, "resolution": 0.1}
    assert parse_config(table).budgets == listed.budgets
    assert parse_config(table).digest() != listed.digest()
    table["threat"]["eps"] = {"first": 0, "last": 1, "resolution": 0}
    with pytest.raises(UsageError, match="resolution"):
        parse_config(table)


@pytest.mark.parametrize("name", sorted(DECIDERS))
def test_every_method_can_be_named_in_a_configuration(name):
    table = {
        "model": {"path": "m"}, "data": {"path": "d"}, "deciders": {"use": [name]},
        "threat": {"norm": "linf", "eps": 0.1},
    }  # fmt: skip
    (decider,) = parse_config(table).deciders
    assert isinstance(decider, DECIDERS[name])
    table["deciders"][name] = {"nonsense": 1}
    with pytest.raises(UsageError, match=r"unknown key deciders\..*nonsense"):
        parse_config(table)


def test_parameters_that_are_methods_are_not_given_as_words():
    table = {
        "model": {"path": "m"}, "data": {"path": "d"}, "threat": {"norm": "patch", "eps": 2},
        "deciders": {"use": ["patchsearch"], "patchsearch": {"attack": "pgd"}},
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"deciders\.patchsearch\.attack"):
        parse_config(table)
