"""Proofs of a run's verdicts: kept in its ledger, counted by its report, checked by its audit."""

import sqlite3
from dataclasses import replace

import pytest

from certify.cli import main
from certify.errors import Exit
from certify.ledger import FILE, Ledger
from certify.model import load
from certify.reporting import Report
from certify.verdict import Verdict
from tests.certify.cli import project

_DECIDERS = '[deciders]\nuse = ["pgd", "crown"]\n'


@pytest.fixture
def finished(tmp_path, one_picture):
    """The configuration and the folder of a run with proofs."""
    config = project.make(tmp_path)
    deciders = '[deciders]\nuse = ["pgd", "branch-and-bound"]\n[deciders.branch-and-bound]\nproofs = true\n'
    project.change(config, _DECIDERS, deciders)
    project.change(config, "samples = 8", "samples = 2")
    assert main(["run", str(config), "--out", str(tmp_path / "out")]) == Exit.PASS
    return config, tmp_path / "out"


def rows(folder):
    with Ledger.read(folder) as ledger:
        return ledger.verdicts()


def checked(config, folder, capsys):
    """Exit code and the line about proofs."""
    capsys.readouterr()
    command = ["check", str(folder / "report.json"), "--config", str(config), "--run", str(folder)]
    code = main([*command, "--samples", "1"])
    return code, [line for line in capsys.readouterr().out.splitlines() if " proofs: " in line]


def test_verdicts_come_with_proofs(finished, capsys):
    config, folder = finished
    report = Report.read(folder / "report.json")
    verified = [row for row in rows(folder) if row.verdict is Verdict.VERIFIED]
    assert verified
    assert all(row.proof is not None or "from_eps" in row.detail for row in verified)
    assert sum(each.verified for each in report.proofs) == len(verified)
    assert all(each.proved == each.verified for each in report.proofs)
    assert "come with a proof" in (folder / "report.html").read_text()
    code, [line] = checked(config, folder, capsys)
    assert code == Exit.PASS
    assert line.startswith("confirmed")


def test_proofs_that_were_exchanged_are_found(finished, capsys):
    config, folder = finished
    with sqlite3.connect(folder / FILE) as connection:
        (first, a), (second, b), *_ = connection.execute("SELECT rowid, file FROM proofs").fetchall()
        for place, data in ((first, b), (second, a)):
            connection.execute("UPDATE proofs SET file = ? WHERE rowid = ?", (data, place))
    code, [line] = checked(config, folder, capsys)
    assert code == Exit.FAILED
    assert "is not in the run folder" in line


def test_a_changed_graph_has_no_file(tmp_path):
    project.make(tmp_path)
    model = load(tmp_path / "net.onnx")
    assert model.onnx == (tmp_path / "net.onnx").read_bytes()
    assert model.graph is not None
    assert replace(model, graph=model.graph.map_params(lambda p: 2 * p)).onnx is None


@pytest.mark.usefixtures("no_pictures")
def test_modules_say_why_they_have_no_proof(tmp_path):
    config = project.make(tmp_path)
    deciders = '[deciders]\nuse = ["branch-and-bound"]\n[deciders.branch-and-bound]\nproofs = true\n'
    project.change(config, _DECIDERS + "\n[deciders.pgd]\nsteps = 5\n", deciders)
    project.change(config, "input_range = [0, 1]", "input_range = [0, 1]\nmean = 0.5\nstd = 2.0")
    project.change(config, "samples = 8", "samples = 2")
    assert main(["run", str(config), "--out", str(tmp_path / "out")]) == Exit.PASS
    report = Report.read(tmp_path / "out" / "report.json")
    assert report.proofs == ()
    told = [each.detail["not_proved"] for row in report.samples for each in row.findings if each.margin]
    assert told
    assert all("no ONNX file by itself" in reason for reason in told)
