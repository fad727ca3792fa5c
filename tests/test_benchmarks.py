"""The benchmark command, end to end on one small case, and the arithmetic of its columns."""

import csv
import sys

import numpy as np
import pytest
import torch

import bounds
from benchmarks.__main__ import main
from benchmarks.baselines.attacks_case import AttackAnswer, AttackCase
from benchmarks.baselines.generated import Shape
from benchmarks.baselines.probes import lost
from benchmarks.baselines.stages import Subject
from benchmarks.baselines.worker import Case
from benchmarks.baselines.zoo import ZOO
from benchmarks.measure import Repeats, Result, in_turn, paired_ratio
from benchmarks.probing import probe
from benchmarks.process import Process, Program, WorkerFailed
from benchmarks.suites import accuracy, operators
from benchmarks.suites.bounds import SUITE, _tightness
from benchmarks.suites.scaling import exponent, largest_that
from benchmarks.suites.smoothing_samples import N, _Case, _Runs
from benchmarks.table import Table
from certify.smoothing import Decide, Fixed, Gaussian, Grid


@pytest.fixture
def table(data_dir, tmp_path, monkeypatch):
    """The CSV rows of one case; this Python stands for a peer's that lacks the peer."""
    monkeypatch.setenv("CERTIFY_TEST_DATA", str(data_dir))
    command = "bounds --nets mnistfc_2 --methods CROWN-IBP --batch 2 --threads 1 --seconds 0 --repeats 2"
    command += " --dtypes float32 float64"
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
        assert row["runs"] == "2" and float(row["seconds"]) > 0
        assert 0 < float(row["MB"]) < 200 and row["verified"] == str(int((lower > 0).all(1).sum()))
        assert (row["looser"], row["tighter"], row["of"]) == ("", "", "")  # CROWN-IBP_b2 is not recorded
        assert "auto_LiRPA" in row["problem"] and row["ours/peer s"] == ""
    assert "Machine: " in page and "Peer: none that this Python can import." in page
    assert "`python -m benchmarks bounds --nets mnistfc_2 " in page
    assert "## CROWN-IBP, batch 2, float32" in page and "## CROWN-IBP, batch 2, float64" in page
    assert page.count("| mnistfc_2 |") == 2 and page.count("Summary: ") == 2


