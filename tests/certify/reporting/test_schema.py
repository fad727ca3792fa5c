"""The schema of ``report.json``: what does not agree is refused, and reading gives what was written."""

import math

import pytest
from pydantic import ValidationError

from certify.errors import ArtefactRejected
from certify.reporting.canonical import canonical, parsed
from certify.reporting.schema import (
    Point,
    Report,
    SampleVerdict,
    Settings,
    Volatile,
    json_schema,
)
from certify.verdict import Verdict
from tests.certify.reports import point, report, rows, share


def small(**changes):
    """A report of three samples at one eps."""
    samples = (
        SampleVerdict(eps=0.1, sample=0, verdict=Verdict.VERIFIED, margin=0.5, by="CROWN()"),
        SampleVerdict(eps=0.1, sample=1, verdict=Verdict.FALSIFIED, witness_sha256="0f" * 32),
        SampleVerdict(eps=0.1, sample=2, verdict=Verdict.UNKNOWN, margin=-math.inf),
    )
    return report({0.1: samples}, **{"settings": Settings(seed=2**60, batch_size=1, device="cpu"), **changes})


def test_reading_gives_what_was_written():
    report = small()
    data = report.to_bytes()
    read = Report.from_bytes(data)
    assert read == report
    assert read.to_bytes() == data
    assert read.digest() == report.digest()
    assert b'"norm":"Infinity"' in data
    assert b'"seed":"1152921504606846976"' in data


def test_times_are_no_part_of_the_digest():
    timed = small(volatile=Volatile(seconds={"eps=0.1": 12.5}))
    assert timed.to_bytes() != small().to_bytes()
    assert timed.digest() == small().digest()
    assert small(complete=False).digest() != small().digest()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("curve", 0, "counts", "verified"), 2, "do not sum to n"),
        (("curve", 0, "n"), 4, "do not sum to n"),
        (("curve", 0, "verified_accuracy", "value"), 0.5, "1 of 3 is not 0.5"),
        (("curve", 0, "attacked_accuracy"), share(3, 3).model_dump(), "not those of its rates"),
        (("samples", 2, "verdict"), "error", "not those of its samples"),
        (("samples", 0, "margin"), -1, "without a margin"),
        (("samples", 1, "witness_sha256"), None, "without a counterexample"),
        (("status",), "INVALID", "where there are contradictions"),
        (("identity", "model"), "b2" * 32, "another model"),
        (("not_claimed",), [], "at least 1 item"),
        (("surplus",), 1, "Extra inputs"),
        (("format",), "certify-report/99", "this version reads"),
    ],
)
def test_a_report_that_was_changed_is_refused(place, value, message):
    tree = parsed(small().to_bytes())
    part = tree
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = value
    with pytest.raises(ArtefactRejected, match=message):
        Report.from_bytes(canonical(tree))


def test_counts_sum_to_n():
    with pytest.raises(ValidationError, match="do not sum"):
        Point(**{**point(0.1, rows("vve")).model_dump(), "n": 4})
    assert point(0.1, rows("vve")).undecided.count == 1


def test_percentages_never_claim_too_much():
    for n in (3, 7, 1000):
        for count in range(0, n + 1, max(n // 7, 1)):
            each = share(count, n)
            assert each.at_least <= 100 * count / n + 1e-9
            assert each.at_most >= 100 * count / n - 1e-9


def test_the_json_schema_names_every_part():
    assert set(Report.model_fields) == set(json_schema()["properties"])
