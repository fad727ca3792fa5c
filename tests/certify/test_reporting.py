"""Reports: they tell the ledger's numbers, the same each time, and need nothing from outside."""

import base64
import json
import math
import re
from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser

import markupsafe
import numpy as np
import pytest
from scipy.stats import beta, binom

import certify
from bounds.rounding import Level
from certify.diagnosis import UNRELIABLE, Finding, Health, Outcome
from certify.errors import CertifyError, UsageError
from certify.ledger import Identity, Ledger
from certify.reporting import Findings, findings_in, write_all
from certify.reporting.digits import rounded_down
from certify.reporting.findings import summary_text
from certify.reporting.html import page
from certify.reporting.plots import curve_figure, png, radius_figure, svg
from certify.rows import RadiusRow, VerdictRow
from certify.verdict import SENTENCES, Verdict
from tests.certify.toys import mlp, right_answers, uniform

M, F, V, U, E = Verdict
PGD = "PGD(steps=7, restarts=3)"
ABOUT = {
    "identity": {"model": "a1" * 32, "data": "b2" * 32, "config": "c3" * 32},
    "model": {"name": "<script>net", "input_shape": [1, 8, 8], "num_classes": 10, "input_range": [0, 1]},
    "data": {"name": "digits.npz", "samples": 17},
    "threat": {"norm": "linf", "eps": [0.1, 0.2]},
    "deciders": [PGD, "CROWN()"],
    "attacks": [PGD],
    "smoothing": {"certifiers": ["Smoothing(sigma=0.25)"], "samples": 3},
    "run": {"seed": 41, "batch_size": 4, "device": "cpu"},
}


def rows(eps, *counts):
    verdicts = [v for v, count in zip(Verdict, counts, strict=True) for _ in range(count)]
    return [
        VerdictRow(
            eps, i, v, PGD if v is F else None, 0.0625 if v is V else None, Level.REAL if v is V else None
        )
        for i, v in enumerate(verdicts)
    ]


LAPLACE = {
    "law": "Laplace(sigma=0.25)",
    "norm": "L1",
    "reference": "Teng, Lee & Yuan (2020)",
    "domain": "real inputs",
    "mode": "Planned(tolerance=0.01)",
    "execution": "Execution()",
}


def radius_rows(answers, alpha=0.001):
    """Of samples of class 1: their certified labels and radii."""
    return [RadiusRow(0.25, i, 1, label, r, alpha, LAPLACE) for i, (label, r) in enumerate(answers)]


def findings(level=Level.REAL):
    verdicts = rows(0.1, 2, 3, 7, 4, 1) + rows(0.2, 2, 6, 5, 4, 0)
    verdicts = [VerdictRow(**{**vars(r), "level": level if r.level else None}) for r in verdicts]
    radii = radius_rows([(1, 0.5), (-1, 0), (2, 1)])
    return Findings(ABOUT, [{"torch": "2.99"}], verdicts, radii, {"eps=0.1": 12.34})


