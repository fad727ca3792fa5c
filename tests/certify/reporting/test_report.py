"""Reports: they tell the ledger's numbers, the same each time, and need nothing from outside."""

import base64
import hashlib
import json
import math
import re
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser

import markupsafe
import numpy as np
import pytest
import torch
from scipy.stats import beta, binom

import certify
from bounds.rounding import Level
from certify.diagnosis import UNRELIABLE, Finding, Health, Outcome
from certify.errors import CertifyError, UsageError
from certify.ledger import Identity, Ledger
from certify.reporting import Contents, Report, render, report_of, write_all
from certify.reporting.build import build
from certify.reporting.compliance import EVIDENCE, with_maps
from certify.reporting.digits import rounded_down, thinned
from certify.reporting.findings import Findings
from certify.reporting.html import page
from certify.reporting.markdown import eval_results, model_card
from certify.reporting.pictures import NAMES, pictures
from certify.reporting.pictures.gallery import arrays, becomes
from certify.reporting.schema import Share
from certify.rows import RadiusRow, VerdictRow
from certify.verdict import SENTENCES, Verdict
from certify.versions import Writer
from tests.certify.toys import mlp, right_answers, uniform

M, F, V, U, E = Verdict
PGD = "PGD(steps=7, restarts=3)"
ABOUT = {
    "identity": {"model": "a1" * 32, "data": "b2" * 32, "config": "c3" * 32},
    "model": {
        "name": "<script>net",
        "input_shape": [1, 2, 2],
        "num_classes": 10,
        "preprocessing": {"mean": [0.5], "std": None, "input_range": [0, 1], "sha256": "d4" * 32},
    },
    "data": {"name": "digits.npz", "n": 17, "per_class": [{"label": 4, "n": 17}], "hub": "someone/digits"},
    "threat": {"norm": "linf", "eps": [0.1, 0.2]},
    "deciders": [PGD, "CROWN(level=Level.REAL)"],
    "attacks": [PGD],
    "certifiers": ["CROWN(level=Level.REAL)"],
    "smoothing": {"certifiers": ["Smoothing(sigma=0.25)"], "samples": 3},
    "run": {"seed": 41, "batch_size": 4, "device": "cpu"},
    "report": {"gallery": 2, "maps": []},
}
WRITER = Writer({"torch": "2.99"}, {"processor": "abacus"})


def row(eps, sample, verdict, level):
    """A row with evidence that agrees with its verdict; the counterexample is eps away in one pixel."""
    x = np.full((1, 2, 2), 0.5, dtype=np.float32)
    witness = x.copy()
    witness[0, 0, 0] += np.float32(eps)
    attack = {"decider": PGD, "margin": None, "level": None, "alpha": 0.0, "forwards": 7, "backwards": 6}
    proof = {"decider": ABOUT["deciders"][1], "margin": 0.0625, "level": level.value, "alpha": 0.0}
    gap = float(witness[0, 0, 0]) - 0.5
    detail = {
        "label": sample % 3,
        "predicted": 1,
        "evidence": {M: [], F: [attack]}.get(verdict, [attack, proof]),
    }
    if verdict is F:
        detail["adversarial"] = 1 + sample % 3
        detail["distances"] = {"linf": gap, "l2": gap, "l1": gap, "l0": 1.0}
        return VerdictRow(eps, sample, F, PGD, detail=detail, witness=witness, x=x, seconds=(0.25,))
    if verdict is V:
        return VerdictRow(eps, sample, V, proof["decider"], 0.0625, level, detail=detail, seconds=(0.5, 2.0))
    return VerdictRow(eps, sample, verdict, detail=detail)


def rows(eps, *counts, level=Level.REAL):
    verdicts = [v for v, count in zip(Verdict, counts, strict=True) for _ in range(count)]
    return [row(eps, sample, verdict, level) for sample, verdict in enumerate(verdicts)]


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
    verdicts = rows(0.1, 2, 3, 7, 4, 1, level=level) + rows(0.2, 2, 6, 5, 4, 0, level=level)
    radii = radius_rows([(1, 0.5), (-1, 0), (2, 1)])
    return Findings(ABOUT, [WRITER], verdicts, radii, {"eps=0.1": 12.34})


def made(level=Level.REAL, gallery=2):
    return with_maps(build(findings(level), gallery))


