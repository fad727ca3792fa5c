"""What changed between two reports."""

import pytest

from certify.errors import UsageError
from certify.gate.difference import Change, RadiusChange, difference
from certify.verdict import Verdict
from tests.certify.gate.test_rules import smoothed
from tests.certify.reports import report


def test_changes_are_told_by_eps_and_sample():
    before = report({0.1: "vvfu", 0.2: "vfff", 0.3: "ffff"})
    after = report({0.1: "vffv", 0.2: "vfff"}, complete=False)
    found = difference(before, after)
    assert found.changes == (
        Change(0.1, 1, Verdict.VERIFIED, Verdict.FALSIFIED),
        Change(0.1, 3, Verdict.UNKNOWN, Verdict.VERIFIED),
    )
    assert found.transitions() == {
        (0.1, Verdict.VERIFIED, Verdict.FALSIFIED): 1,
        (0.1, Verdict.UNKNOWN, Verdict.VERIFIED): 1,
    }
    assert "both are of the same model" in found.notes
    assert "the second is not complete" in found.notes
    assert found.record()["changes"][0] == {
        "eps": 0.1, "sample": 1, "before": "verified", "after": "falsified"
    }  # fmt: skip


def test_a_report_does_not_differ_from_itself():
    same = report({0.1: "vvfu"}, smoothing=(smoothed([0.1, 0.2]),))
    found = difference(same, same)
    assert (found.changes, found.radii) == ((), ())


def test_samples_that_one_report_lacks_are_told():
    found = difference(report({0.1: "vv"}), report({0.1: "v"}))
    assert found.changes == (Change(0.1, 1, Verdict.VERIFIED, None),)


def test_radii_are_compared_within_one_smoothed_classifier():
    before = report({0.1: "v"}, smoothing=(smoothed([0.1, 0.2]),))
    after = report({0.1: "v"}, smoothing=(smoothed([0.1, 0.3]), smoothed([0.9, 0.9], 0.5)))
    assert difference(before, after).radii == (RadiusChange(0.25, 1, (1, 0.2), (1, 0.3)),)


def test_other_data_or_another_threat_is_refused():
    one = report({0.1: "v"})
    data = report({0.1: "v"}, identity=one.identity.model_copy(update={"data": "c3" * 32}))
    with pytest.raises(UsageError, match="other samples"):
        difference(one, data)
    kind = one.threat.perturbation.model_copy(update={"name": "l2"})
    other = report({0.1: "v"}, threat=one.threat.model_copy(update={"perturbation": kind}))
    with pytest.raises(UsageError, match="one kind"):
        difference(one, other)