def test_recorded_margins_stand_in_for_a_peer_that_does_not_run(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("CERTIFY_TEST_DATA", str(data_dir))
    command = "bounds --nets mnistfc_2 --methods CROWN-IBP --batch 1 --threads 1 --seconds 0 --repeats 1"
    assert main([*command.split(), "--out", str(tmp_path)]) == 0
    with (tmp_path / "bounds.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    recorded = np.load(data_dir / "bounds" / "mnistfc_2.npz")["CROWN-IBP_b1"]
    assert float(row["peer mean"]) == pytest.approx(float(recorded.mean()), rel=1e-6)
    assert (row["looser"], row["of"], row["peer verified"]) == ("0", "9", "1")


def test_a_side_that_fails_leaves_the_others(data_dir):
    case = Case(str(data_dir / "bounds" / "mnistfc_2.onnx"), "IBP", 1, "float32", 1, 8)
    missing = Case("missing.onnx", "IBP", 1, "float32", 1, 8)
    ours = Program(sys.executable, "ours")
    good, bad = in_turn([(ours, case), (ours, missing)], Repeats(least=2, seconds=0), limit=60)
    assert isinstance(good, Result) and len(good.seconds) == 2 and good.margins.shape == (1, 9)
    assert isinstance(bad, WorkerFailed) and "missing" in bad.reason


def test_a_worker_beyond_its_limit_is_killed():
    with Process(Program(sys.executable, "ours"), threads=1) as process:
        answer = process.ask("", limit=0.01)
    assert isinstance(answer, WorkerFailed) and answer.reason == "no answer in 0.01 s"


def test_looser_and_tighter_count_what_is_beyond_noise_and_looser_nan():
    peer = np.array([[10.0, 0.0, -1.0, 2.0], [-3000.0, 0.0, 0.0, 0.0]])
    ours = np.array([[10.0 - 2e-4, -0.5e-4, np.nan, 3.0], [-3000.02, -1e-4, 1e-4, 1.0]])
    logits = np.array([[8.0, -2.0], [-0.5, 5.0]])
    counts = _tightness(ours, peer, logits)
    assert (counts["looser"], counts["tighter"], counts["of"]) == (3, 3, 8)
    assert (counts["peer verified"], _tightness(ours[:, 3:], peer[:, 3:], logits)["mean gain"]) == (0, 1.0)


def test_ratio_is_the_median_over_rounds():
    ours = Result("a", (1.0, 10.0, 3.0), np.zeros((1, 1)), 1.0)
    peer = Result("b", (2.0, 10.0, 2.0), np.zeros((1, 1)), 1.0)
    assert paired_ratio(ours, peer) == 1.0
    assert paired_ratio(peer, ours) == 1.0
    assert paired_ratio(ours, Result("c", (0.5, 5.0, 6.0), np.zeros((1, 1)), 1.0)) == 2.0


def _row(net: str, **cells: float | str) -> dict[str, object]:
    rows = {"net": net, "method": "CROWN", "batch": 1, "dtype": "float32", **cells}
    return {name: rows.get(name) for name in SUITE.shown}


def test_the_page_has_a_part_per_group_and_its_summary():
    rows = [
        _row("a", **{"ours/peer s": 0.25, "looser": 0, "tighter": 3, "of": 9, "mean gain": 0.1}),
        _row("b", **{"ours/peer s": 0.5, "looser": 2, "tighter": 0, "of": 9, "mean gain": -0.1}),
        _row("c", batch=32, problem="too | large"),
    ]
    page = Table("T", ("note",), SUITE.shown, rows, SUITE.groups, SUITE.summary).markdown()
    first, second = page.split("## CROWN, batch 32, float32")
    assert first.startswith("# T\n\nnote\n\n## CROWN, batch 1, float32\n\n| net | ours/peer s |")
    assert "time ours/peer at most 0.5 (b); memory at most -" in first
    assert "tighter in the mean on 1 of 2 nets; 2 of 18 margins looser, 3 tighter" in first
    assert "| c | too \\| large |" in second and "on 0 of 0 nets" in second


def test_exponents_and_the_largest_that_fits():
    assert exponent([2, 4, 8, 16], [3 * n**1.5 for n in (2, 4, 8, 16)]) == pytest.approx(1.5)
    for edge in (7, 8, 100, 1023):
        tried = []
        best = largest_that(lambda n, edge=edge, tried=tried: tried.append(n) or n <= edge, 8, 1.05)
        assert best <= edge and (best == 0 if edge < 8 else edge < 1.05 * best + 1)
        assert len(tried) == len(set(tried))


def test_generated_networks_are_the_same_in_every_process_and_scale(tmp_path):
    shape = Shape("cnn", depth=2, width=3, size=5, rows=4)
    one, two = shape.module(), shape.module()
    x = torch.ones(2, *shape.input_shape())
    assert shape.neurons() == 2 * 3 * 25 and torch.equal(one(x), two(x)) and one(x).abs().max() > 0.1
    case = Case(Shape("mlp", 2, 8, 4, 5).text(), "CROWN", 3, "float32", 1, 8)
    [result] = in_turn([(Program(sys.executable, "generated"), case)], Repeats(1, seconds=0), limit=60)
    assert isinstance(result, Result) and result.margins.shape == (3, 5)


def test_a_probe_outlives_its_process_and_ends_where_the_first_stage_fails(data_dir):
    worker, net = Program(sys.executable, "coverage"), data_dir / "bounds" / "mnistfc_2.onnx"
    ready, lost, found = probe(worker, Subject(str(net), 8, 1), ("no such stage", "IBP"), 60)
    assert ready.error is None and "ended with code 1: KeyError" in lost.error and found.error is None
    [refused] = probe(worker, Subject(__file__, 8, 1), ("IBP", "CROWN"), 60)
    assert refused.error.startswith("InvalidFile")


def test_coverage_of_networks(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("CERTIFY_TEST_DATA", str(data_dir))
    assert main(["coverage", "--nets", "safenlp", "--threads", "1", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "coverage.md").read_text()
    assert "Summary: import 1 of 1, IBP 1 of 1, CROWN 1 of 1." in page


@pytest.mark.parametrize("name", ZOO)
def test_every_operator_probe_is_alive_and_the_same_each_time(name):
    probe = ZOO[name]
    module, (low, high) = probe.module(), probe.box()
    y = torch.stack([module(low), module(high), module((low + high) / 2)]).detach()
    assert bool((high > low).all() and y.isfinite().all()) and bool((y.amax(0) > y.amin(0)).any())
    assert torch.equal(probe.module()(low), module(low)) and y[0].dim() == 2
    hull = probe.module()((low + high) / 2).detach()
    assert lost(module, (low, high), (hull - 1e4, hull + 1e4)) is None
    assert "outside" in str(lost(module, (low, high), (hull, hull)))
    assert "not finite" in str(lost(module, (low, high), (hull - torch.inf, hull + 1e4)))


def test_operators_that_pass_and_fail_on_each_side():
    rows = [
        dict.fromkeys(operators.SHOWN)
        | {"operator": "a", "IBP": 2.0, "CROWN": 1.0, "alpha": 1.0, "real": 1.0},
        dict.fromkeys(operators.SHOWN) | {"operator": "b", "problem": "import: no"},
    ]
    rows[0] |= {"peer IBP": 2.0, "ratio IBP": 1.0, "peer problem": "CROWN: no"}
    summary = operators.SUITE.summary(rows)
    assert "ours 1 of 2 whole (IBP 1, CROWN 1, alpha 1, real 1)" in summary
    assert "peer 0 of 2 whole (IBP 1, CROWN 0, alpha 0)" in summary and "Missing: b." in summary


@pytest.mark.slow
def test_operator_probe_end_to_end(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("CERTIFY_TEST_DATA", str(data_dir))
    command = "operators --nets linear --threads 1 --peer-python"
    assert main([*command.split(), sys.executable, "--out", str(tmp_path)]) == 0
    with (tmp_path / "operators.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert 0 < float(row["alpha"]) <= float(row["CROWN"]) <= float(row["IBP"]) and row["problem"] == ""
    assert "auto_LiRPA" in row["peer problem"]


@pytest.mark.parametrize(
    "extra", [["--nets", "nosuchnet"], ["--methods", "nosuchmethod"], ["--data", "nowhere"]]
)
def test_a_command_that_cannot_be_carried_out_is_one_line(data_dir, monkeypatch, capsys, extra):
    monkeypatch.setenv("CERTIFY_TEST_DATA", str(data_dir))
    assert main(["bounds", *extra]) == 2
    error = capsys.readouterr().err
    assert extra[1] in error and error.count("\n") == 1


def test_noise_is_measured_beside_randn(data_dir, tmp_path):
    command = (
        f"smoothing-noise --nets 3x32x32 --batch 4 --threads 1 --seconds 0 --repeats 2 --data {data_dir}"
    )
    threads = torch.get_num_threads()
    try:
        assert main([*command.split(), "--out", str(tmp_path)]) == 0
    finally:
        torch.set_num_threads(threads)
    with (tmp_path / "smoothing-noise.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["ratio"]) for row in rows if row["noise"] == "torch.randn"] == [1.0]
    assert sum(row["noise"].startswith("DiscreteGaussian") for row in rows) == 4
    assert all(float(row["ns per number"]) > 0 and row["runs"] == "2" for row in rows)
    assert "exact noise costs at most" in (tmp_path / "smoothing-noise.md").read_text()


def test_draws_of_modes_are_set_against_what_the_reference_certifies():
    p, reference = np.full(4, 0.99), np.array([0.9, 0.6, 0.3, 0.0])
    case = _Case("votes", Gaussian(0.5), p, reference)

    def counts(mode, radius):
        row = case.row(mode, _Runs(np.array(radius), np.full(4, N / 10), None))
        assert row["x fewer"] == pytest.approx(10)
        return tuple(row[name] for name in ("certified", "fixed certifies", "lost", "gained"))

    assert counts(Fixed(N), [0.9, 0.6, 0.0, 0.2]) == (3, 3, 1, 1)
    # a radius of 0.5 can be had for two inputs alone, whether the mode finds any or none
    assert counts(Decide(0.5), [0.5, 0.0, 0.5, 0.0]) == (2, 2, 1, 1)
    assert counts(Decide(0.5), [0.0, 0.0, 0.0, 0.0]) == (0, 2, 2, 0)
    # radius lost: against the largest radius of the grid below the reference's
    assert counts(Grid((0.2, 0.4, 0.8)), [0.8, 0.4, 0.2, 0.0]) == (3, 3, 0, 0)
    exact = case.row(Grid((0.2, 0.4, 0.8)), _Runs(np.array([0.8, 0.4, 0.1, 0.0]), np.ones(4), None))
    assert exact["radius lost"] == pytest.approx(0.5 / 3)


def test_attacks_are_set_beside_the_record(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("CERTIFY_TEST_DATA", str(data_dir))
    command = "attacks --nets cifar --methods PGD-50 --threads 1 --out"
    assert main([*command.split(), str(tmp_path)]) == 0
    with (tmp_path / "attacks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[-1]["by"] == "ours" and {row["by"][-8:] for row in rows[:-1]} == {"recorded"}
    assert len(rows) >= 6 and all(0.4 < float(row["robust accuracy"]) < 0.55 for row in rows)
    assert 15 < float(rows[-1]["forwards"]) < 52 and float(rows[-1]["cpu s"]) > 0


def test_a_peer_that_is_missing_is_a_line_of_the_table_of_attacks(data_dir, tmp_path):
    case = AttackCase(str(data_dir), str(data_dir), "Linf", 0.1, 1, 1)
    with Process(Program(sys.executable, "attacks_peer"), 1) as process:
        said = process.ask(case.line(), 60.0)
    assert isinstance(said, str) and "pyautoattack" in str(AttackAnswer.read(said).error)


def test_verified_accuracy_goes_on_where_it_was_stopped(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("CERTIFY_TEST_DATA", str(data_dir))
    command = [
        "accuracy",
        "--nets",
        "toy/mnist_2_20",
        "--threads",
        "1",
        "--limit",
        "2",
        "--out",
        str(tmp_path),
    ]
    assert main([*command, "--batch", "2"]) == 0
    first = (tmp_path / "accuracy.csv").read_text().splitlines()
    assert main([*command, "--batch", "4", "--resume"]) == 0
    rows = (tmp_path / "accuracy.csv").read_text().splitlines()
    assert rows[:3] == first and len(rows) == 5
    page = (tmp_path / "accuracy.md").read_text()
    assert "## toy/mnist_2_20" in page and "Recorded: 86 of the first 100." in page
    earlier = [line.split(",") for line in rows]
    missing = [earlier[0].index(name) for name in ("bound", "root", "attack", "domains")]
    earlier[1][3:6] = ["unknown", "", "7.5"]
    earlier[2][5] = "8.5"
    older = [",".join(c for k, c in enumerate(line) if k not in missing) for line in earlier]
    (tmp_path / "accuracy.csv").write_text("\n".join(older) + "\n")
    assert main([*command, "--batch", "1", "--resume"]) == 0
    again = [line.split(",") for line in (tmp_path / "accuracy.csv").read_text().splitlines()]
    assert [line[:5] for line in again] == [line.split(",")[:5] for line in rows]
    assert again[1][5] != "7.5" and again[2][5] == "8.5"


def test_undecided_images_say_what_is_missing(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("CERTIFY_TEST_DATA", str(data_dir))
    command = "accuracy --nets eran/cifar_conv_small_pgd --batch 2 --limit 1 --threads 1 --out"
    assert main([*command.split(), str(tmp_path)]) == 0
    with (tmp_path / "accuracy.csv").open(newline="") as file:
        decided, left = csv.DictReader(file)
    assert (decided["verdict"], decided["bound"], decided["attack"]) == ("verified", "", "")
    assert left["verdict"] == "unknown" and int(left["domains"]) >= 0
    assert float(left["root"]) <= float(left["bound"]) <= 0 < float(left["attack"])
    published = {**left, "published": 0.5, "attacked": 0.6}
    summary = accuracy.SUITE.summary([{**published, "bound": b} for b in (-0.05, -0.1, None, -0.4, -7.0)])
    assert "Bounds of undecided images: 2 within 0.1 of 0, 1 within 0.5, 1 beyond." in summary