@pytest.fixture(scope="module")
def whole():
    """A report, its JSON values and its page."""
    report = made()
    return report, json.loads(report.to_bytes()), page(report)


class Page(HTMLParser):
    """The cells of all tables, and every address that a browser would fetch."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.fetched, self.tags, self.texts, self._open = [], [], set(), [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._open = self._open or tag in ("td", "th")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        names = ("src", "href", "srcset", "data", "action", "style")
        self.fetched += [v for k, v in attrs if k in names and not v.startswith("#")]

    def handle_data(self, data):
        if self._open:
            self.rows[-1][-1] += data.strip().replace("\N{NO-BREAK SPACE}", " ")
        self.texts.append(data)

    def handle_endtag(self, tag):
        self._open = self._open and tag not in ("td", "th")


def test_the_report_counts_the_rows(whole):
    _, found, _ = whole
    assert [p["counts"] for p in found["curve"]] == [
        {"misclassified": 2, "falsified": 3, "verified": 7, "unknown": 4, "error": 1},
        {"misclassified": 2, "falsified": 6, "verified": 5, "unknown": 4, "error": 0},
    ]
    assert [p["verified_accuracy"]["count"] for p in found["curve"]] == [7, 5]
    (smoothed,) = found["smoothing"]
    assert (smoothed["abstained"], smoothed["wrong"], smoothed["n"]) == (1, 1, 3)
    for p in found["curve"]:
        of_class = [c["counts"] for c in found["per_class"] if c["eps"] == p["eps"]]
        settled = [s for s in found["gap"] if s["eps"] == p["eps"]]
        for verdict in Verdict:
            assert sum(c[verdict.value] for c in of_class) == p["counts"][verdict.value]
            count = sum(s["count"] for s in settled if s["verdict"] == verdict.value)
            assert count == p["counts"][verdict.value]
    assert found["attacks"][0] == {
        "attack": PGD, "eps": 0.1, "tried": 15, "succeeded": 3, "forwards": 105, "backwards": 90,
    }  # fmt: skip


def test_every_sample_has_its_evidence(whole):
    report, _, _ = whole
    for each, source in zip(report.samples, findings().verdicts, strict=True):
        assert (each.eps, each.sample, each.verdict) == (source.eps, source.sample, source.verdict)
        if each.verdict is F:
            assert each.witness_sha256 == hashlib.sha256(source.witness.tobytes()).hexdigest()
            assert each.distances["linf"] == np.abs(source.witness.astype(float) - source.x).max()
    brackets = {b.sample: b for b in report.brackets}
    for each in report.samples:
        bracket = brackets[each.sample]
        if each.verdict is V:
            assert bracket.verified >= each.eps
        if each.verdict is F:
            assert bracket.attacked <= each.distances["linf"]
        if each.verdict is M:
            assert bracket.attacked == 0


def test_a_wider_proof_and_a_nearer_failure_enclose_the_true_distance():
    found = build(Findings(ABOUT, [WRITER], rows(0.1, 0, 0, 1, 0, 0) + rows(0.2, 0, 1, 0, 0, 0)), 0)
    (bracket,) = found.brackets
    assert bracket.verified == 0.1 < bracket.attacked == pytest.approx(0.2, rel=1e-6)


def test_method_cards_have_the_four_axes(whole):
    report, _, text = whole
    axes = {
        m.kind: (m.completeness, m.determinism, m.access, m.arithmetic, m.reference) for m in report.methods
    }
    assert axes["attack"] == ("incomplete", "non-deterministic", "glass box", "computer", "Madry et al. 2018")
    assert axes["certifier"][:4] == ("incomplete", "deterministic", "glass box", "real")
    assert axes["smoothing"][:4] == ("incomplete", "non-deterministic", "closed box", "computer")
    assert report.methods[0].parameters == {"steps": 7, "restarts": 3}
    assert made(Level.DEPLOYED).methods[1].arithmetic == "computer"
    assert "Incomplete, non-deterministic, glass box, computer arithmetic" in text


def test_a_method_may_prove_and_attack():
    both = {**ABOUT, "deciders": ["Portfolio(steps=4)"], "attacks": ["Portfolio(steps=4)"]}
    both["certifiers"] = both["attacks"]
    report = build(Findings(both, [WRITER], rows(0.1, 0, 1, 1, 0, 0)), 0)
    (method,) = [m for m in report.methods if m.kind != "smoothing"]
    assert (method.kind, method.proves, method.attacks) == ("certifier and attack", True, True)


def test_two_builds_have_the_same_bytes(whole):
    report, _, text = whole
    assert made().to_bytes() == report.to_bytes()
    assert page(Report.from_bytes(report.to_bytes())) == text
    assert report.digest() in text


def test_the_page_holds_the_numbers_of_the_report(whole):
    _, found, text = whole
    tables = Page(text).rows
    for point in found["curve"]:
        counts = [str(point["counts"][v.value]) for v in Verdict]
        assert [f"{point['eps']:g}", *counts, str(point["n"])] in tables
        ways = {
            "verified_accuracy": math.floor,
            "attacked_accuracy": math.ceil,
            "undecided": round,
            "clean_accuracy": round,
        }
        percents = [
            f"{way(1000 * point[name]['count'] / point['n']) / 10:.1f} "
            f"[{math.floor(1000 * point[name]['low']) / 10:.1f}, "
            f"{math.ceil(1000 * point[name]['high']) / 10:.1f}]"
            for name, way in ways.items()
        ]
        assert [f"{point['eps']:g}", *percents] in tables


def numbers(value):
    """Every number in JSON values, also those in text."""
    if isinstance(value, bool) or value is None:
        return set()
    if isinstance(value, dict):
        return numbers(list(value)) | numbers(list(value.values()))
    if isinstance(value, list):
        return set().union(*map(numbers, value)) if value else set()
    if isinstance(value, str):
        return {float(n) for n in re.findall(r"\d+(?:\.\d+)?(?:e[-+]\d+)?", value)}
    return {abs(float(value))}


def test_every_number_of_the_page_is_one_of_the_report(whole):
    report, found, text = whole
    known = numbers(found)
    known |= {round(100 * n, 6) for n in known}  # percents
    known |= {1.0 - n for n in known if n < 1}  # 1 - alpha
    known |= {len(report.samples) / len(report.curve), len(report.smoothing[0].samples)}
    known |= {len(report.samples), len(report.brackets)}  # none of them is carried over
    for s in [s for p in report.curve for _, s in p if isinstance(s, Share)] + [
        step.certified_accuracy for step in report.smoothing[0].steps
    ]:
        known |= {s.at_least, s.at_most, math.floor(1000 * s.low) / 10, math.ceil(1000 * s.high) / 10}
    named = {item.title for item in EVIDENCE.values()} | {"NIST AI 100-2 E2025", "ISO/IEC 24029-2, 6.2.1"}
    words = {"SHA-256", "Linf", "L2", "L1", "L0", *named}
    body = " ".join(Page(text.split("<body>")[1]).texts)
    body = re.sub("[0-9a-f]{64}", " ", body)
    for word in sorted(words, key=len, reverse=True):
        body = body.replace(word, " ")
    for each in re.findall(r"\d+(?:\.\d+)?(?:e[-+]\d+)?", body):
        digits = len(each.partition(".")[2])
        near = any(abs(n - float(each)) <= 0.51 * 10.0**-digits for n in known)
        below = any(rounded_down(n) == each for n in known)  # margins and radii are rounded down
        assert near or below, each


def test_the_page_tells_how_much_follows_and_how_much_counts_as_open():
    """Rows carried over, by hand: 4 asked of 7, 2 of the others open between."""
    asked = [row(0.1, 0, V, Level.REAL), row(0.1, 1, U, Level.REAL), row(0.2, 0, U, Level.REAL)]
    asked.append(row(0.5, 1, U, Level.REAL))
    carried = [replace(asked[0], eps=0.05, detail={**asked[0].detail, "from_eps": 0.1})]
    carried += [replace(asked[3], eps=e, detail={**asked[3].detail, "from_eps": 0.5}) for e in (0.2, 0.3)]
    text = page(build(Findings(ABOUT, [WRITER], sorted(asked + carried, key=lambda r: r.eps)), 0), [])
    told = " ".join(text.split())
    assert "Of 7 questions (a sample at an eps), 4 were put to the methods" in told
    assert "2 count as unknown because the sample is unknown at a smaller and at a larger eps" in told


def smoothed(n, alpha):
    """A run with radii k / n for the samples k, a tenth of which have a wrong label."""
    answers = [(1 if k % 10 else 2, (k + 1) / n) for k in range(n)]
    return build(Findings(ABOUT, [], [], radius_rows(answers, alpha)), 0)


@pytest.mark.parametrize(("n", "alpha"), [(40, 0.001), (60, 0.01), (300, 0.001)])
def test_the_report_has_each_account_at_each_radius_with_its_randomness(n, alpha):
    (found,) = json.loads(smoothed(n, alpha).to_bytes())["smoothing"]
    assert {name: found[name] for name in LAPLACE} == LAPLACE
    accounts = {}
    for statement in found["guarantees"]:
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
    for step in found["steps"]:
        assert step["jointly"] == max(step["certified_accuracy"]["count"] - most, 0) / n


@pytest.mark.parametrize(("n", "alpha"), [(40, 0.001), (300, 0.001)])
def test_the_page_holds_the_accounts_of_the_report(n, alpha):
    found = smoothed(n, alpha)
    text = page(found, [])
    tables, accounts = Page(text).rows, {}
    for statement in found.smoothing[0].guarantees:
        shown = math.floor(1000 * statement.accuracy + 1e-9) / 10
        accounts.setdefault(statement.method, []).append(f"{shown:.1f}")
        assert statement.covers in text
    for method, cells in accounts.items():
        assert [method, *cells] in tables
    assert ("takes alpha =" in text) == ("Bonferroni" not in accounts)


def test_what_radii_rest_on_is_said_by_name(whole):
    _, _, text = whole
    for part in LAPLACE.values():
        assert str(markupsafe.escape(part)) in text
    assert "Gaussian" not in text


def test_the_page_says_what_is_claimed_and_by_what(whole):
    report, _, text = whole
    parts = (SENTENCES[Level.REAL], PGD, "no counterexample found by", "1 - 0.001", "41", "2.99", "12.3 s")
    for part in (*parts, "abacus", *report.not_claimed, *ABOUT["identity"].values()):
        assert part in text
    assert SENTENCES[Level.FLOAT] not in text.lower()
    weak = page(made(Level.FLOAT), [])
    assert SENTENCES[Level.FLOAT][1:] in weak
    assert "not proved" in weak
    assert SENTENCES[Level.REAL] not in weak


def test_the_page_needs_nothing_from_outside(whole):
    report, _, text = whole
    parsed = Page(text)
    assert not parsed.tags & {"script", "link", "iframe", "object", "form"}
    assert "&lt;script&gt;net" in text
    assert len(parsed.fetched) == len(pictures(report)) == 8
    for address in parsed.fetched:
        kind, data = address.split(",", 1)
        assert kind == "data:image/svg+xml;base64"
        image = base64.b64decode(data).decode()
        assert not re.search(r'(?:href|src)="(?!#|data:)', image.split("</metadata>")[-1])
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    anchors = set(re.findall(r'href="#([^"]+)"', text))
    assert anchors <= set(re.findall(r'id="([^"]+)"', text))


def test_the_gallery_can_be_left_out(whole):
    report, found, _ = whole
    assert len(report.gallery) == 2
    (first, _) = report.gallery
    x, witness = (np.frombuffer(base64.b64decode(t), "<f4") for t in (first.clean, first.witness))
    assert np.abs(witness.astype(float) - x).max() == first.distances["linf"]
    private = made(gallery=0)
    assert private.gallery == ()
    assert "gallery" not in {picture.name for picture in pictures(private)}
    assert found["gallery"][0]["clean"] not in page(private, [])


def test_markdown_and_hub_results_tell_the_same(whole):
    report, _, _ = whole
    text, results = model_card(report), eval_results(report)
    for point in report.curve:
        line = next(line for line in text.splitlines() if line.startswith(f"| {point.eps:g} |"))
        assert f"| {point.counts.verified} | {point.counts.unknown} |" in line
        assert f"value: {point.verified_accuracy.at_least:.1f}" in results
    assert 'id: "someone/digits"' in results
    for line in (*report.not_claimed, report.digest()):
        assert line in text
    elsewhere = report.model_copy(update={"data": report.data.model_copy(update={"hub": None})})
    assert eval_results(elsewhere) is None
    assert 'notes: "proved lower bound' in results
    floats = [row.model_copy(update={"level": Level.FLOAT}) for row in report.samples]
    assert "not proved (level float): lower" in eval_results(
        report.model_copy(update={"samples": tuple(floats)})
    )
    assert eval_results(report.model_copy(update={"status": "INVALID"})) is None


def test_a_run_folder_gets_all_files_and_the_same_again(tmp_path, whole):
    report, _, text = whole
    found = findings()
    identity = Identity(**ABOUT["identity"])
    folder, other = tmp_path / "run", tmp_path / "other"
    other.mkdir()
    with Ledger.open(folder, identity, ABOUT, WRITER) as ledger:
        ledger.record("eps=0.1", 0, 12.34, found.verdicts, found.radii)
    write_all(folder)
    first = {p.name: p.read_bytes() for p in folder.iterdir()}
    names = ("curve", "gap", "classes", "margins", "cactus", "gallery", "radius", "radii")
    drawn = {f"{name}.{kind}" for name in names for kind in ("csv", "svg", "png")}
    made_of_it = {"report.html", "report.md", "eval_results.yaml", *drawn}
    assert first.keys() == {"ledger.sqlite", "report.json", *made_of_it}
    assert first["report.json"] == report.to_bytes()
    assert first["report.html"].decode() == text
    render(Report.read(folder / "report.json"), other)
    assert {p.name: p.read_bytes() for p in other.iterdir()} == {name: first[name] for name in made_of_it}
    assert report_of(folder, Contents(0)).gallery == ()
    write_all(folder, Contents(0))
    again = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert all(again[name] == first[name] for name in drawn & again.keys())
    gone = first.keys() - again.keys()
    assert gone == {f"gallery.{kind}" for kind in ("csv", "svg", "png")}  # inputs are to be kept out
    assert {name.split(".")[0] for name in drawn} == set(NAMES)


def test_an_unfinished_run_says_so():
    some = Findings(ABOUT, [WRITER], rows(0.1, 1, 1, 1, 1, 1))
    report = build(some, 0)
    assert not report.complete
    assert "not finished" in page(report, [])
    assert build(findings(), 0).complete


def test_a_run_without_samples_has_no_report(tmp_path):
    Ledger.open(tmp_path, Identity("a", "b", "c"), ABOUT, WRITER).close()
    with pytest.raises(UsageError, match="no finished samples"):
        report_of(tmp_path)


def test_a_run_without_smoothing_has_no_radii():
    about = {**ABOUT, "smoothing": {"certifiers": [], "samples": 0}}
    assert "moothed classifier" not in page(build(Findings(about, [], rows(0.1, 1, 1, 1, 1, 1)), 0), [])


MODEL = mlp((4, 8, 3), valid=(0.0, 1.0))


@pytest.fixture(scope="module")
def result():
    """An evaluation in memory, with certificates and counterexamples."""
    x = uniform(12, 4, seed=3)
    deciders = [certify.PGD(steps=5), certify.CROWN()]
    return certify.evaluate(MODEL, x, right_answers(MODEL, x), certify.Linf(0.2), deciders)


def test_a_result_in_memory_is_a_page_of_its_own(result, tmp_path):
    certify.report(result, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    counts = [str(result.counts[v]) for v in Verdict]
    assert ["0.2", *counts, "12"] in Page(text).rows
    assert result.counts[F] > 0
    assert result.counts[V] > 0
    for decider in result.deciders:
        assert str(markupsafe.escape(decider)) in text
    assert "no counterexample found by PGD(" in text
    assert "found by CROWN" not in text
    assert SENTENCES[Level.REAL] in text
    assert result.digest in text
    assert "input range" not in text  # a result does not know it


def test_distances_are_measured_again(result):
    report = build(Findings.of_result(result), 0)
    for each, source in zip(report.samples, result.samples, strict=True):
        if source.witness is not None:
            delta = (source.witness.double() - source.x.double()).abs()
            assert each.distances["linf"] == float(delta.max())
            assert each.distances["l2"] == pytest.approx(float(delta.norm()), rel=1e-12)
            assert each.distances["l1"] == pytest.approx(float(delta.sum()), rel=1e-12)
            assert each.distances["l0"] == int((delta > 0).sum())
            assert source.predicted == each.predicted == each.label


def test_the_gallery_names_the_class_that_each_counterexample_has(result):
    """As the model itself answers; where it ties with the sample's own class, the page says so."""
    shown = build(Findings.of_result(result), 3).gallery
    assert shown
    for each in shown:
        _, point = arrays(each)
        answer = int(MODEL.forward(torch.from_numpy(point.copy())[None]).argmax())
        assert each.adversarial == answer != each.label
        assert becomes(each) == str(answer)
    assert becomes(shown[0].model_copy(update={"adversarial": shown[0].label})) == "tie"


