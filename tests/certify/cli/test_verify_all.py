"""``certify verify-all``: a line of results for each instance, kept when the run is cut short."""

import csv

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from certify.cli import main
from certify.errors import Exit
from tests.certify.cli.test_verify import RAMP, counterexample, network

PROPERTY = (
    "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n"
    "(assert (>= X_0 -1))\n(assert (<= X_0 2))\n(assert (>= Y_0 {}))\n"
)


@pytest.fixture
def listed(tmp_path):
    """A list of one instance each way."""
    (tmp_path / "bench").mkdir()
    network(tmp_path / "bench" / "net.onnx", RAMP)
    for name, limit in (("holds", 2.5), ("fails", 0.9)):
        (tmp_path / "bench" / f"{name}.vnnlib").write_text(PROPERTY.format(limit))
    path = tmp_path / "bench" / "instances.csv"
    path.write_text("net.onnx,holds.vnnlib,20\nnet.onnx,fails.vnnlib,20\n")
    return path


def rows(folder):
    with (folder / "results.csv").open() as file:
        return list(csv.reader(file))


def test_results_counts_and_the_plot(listed, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["verify-all", str(listed), "--out", str(out)]) == Exit.PASS
    said, progress = capsys.readouterr()
    found = rows(out)
    assert [row[:3] + row[4:5] for row in found] == [
        ["bench", "net.onnx", "holds.vnnlib", "unsat"],
        ["bench", "net.onnx", "fails.vnnlib", "sat"],
    ]
    assert all(0 < float(row[5]) < 20 for row in found)
    assert said.startswith("1 verified, 1 falsified, 0 unknown of 2; PAR-2 ")
    assert "[1/2]" in progress
    assert "s left" in progress
    (shown,) = (out / "counterexamples").iterdir()
    assert shown.name.startswith("net-fails-")
    (x,), (y,) = counterexample(shown.read_text().split("\n", 1)[1])
    assert y >= 0.9
    assert -1 <= x <= 2
    assert "<svg" in (out / "cactus.svg").read_text()
    numbers = list(csv.reader((out / "cactus.csv").read_text().splitlines()))
    assert [row[:2] for row in numbers[1:]] == [["verified", "1"], ["falsified", "1"]]


def test_a_second_run_does_what_is_missing(listed, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["verify-all", str(listed), "--out", str(out)]) == Exit.PASS
    kept = "bench,net.onnx,holds.vnnlib,0,timeout,20.000"  # told from what is decided anew
    (out / "results.csv").write_text(f"{kept}\nbench,net.onnx,fai")  # cut short
    assert main(["verify-all", str(listed), "--out", str(out)]) == Exit.PASS
    found = {(row[2], row[4]) for row in rows(out) if len(row) == 6}
    assert found == {("holds.vnnlib", "timeout"), ("fails.vnnlib", "sat")}
    assert "1 instances have a result already" in capsys.readouterr().err
    main(["verify-all", str(listed), "--out", str(out)])
    assert "PAR-2" in capsys.readouterr().out


def test_results_of_files_that_are_others_now_are_none(listed, tmp_path, capsys):
    out = tmp_path / "out"
    listed.write_text("net.onnx,holds.vnnlib,20\n")
    assert main(["verify-all", str(listed), "--out", str(out)]) == Exit.PASS
    assert [row[4] for row in rows(out)] == ["unsat"]
    (listed.parent / "holds.vnnlib").write_text(PROPERTY.format(0.9))
    capsys.readouterr()
    assert main(["verify-all", str(listed), "--out", str(out)]) == Exit.PASS
    assert "1 instances have changed since" in capsys.readouterr().err
    assert [row[4] for row in rows(out)] == ["sat"]
    listed.write_text("net.onnx,fails.vnnlib,20\nnet.onnx,holds.vnnlib,20\n")  # another place in the list
    assert main(["verify-all", str(listed), "--out", str(out)]) == Exit.PASS
    assert [row[2] for row in rows(out)] == ["holds.vnnlib", "fails.vnnlib"]
    names = sorted(path.name.rsplit("-", 1)[0] for path in (out / "counterexamples").iterdir())
    assert names == ["net-fails", "net-holds"]


def test_instances_that_cannot_be_read_are_results_too(listed, tmp_path):
    listed.write_text("net.onnx,missing.vnnlib,20\nnet.onnx,holds.vnnlib,20\n")
    assert main(["verify-all", str(listed), "--out", str(tmp_path / "out")]) == Exit.ARTEFACT_REJECTED
    first, second = rows(tmp_path / "out")
    assert first[4].startswith("error: ")
    assert "missing.vnnlib" in first[4]
    assert second[4] == "unsat"


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "no instances"), ("net.onnx\n", "line 1"), ("a,b,10\nc,d,soon\n", "line 2"), ("a,b,0\n", "line 1")],
)
def test_lists_that_are_none_are_refused(listed, tmp_path, refuse, text, words):
    listed.write_text(text)
    code, line = refuse("verify-all", listed, "--out", tmp_path / "out")
    assert code == Exit.USAGE
    assert words in line


def test_results_of_weights_that_are_others_now_are_none(listed, tmp_path, capsys):
    path, out = listed.parent / "net.onnx", tmp_path / "out"
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        tensor.raw_data = numpy_helper.to_array(tensor).tobytes()
    data = {"all_tensors_to_one_file": True, "location": "weights", "size_threshold": 0}
    onnx.save_model(model, path, save_as_external_data=True, **data)
    listed.write_text("net.onnx,holds.vnnlib,20\n")
    assert main(["verify-all", str(listed), "--out", str(out)]) == Exit.PASS
    assert [row[4] for row in rows(out)] == ["unsat"]
    weights = path.parent / "weights"
    weights.write_bytes((10 * np.frombuffer(weights.read_bytes(), dtype=np.float32)).tobytes())
    capsys.readouterr()
    assert main(["verify-all", str(listed), "--out", str(out)]) == Exit.PASS
    assert "1 instances have changed since" in capsys.readouterr().err
    assert [row[4] for row in rows(out)] == ["sat"]
