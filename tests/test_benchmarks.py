"""The benchmark command, end to end on one small case, and the arithmetic of its columns."""

import csv
import sys

import numpy as np
import pytest
import torch

import bounds
from benchmarks.__main__ import main
from benchmarks.baselines.worker import Case
from benchmarks.measure import Program, Repeats, Result, WorkerFailed, in_turn, paired_ratio
from benchmarks.suites.bounds import _tightness


@pytest.fixture
def table(data_dir, tmp_path, monkeypatch):
    """The CSV rows of one case; this Python stands for a peer's that lacks the peer."""
    monkeypatch.setenv("CERTIFY_TEST_DATA", str(data_dir))
    command = "bounds --nets mnistfc_2 --methods CROWN-IBP --batch 2 --threads 1 --seconds 0 --repeats 2"
    assert main([*command.split(), "--peer-python", sys.executable, "--out", str(tmp_path)]) == 0
    page = (tmp_path / "bounds.md").read_text()
    with (tmp_path / "bounds.csv").open(newline="") as file:
        return page, list(csv.DictReader(file))


def test_the_table_holds_our_bounds_and_says_what_failed(data_dir, table):
    page, rows = table
    recorded = np.load(data_dir / "bounds" / "mnistfc_2.npz")
    graph = bounds.read_onnx(data_dir / "bounds" / "mnistfc_2.onnx")
    region = bounds.Box(torch.tensor(recorded["lo"][:2]), torch.tensor(recorded["hi"][:2]))
    spec = bounds.margins(torch.tensor(recorded["y"][:2]), 10)
    for row, dtype in zip(rows, (torch.float32, torch.float64), strict=True):
        lower = bounds.bound(graph, region, spec, method="crown-ibp", dtype=dtype).lower
        assert float(row["mean margin"]) == pytest.approx(float(lower.mean()), rel=1e-5)
        assert row["runs"] == "2" and float(row["seconds"]) > 0 and int(row["MB"]) > 50
        assert "auto_LiRPA" in row["problem"] and row["ours/peer s"] == ""
    assert "Machine: " in page and "`python -m benchmarks bounds --nets mnistfc_2 " in page
    assert page.count("| mnistfc_2 | 2 | CROWN-IBP |") == 2


def test_a_side_that_fails_leaves_the_others(data_dir):
    case = Case(str(data_dir / "bounds" / "mnistfc_2.onnx"), "IBP", 1, "float32", 1, 8)
    missing = Case("missing.onnx", "IBP", 1, "float32", 1, 8)
    ours = Program(sys.executable, "ours")
    good, bad = in_turn([(ours, case), (ours, missing)], Repeats(least=2, seconds=0))
    assert isinstance(good, Result) and len(good.seconds) == 2 and good.margins.shape == (1, 9)
    assert isinstance(bad, WorkerFailed) and "missing" in bad.reason


def test_looser_counts_what_is_beyond_noise_and_nan():
    peer = np.array([[10.0, 0.0, -1.0, 2.0]])
    ours = np.array([[10.0 - 2e-3, -0.5e-4, np.nan, 3.0]])
    assert _tightness(ours, peer)["looser"] == 2
    assert _tightness(ours[:, 3:], peer[:, 3:])["mean gain"] == 1.0


def test_ratio_is_the_median_over_rounds():
    ours = Result("a", (1.0, 10.0, 3.0), np.zeros((1, 1)), 1)
    peer = Result("b", (2.0, 10.0, 2.0), np.zeros((1, 1)), 1)
    assert paired_ratio(ours, peer) == 1.0
    assert paired_ratio(peer, ours) == 1.0
    assert paired_ratio(ours, Result("c", (0.5, 5.0, 6.0), np.zeros((1, 1)), 1)) == 2.0


@pytest.mark.parametrize(
    "extra", [["--nets", "nosuchnet"], ["--methods", "nosuchmethod"], ["--data", "nowhere"]]
)
def test_a_command_that_cannot_be_carried_out_is_one_line(data_dir, monkeypatch, capsys, extra):
    monkeypatch.setenv("CERTIFY_TEST_DATA", str(data_dir))
    assert main(["bounds", *extra]) == 2
    error = capsys.readouterr().err
    assert extra[1] in error and error.count("\n") == 1