def test_a_report_that_cannot_be_written(result, tmp_path):
    with pytest.raises(CertifyError, match="nowhere"):
        certify.report(result, tmp_path / "nowhere" / "report.html")


def test_long_curves_are_shown_in_part_and_say_so():
    budgets = [k / 1000 for k in range(120)]
    about = {**ABOUT, "threat": {"norm": "linf", "eps": budgets}}
    some = [r for eps in budgets for r in rows(eps, 1, 1, 1, 1, 1)]
    report = with_maps(build(Findings(about, [WRITER], some), 0))
    text = page(report, [])
    assert "25 of 120 eps are shown" in text.replace("\n", " ")
    shown = [row[0] for row in Page(text).rows if len(row) == 7 and row[-1] == "5"]
    assert (len(shown), shown[0], shown[-1]) == (25, "0", "0.119")
    assert thinned(range(120))[-1] == 119
    assert thinned([1]) == [1]
    assert thinned([]) == []


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


def test_an_unreliable_result_says_so_in_its_report(result):
    bad = Finding("zero gradients", "a paper", Outcome.FAIL, 1.0, 0.0, 0.05, "Gradients are zero.")
    for outcome, told in ((Outcome.FAIL, True), (Outcome.WARN, False), (Outcome.NOT_RUN, False)):
        health = Health(result.digest, "Linf", ("PGD()",), 9, (replace(bad, outcome=outcome),))
        report = build(Findings.of_result(result.with_health(health)), 0)
        text = page(report, [])
        assert (UNRELIABLE in text) is told
        assert (report.attacked_accuracy_is == UNRELIABLE) is told
        assert health.summary in text
        assert ["zero gradients", outcome.value, "1", "warn above 0, fail above 0.05", "a paper"] in [
            row[:5] for row in Page(text).rows
        ]
        (legend,) = [
            axes.get_legend() for p in pictures(report) if p.name == "curve" for axes in p.draw().axes
        ]
        assert any(report.attacked_accuracy_is in each.get_text() for each in legend.get_texts())


