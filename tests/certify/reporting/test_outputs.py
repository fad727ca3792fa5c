"""What is made from reports besides the page: scatter plots, PDF, pictures of inputs that are no images."""

import csv
import io
import sys
from types import SimpleNamespace

import pytest

import certify
from certify.cli import main
from certify.errors import Exit, UsageError
from certify.reporting.build import build
from certify.reporting.compliance import with_maps
from certify.reporting.findings import Findings
from certify.reporting.html import page
from certify.reporting.pdf import pdf
from certify.reporting.pictures import pictures, scatter
from tests.certify.reporting.test_report import ABOUT, WRITER, rows
from tests.certify.toys import mlp, right_answers, uniform


def report(*counts, **about):
    return with_maps(build(Findings({**ABOUT, **about}, [WRITER], rows(0.1, *counts)), 0))


def test_a_scatter_holds_the_rates_of_each_report():
    first, second = report(1, 2, 3, 4, 0), report(0, 2, 8, 0, 0)
    picture = scatter([("a", first), ("b", second)], 0.1)
    table = list(csv.DictReader(io.StringIO(picture.csv)))
    for row, each in zip(table, (first, second), strict=True):
        (point,) = each.curve
        assert float(row["clean_accuracy"]) == point.clean_accuracy.value
        assert float(row["verified_accuracy_low"]) == point.verified_accuracy.low
    assert [row["report"] for row in table] == ["a", "b"]
    assert {t.get_text() for t in picture.draw().axes[0].get_legend().get_texts()} == {"a", "b"}


def test_a_scatter_compares_nothing_that_differs():
    first = report(1, 2, 3, 4, 0)
    other = report(1, 2, 3, 4, 0, identity={**ABOUT["identity"], "data": "9f" * 32})
    with pytest.raises(UsageError, match="different threats or data"):
        scatter([("a", first), ("b", other)], 0.1)
    with pytest.raises(UsageError, match=r"nothing at eps = 0\.3; it has 0\.1"):
        scatter([("a", first)], 0.3)


def test_commands_on_report_files(tmp_path, capsys):
    model = mlp((4, 8, 3), valid=(0.0, 1.0))
    files, reports = [], []
    for name, seed in (("one", 3), ("two", 4)):
        x = uniform(10, 4, seed=seed)
        deciders = [certify.PGD(steps=5), certify.CROWN()]
        result = certify.evaluate(model, x, right_answers(model, x), certify.Linf(0.1), deciders)
        reports.append(with_maps(build(Findings.of_result(result), 2)))
        (tmp_path / name).mkdir()
        files.append(tmp_path / name / "report.json")
        files[-1].write_bytes(reports[-1].to_bytes())
    scatter = ["scatter", *map(str, files), "--eps", "0.1", "--out", str(tmp_path)]
    assert main(scatter) == 0
    clean = reports[0].curve[0].clean_accuracy.value
    assert (tmp_path / "scatter.csv").read_text().splitlines()[1].startswith(f"one,0.1,10,{clean}")
    assert main(["report", str(files[0])]) == 0
    assert "eps = 0.1: robust accuracy on these 10 samples" in (tmp_path / "one" / "report.html").read_text()
    capsys.readouterr()
    for old, new in (
        (b'"n":10', b'"n":11'),
        (b"is not a proof", b"is nearly one"),
        (b"is not robust", b"is robust"),
    ):
        data = reports[1].to_bytes()
        if old in data:
            files[1].write_bytes(data.replace(old, new, 1))
            for command in (["report", str(files[1])], scatter):
                assert main(command) == Exit.ARTEFACT_REJECTED
                assert "report.json" in capsys.readouterr().err
    assert b"is not robust" in reports[1].to_bytes()


def test_names_are_no_formulas():
    picture = scatter([("$\\frac$ {", report(1, 2, 3, 4, 0)), ("b", report(1, 2, 3, 4, 0))], 0.1)
    assert picture.svg().startswith("<?xml")


def test_times_of_unknown_samples_are_left_out():
    made = report(1, 2, 3, 4, 0)
    odd = made.volatile.samples[0].model_copy(update={"sample": 9999})
    text = page(made.model_copy(update={"volatile": made.volatile.model_copy(update={"samples": (odd,)})}))
    assert "9999" not in text


def test_a_pdf_is_the_page_or_says_what_is_missing(monkeypatch):
    made = report(1, 1, 1, 1, 1)
    given = []

    def html(string):
        given.append(string)
        return SimpleNamespace(write_pdf=lambda: b"%PDF")

    monkeypatch.setitem(sys.modules, "weasyprint", SimpleNamespace(HTML=html))
    assert pdf(made) == b"%PDF"
    assert made.digest() in given[0]
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(UsageError, match="WeasyPrint"):
        pdf(made)


def test_counterexamples_that_are_no_images_are_lines():
    model = mlp((4, 8, 3), valid=(0.0, 1.0))
    x = uniform(6, 4, seed=3)
    result = certify.evaluate(model, x, right_answers(model, x), certify.Linf(0.3), [certify.PGD(steps=5)])
    made = build(Findings.of_result(result), 3)
    (gallery,) = [p for p in pictures(made) if p.name == "gallery"]
    assert 0 < len(made.gallery) <= 3
    assert gallery.svg() == gallery.svg()
    labels = [t.get_text() for f in gallery.draw().subfigs for t in f.axes[0].get_legend().get_texts()]
    assert labels == ["sample", "counterexample"] * len(made.gallery)


@pytest.mark.parametrize("early", [True, False])
def test_the_policy_is_on_the_page_and_in_the_picture(early):
    rule = {"id": "floor", "kind": "verified-accuracy", "norm": "linf", "eps": 0.1, "at_least": 0.625}
    policy = {"name": "ours", "confidence": 0.95, "rules": [rule, {"id": "clean", "kind": "clean-accuracy"}]}
    found = Findings(ABOUT, [WRITER], rows(0.1, 1, 2, 3, 4, 0), policy=(policy, early))
    made = with_maps(build(found, 0))
    text = page(made, [])
    assert ("were fixed before the run" in text) is early
    assert "at least 0.625, eps 0.1, kind verified-accuracy, norm linf" in text
    assert made.policy.sha256 in text
    assert (
        any("acceptance" in text and c.evidence == ("policy",) for m in made.compliance for c in m.clauses)
        is early
    )
    (axes,) = next(p for p in pictures(made) if p.name == "curve").draw().axes
    (mark,) = [line for line in axes.lines if str(line.get_label()).startswith("policy")]
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([0.1], [0.625])
