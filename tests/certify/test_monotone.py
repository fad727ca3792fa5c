"""Verdicts carried from one eps to another, against membership computed by hand."""

import numpy as np
import pytest
import torch

from bounds.rounding import Level
from certify.contradiction import Cause
from certify.errors import Contradiction
from certify.model import Model
from certify.monotone import bisection, check, implied
from certify.query import Query
from certify.rows import VerdictRow
from certify.run import Run
from certify.threat import L1, L2, Linf
from certify.verdict import Verdict

RUN = Run()
MODEL = Model(lambda x: x, None, (2,), 2, (0.0, 1.0), "identity", "d")
X = torch.tensor([[0.5, 0.5], [0.0, 1.0], [0.25, 0.75]])


def query(threat, samples=(10, 11, 12)):
    return Query(MODEL, X[: len(samples)], torch.zeros(len(samples), dtype=torch.long), threat, samples)


def verified(eps, sample=10):
    return VerdictRow(eps, sample, Verdict.VERIFIED, "CROWN()", 0.5, Level.REAL)


def falsified(eps, witness, sample=10):
    return VerdictRow(eps, sample, Verdict.FALSIFIED, "PGD()", witness=np.array(witness, dtype=np.float32))


def test_verified_holds_for_every_smaller_eps_and_no_larger():
    row = implied(query(Linf(0.1)), 0.1, [verified(0.2)])[10]
    assert (row.verdict, row.eps, row.margin, row.level) == (Verdict.VERIFIED, 0.1, 0.5, Level.REAL)
    assert row.detail == {"from_eps": 0.2}
    assert implied(query(Linf(0.3)), 0.3, [verified(0.2)]) == {}


@pytest.mark.parametrize(
    ("threat", "inside"),
    [
        (Linf(0.25), True),
        (Linf(0.24), False),
        (L2(0.36), True),
        (L2(0.35), False),
        (L1(0.51), True),
        (L1(0.49), False),
    ],
)
def test_a_counterexample_counts_exactly_where_it_lies_in_the_region(threat, inside):
    rows = implied(query(threat), threat.eps, [falsified(0.3, [0.75, 0.25])])
    assert (10 in rows) is inside


def test_the_range_of_inputs_counts_too():
    assert implied(query(Linf(0.9)), 0.9, [falsified(0.3, [0.5, -0.25])]) == {}


def test_each_sample_is_judged_in_its_own_region():
    rows = implied(
        query(Linf(0.1)), 0.1, [falsified(0.1, [0.05, 0.95], 11), falsified(0.1, [0.05, 0.95], 12)]
    )
    assert rows.keys() == {11}


def test_a_misclassified_sample_stays_one_and_unknown_says_nothing():
    rows = [
        VerdictRow(0.2, 10, Verdict.MISCLASSIFIED),
        VerdictRow(0.2, 11, Verdict.UNKNOWN),
        VerdictRow(0.2, 12, Verdict.ERROR),
    ]
    for eps in (0.1, 0.3):
        found = implied(query(Linf(eps)), eps, rows)
        assert {s: r.verdict for s, r in found.items()} == {10: Verdict.MISCLASSIFIED}


def test_rows_of_other_samples_are_left_alone():
    assert implied(query(Linf(0.1)), 0.1, [verified(0.2, sample=99)]) == {}


@pytest.mark.parametrize(
    "rows", [[verified(0.4), falsified(0.5, [0.6, 0.4])], [falsified(0.1, [0.6, 0.4]), verified(0.4)]]
)
@pytest.mark.parametrize("eps", [0.05, 0.2, 0.4, 0.6])
def test_a_counterexample_in_a_verified_region_is_a_contradiction(eps, rows):
    (found,) = check(query(Linf(eps)), [verified(0.1), *rows, verified(0.2)], RUN)
    assert found.sample == 10
    assert found.cause is Cause.ALARM
    assert (found.proof.threat, found.attack.decider[:5]) == (Linf(0.4), "PGD()")
    assert found.witness.tolist() == pytest.approx([0.6, 0.4])
    with pytest.raises(Contradiction, match=r"ALARM: sample 10 .* by CROWN\(\) at eps = 0\.4"):
        raise found.error()


def test_a_counterexample_beyond_a_verified_region_is_none():
    rows = [verified(0.2), falsified(0.5, [0.95, 0.5])]
    for eps, verdict in ((0.1, Verdict.VERIFIED), (0.2, Verdict.VERIFIED), (0.5, Verdict.FALSIFIED)):
        assert implied(query(Linf(eps)), eps, rows)[10].verdict is verdict
    assert implied(query(Linf(0.3)), 0.3, rows) == {}
    assert check(query(Linf(0.3)), rows, RUN) == []
    assert check(query(Linf(0.3)), [verified(0.9), falsified(0.1, [0.05, 0.95], 11)], RUN) == []


@pytest.mark.parametrize("count", range(6))
def test_bisection_visits_every_budget_once_the_middle_first(count):
    budgets = [eps / 10 for eps in range(count)]
    order = bisection(budgets)
    assert sorted(order) == budgets
    assert order[:1] == budgets[count // 2 : count // 2 + 1]


def unknown(eps, sample=10):
    return VerdictRow(eps, sample, Verdict.UNKNOWN, margin=-eps)


def test_what_is_open_at_both_sides_counts_as_open_between_where_that_is_asked_for():
    rows = [unknown(0.1), unknown(0.3), unknown(0.4), unknown(0.1, 11), verified(0.05, 12), unknown(0.3, 12)]
    found = implied(query(Linf(0.2)), 0.2, rows, between=True)
    assert found.keys() == {10}
    assert (found[10].verdict, found[10].margin, found[10].detail) == (
        Verdict.UNKNOWN,
        -0.3,
        {"from_eps": 0.3},
    )
    assert implied(query(Linf(0.2)), 0.2, rows) == {}
    assert implied(query(Linf(0.02)), 0.02, rows, between=True).keys() == {12}
    assert implied(query(Linf(0.5)), 0.5, rows, between=True) == {}