def test_maps_name_evidence_that_there_is(whole):
    report, _, text = whole
    assert {m.key for m in report.compliance} >= {
        "eu-ai-act", "iso-24029-1", "iso-24029-2", "iso-24029-3", "iso-42001", "iso-ts-4213",
        "nist-ai-rmf", "nist-ai-100-2", "easa-concept-paper", "imdrf-gmlp",
    }  # fmt: skip
    used = Counter(key for m in report.compliance for c in m.clauses for key in c.evidence)
    assert used.keys() <= EVIDENCE.keys() - {
        "none",
        "policy",
        "attack-health",
    }  # this report has none of these
    for each in report.compliance:
        assert each.as_of.startswith("20")
        assert each.status
        assert each.source.startswith("https://")
        for clause in each.clauses:
            assert clause.shown == bool(clause.evidence)
            assert clause.shown != (f"{each.title}, {clause.clause}: {clause.topic}" in report.not_measured)
    assert "omplian" in text
    assert "compliant" not in text


def test_users_add_maps_of_their_own(tmp_path):
    path = tmp_path / "own.toml"
    head = (
        'key = "own"\ntitle = "Our rules"\nversion = "3"\nas_of = "2026-01-01"\nstatus = "x"\nsource = "y"\n'
    )
    clause = '[[clause]]\nclause = "4.2"\ntopic = "robustness"\nevidence = ["verified-accuracy"]\n'
    path.write_text(head + clause)
    report = with_maps(build(findings(), 0), [path])
    assert report.compliance[-1].title == "Our rules"
    assert "Our rules" in page(report, [])
    for bad, word in (
        (clause.replace("verified-", "wonderful-"), "wonderful-accuracy"),
        ("[[", "no compliance map"),
    ):
        path.write_text(head + bad)
        with pytest.raises(UsageError, match=word):
            with_maps(report, [path])
    with pytest.raises(UsageError, match="cannot be read"):
        with_maps(report, [tmp_path / "none.toml"])