class Tables(HTMLParser):
    """The cells of all tables, and every address that a browser would fetch."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.fetched, self.tags, self._open = [], [], set(), False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._open = tag in ("td", "th")
        if tag == "tr":
            self.rows.append([])
        if self._open:
            self.rows[-1].append("")
        self.fetched += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "action", "style")]

    def handle_data(self, data):
        if self._open:
            self.rows[-1][-1] += data.strip()

    def handle_endtag(self, tag):
        self._open = self._open and tag not in ("td", "th")


def test_the_summary_holds_the_counts_and_is_stable():
    text = summary_text(findings())
    assert text == summary_text(findings())
    summary = json.loads(text)
    assert [p["counts"] for p in summary["curve"]] == [
        {"misclassified": 2, "falsified": 3, "verified": 7, "unknown": 4, "error": 1},
        {"misclassified": 2, "falsified": 6, "verified": 5, "unknown": 4, "error": 0},
    ]
    assert summary["levels"] == ["real"]
    assert [p["verified_accuracy"]["count"] for p in summary["curve"]] == [7, 5]
    (smoothed,) = summary["smoothing"]
    assert (smoothed["abstained"], smoothed["wrong"], smoothed["joint"], smoothed["n"]) == (1, 1, False, 3)
    assert "12.34" not in text


def test_the_page_holds_the_numbers_of_the_summary():
    found = findings()
    tables = Tables(page(found)).rows
    for point in json.loads(summary_text(found))["curve"]:
        counts = [str(point["counts"][v.value]) for v in Verdict]
        assert [f"{point['eps']:g}", *counts, str(point["n"])] in tables
        ways = {"verified_accuracy": math.floor, "attacked_accuracy": math.ceil, "clean_accuracy": round}
        percents = [
            "{:.1f} [{:.1f}, {:.1f}]".format(
                way(1000 * point[name]["count"] / point["n"]) / 10,
                *(100 * point[name][end] for end in ("low", "high")),
            )
            for name, way in ways.items()
        ]
        assert [f"{point['eps']:g}", *percents] in tables


def smoothed(n, alpha):
    """A run with radii k / n for the samples k, a tenth of which have a wrong label."""
    answers = [(1 if k % 10 else 2, (k + 1) / n) for k in range(n)]
    return Findings(ABOUT, [], [], radius_rows(answers, alpha))


@pytest.mark.parametrize(("n", "alpha"), [(40, 0.001), (60, 0.01), (300, 0.001)])
def test_the_summary_has_each_account_at_each_radius_with_its_randomness(n, alpha):
    (found,) = json.loads(summary_text(smoothed(n, alpha)))["smoothing"]
    assert {name: found[name] for name in LAPLACE} == LAPLACE
    accounts = {}
    for statement in found["statements"]:
        accounts.setdefault(statement["radius"], {})[statement["method"].split()[-1]] = statement
        assert statement["covers"] in statement["sentence"]
    assert len(accounts) >= 4
    most = next(k for k in range(n) if binom.sf(k, n, alpha) <= 0.05)
    for radius, by in accounts.items():
        count = sum(k % 10 != 0 and (k + 1) / n > radius for k in range(n))
        assert by["sample"]["certified"] == count
        assert by["failures"]["certified"] == max(count - most, 0)
        low = beta.ppf(0.05, count, n - count + 1)
        assert by["Clopper-Pearson"]["accuracy"] == pytest.approx((low - alpha) / (1 - alpha), rel=1e-9)
        assert ("Bonferroni" in by) == (n * alpha <= 0.05)
        for statement in by.values():
            assert statement["accuracy"] <= count / n
            assert statement["failure"] <= 0.05 * (1 + 1e-9)
    joint = {step["radius"]: step["value"] for step in found["joint_accuracy"]}
    for step in found["certified_accuracy"]:
        assert joint[step["radius"]] == max(step["count"] - most, 0) / n


@pytest.mark.parametrize(("n", "alpha"), [(40, 0.001), (300, 0.001)])
def test_the_page_holds_the_accounts_of_the_summary(n, alpha):
    found = smoothed(n, alpha)
    tables, text = Tables(page(found)).rows, page(found)
    accounts = {}
    for statement in json.loads(summary_text(found))["smoothing"][0]["statements"]:
        shown = math.floor(1000 * statement["accuracy"] + 1e-9) / 10
        accounts.setdefault(statement["method"], []).append(f"{shown:.1f}")
        assert statement["covers"] in text
    for method, cells in accounts.items():
        assert [method, *cells] in tables
    assert ("takes alpha =" in text) == ("Bonferroni" not in accounts)


def test_what_radii_rest_on_is_said_by_name():
    text = page(findings())
    for part in LAPLACE.values():
        assert str(markupsafe.escape(part)) in text
    assert "Gaussian" not in text
    assert " L2 " not in text


def test_the_page_says_what_is_claimed_and_by_what():
    text = page(findings())
    for part in (
        SENTENCES[Level.REAL],
        PGD,
        "no counterexample found by",
        "1 - 0.001",
        "41",
        "2.99",
        "12.3 s",
    ):
        assert part in text
    for digest in ABOUT["identity"].values():
        assert digest in text
    assert SENTENCES[Level.FLOAT] not in text.lower()
    weak = page(findings(Level.FLOAT))
    assert SENTENCES[Level.FLOAT][1:] in weak
    assert "not proved" in weak
    assert SENTENCES[Level.REAL] not in weak


def test_the_page_needs_nothing_from_outside():
    text = page(findings())
    parsed = Tables(text)
    assert not parsed.tags & {"script", "link", "iframe", "object", "form"}
    assert "&lt;script&gt;net" in text
    assert len(parsed.fetched) == 2
    for address in parsed.fetched:
        kind, data = address.split(",", 1)
        assert kind == "data:image/svg+xml;base64"
        image = base64.b64decode(data).decode()
        assert not re.search(r'(?:href|src)="(?!#)', image.split("</metadata>")[-1])
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_pictures_repeat_to_the_byte():
    found = findings()
    for draw in (svg, png):
        assert draw(curve_figure(found.curve, "Linf", "input units")) == draw(
            curve_figure(found.curve, "Linf", "input units")
        )
        assert draw(radius_figure(found.radius_curves)) == draw(radius_figure(found.radius_curves))
    assert svg(curve_figure(found.curve, "Linf", "input units")) != svg(
        curve_figure(Findings(ABOUT, [], rows(0.1, 1, 1, 1, 1, 1)).curve, "Linf", "input units")
    )


def test_a_run_folder_gets_all_files_and_the_same_again(tmp_path):
    found = findings()
    with Ledger.open(tmp_path, Identity("a", "b", "c"), ABOUT, {"torch": "2.99"}) as ledger:
        ledger.record("eps=0.1", 0, 12.34, found.verdicts, found.radii)
    write_all(tmp_path)
    first = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert first.keys() == {
        "ledger.sqlite", "summary.json", "report.html",
        "curve.csv", "curve.svg", "curve.png", "radius.csv", "radius.svg", "radius.png",
    }  # fmt: skip
    write_all(tmp_path)
    assert first == {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert first["summary.json"].decode() == summary_text(found)
    assert first["report.html"].decode() == page(found)


def test_a_run_without_samples_has_no_report(tmp_path):
    Ledger.open(tmp_path, Identity("a", "b", "c"), ABOUT, {}).close()
    with pytest.raises(UsageError, match="no finished samples"):
        findings_in(tmp_path)


def test_a_run_without_smoothing_has_no_radii():
    about = {**ABOUT, "smoothing": {"certifiers": [], "samples": 0}}
    assert "moothed classifier" not in page(Findings(about, [], rows(0.1, 1, 1, 1, 1, 1)))


@pytest.fixture(scope="module")
def result():
    """An evaluation in memory, with certificates and counterexamples."""
    model = mlp((4, 8, 3), valid=(0.0, 1.0))
    x = uniform(12, 4, seed=3)
    deciders = [certify.PGD(steps=5), certify.CROWN()]
    return certify.evaluate(model, x, right_answers(model, x), certify.Linf(0.2), deciders)


def test_a_result_in_memory_is_a_page_of_its_own(result, tmp_path):
    certify.report(result, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    counts = [str(result.counts[v]) for v in Verdict]
    assert ["0.2", *counts, "12"] in Tables(text).rows
    assert result.counts[F] > 0
    assert result.counts[V] > 0
    for decider in result.deciders:
        assert str(markupsafe.escape(decider)) in text
    assert "no counterexample found by PGD(" in text
    assert "found by CROWN" not in text
    assert SENTENCES[Level.REAL] in text
    assert result.digest in text
    assert "input range" not in text  # a result does not know it


def test_a_report_that_cannot_be_written(result, tmp_path):
    with pytest.raises(CertifyError, match="nowhere"):
        certify.report(result, tmp_path / "nowhere" / "report.html")


@pytest.mark.parametrize("digits", [1, 4, 6])
def test_digits_round_down(digits):
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [rng.normal(size=200) * 10.0 ** rng.integers(-9, 9, 200), [0.0, 0.25, 0.3, 1e-300]]
    )
    for value in values.tolist():
        shown = Fraction(rounded_down(value, digits))
        assert shown <= Fraction(value) <= shown + abs(Fraction(value)) * Fraction(10) ** (1 - digits)
    assert rounded_down(0.25) == "0.25"
    assert rounded_down(0.99999) == "0.9999"
    assert rounded_down(-0.99999) == "-1"
    assert rounded_down(math.inf) == "inf"


def test_an_unreliable_result_says_so_in_its_report(result, tmp_path):
    bad = Finding("zero gradients", "a paper", Outcome.FAIL, 1.0, 0.0, 0.05, "Gradients are zero.")
    for outcome, told in ((Outcome.FAIL, True), (Outcome.WARN, False), (Outcome.NOT_RUN, False)):
        health = Health(result.digest, "Linf", ("PGD()",), 9, (replace(bad, outcome=outcome),))
        certify.report(result.with_health(health), tmp_path / "report.html")
        text = (tmp_path / "report.html").read_text()
        assert (UNRELIABLE in text) is told
        assert health.summary in text
        assert ["zero gradients", outcome.value, "1", "warn above 0, fail above 0.05", "a paper"] in [
            row[:5] for row in Tables(text).rows
        ]


def test_the_picture_names_what_accuracy_under_attack_is():
    figures = [curve_figure(findings().curve, "Linf", "x", text) for text in ("upper bound", UNRELIABLE)]
    legends = [[t.get_text() for t in f.axes[0].get_legend().get_texts()] for f in figures]
    assert "accuracy under attack (upper bound)" in legends[0]
    assert f"accuracy under attack ({UNRELIABLE})" in legends[1]
