"""``certify verify``: the words, exit codes and counterexamples of the competition."""

import csv
import gzip
import re
import time
from functools import partial

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import bounds
import certify.property
from bounds.vnnlib import read_vnnlib
from certify.cli import main
from certify.errors import Exit

# y = relu(x) - relu(x - 1): 0 below 0, then x, then 1
RAMP = ([[1.0, 1.0]], [0.0, -1.0], [[1.0], [-1.0]], [0.0])
# y = relu(x) - relu(x): always 0, which no bound of single neurons shows
ZERO = ([[1.0, 1.0]], [0.0, 0.0], [[1.0], [-1.0]], [0.0])


def network(path, parameters, operator="Relu", dtype=np.float32):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
        helper.make_node(operator, ["h"], ["a"]),
        helper.make_node("Gemm", ["a", "w2", "b2"], ["y"]),
    ]
    tensors = [
        numpy_helper.from_array(np.array(value, dtype=dtype), name)
        for name, value in zip(("w1", "b1", "w2", "b2"), parameters, strict=True)
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, [1, 1])],
        [helper.make_tensor_value_info("y", kind, [1, 1])],
        tensors,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def counterexample(text):
    """X and Y of a printed counterexample."""
    assert text.count("(") == text.count(")")
    found = re.findall(r"\((\w)_(\d+) ([^\s()]+)\)", text)
    parts = {letter: [float(v) for kind, _, v in found if kind == letter] for letter in "XY"}
    assert [int(i) for _, i, _ in found] == [*range(len(parts["X"])), *range(len(parts["Y"]))]
    return np.array(parts["X"]), np.array(parts["Y"])


@pytest.fixture
def ask(tmp_path, capsys):
    """Ask whether y can be <= or >= a limit for x in an interval; returns (exit code, first line, rest)."""

    def ask(parameters, lower, upper, unsafe, *options):
        network(tmp_path / "net.onnx", parameters)
        (tmp_path / "prop.vnnlib").write_text(
            "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n"
            f"(assert (>= X_0 {lower}))\n(assert (<= X_0 {upper}))\n(assert ({unsafe}))\n"
        )
        code = main(["verify", str(tmp_path / "net.onnx"), str(tmp_path / "prop.vnnlib"), *options])
        first, rest = capsys.readouterr().out.split("\n", 1)
        return code, first, rest

    return ask


@pytest.mark.parametrize(
    ("parameters", "unsafe", "status"),
    [
        (RAMP, ">= Y_0 2.5", "unsat"),
        (RAMP, "<= Y_0 -1.5", "unsat"),
        (RAMP, ">= Y_0 0.9", "sat"),
        (RAMP, ">= Y_0 1.0", "sat"),  # a tie
        (RAMP, "<= Y_0 0.0", "sat"),
        (ZERO, ">= Y_0 0.0", "sat"),
        (ZERO, ">= Y_0 0.1", "unsat"),
    ],
)
def test_the_status_is_right_and_the_exit_code_tells_it(ask, parameters, unsafe, status):
    code, first, rest = ask(parameters, -1, 2, unsafe)
    assert first == status
    assert code == {"unsat": Exit.PASS, "sat": Exit.FAILED}[status]
    if status != "sat":
        assert rest == ""
        return
    (x,), (y,) = counterexample(rest)
    assert -1 <= x <= 2
    assert y == (max(x, 0) - max(x - 1, 0) if parameters is RAMP else 0)
    operator, limit = unsafe.split(" Y_0 ")
    assert y >= float(limit) if operator == ">=" else y <= float(limit)


def test_unknown_says_how_far_it_got(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(certify.property.bounds, "verify", partial(certify.property.bounds.verify, pool=0))
    network(tmp_path / "net.onnx", ZERO)
    (tmp_path / "prop.vnnlib").write_text(
        "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n"
        "(assert (>= X_0 -1.0))\n(assert (<= X_0 1.0))\n(assert (>= Y_0 0.125))\n"
    )
    code = main(["verify", str(tmp_path / "net.onnx"), str(tmp_path / "prop.vnnlib")])
    out, err = capsys.readouterr()
    assert (code, out) == (Exit.INCONCLUSIVE, "unknown\n")
    [said] = re.findall(
        r"undecided after (\d+) domains: lower bound (-[\d.]+) \((-[\d.]+) before any cut\), "
        r"least value found 0\.125$",
        err,
        re.MULTILINE,
    )
    assert int(said[0]) >= 1 and -1.0 <= float(said[2]) <= float(said[1])


def test_a_search_that_notices_the_end_says_how_far_it_got(tmp_path, capsys, monkeypatch):
    def late(*_, level, timeout, **__):
        time.sleep(timeout)
        gap = bounds.Gap(-2.0, -1.0, 0.5)
        return [bounds.Decision(bounds.Status.TIMEOUT, level, None, None, 7, timeout, gap)]

    monkeypatch.setattr(certify.property.bounds, "verify", late)
    network(tmp_path / "net.onnx", ZERO)
    (tmp_path / "prop.vnnlib").write_text(
        "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n"
        "(assert (>= X_0 -1.0))\n(assert (<= X_0 1.0))\n(assert (>= Y_0 0.125))\n"
    )
    command = ["verify", str(tmp_path / "net.onnx"), str(tmp_path / "prop.vnnlib"), "--timeout", "1"]
    assert main(command) == Exit.INCONCLUSIVE
    out, err = capsys.readouterr()
    said = "undecided after 7 domains: lower bound -1 (-2 before any cut), least value found 0.5"
    assert out == "timeout\n" and err.endswith(f"{said}\n")


def test_an_input_pinned_to_no_float32_is_met_to_the_nearest(ask):
    _, first, rest = ask(RAMP, "0.1", "0.1", ">= Y_0 0.05")
    (x,), _ = counterexample(rest)
    assert (first, x) == ("sat", float(np.float32(0.1)))


def test_a_counterexample_next_to_the_region_is_told_from_one_inside(tmp_path, capsys):
    network(tmp_path / "net.onnx", RAMP)
    for value, told in ((0.1, True), (0.125, False)):
        (tmp_path / "prop.vnnlib").write_text(
            "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n"
            f"(assert (>= X_0 {value}))\n(assert (<= X_0 {value}))\n(assert (>= Y_0 0.05))\n"
        )
        assert main(["verify", str(tmp_path / "net.onnx"), str(tmp_path / "prop.vnnlib")]) == Exit.FAILED
        assert ("next to the region" in capsys.readouterr().err) == told


def test_float32_points_lie_inside_where_there_are_any(ask):
    # the float32 neighbours of 0.1 lie on both sides of it
    _, _, rest = ask(RAMP, "0.1", "0.2", "<= Y_0 0.15")
    (x,), _ = counterexample(rest)
    assert 0.1 <= x <= 0.2


def test_a_property_that_only_exact_arithmetic_refutes_is_not_called_unsat(ask):
    # relu(x + 2^54) - relu(x + 2^54 - 1) = 1 in exact arithmetic; in floats the two layers cancel to 0
    big = 2.0**54
    _, first, _ = ask(
        ([[1.0, 1.0]], [big, big - 1], [[1.0], [-1.0]], [0.0]), "0.3", "0.4", ">= Y_0 0.5", "--timeout", "3"
    )
    assert first != "unsat"


@pytest.mark.parametrize(("limit", "status"), [(1 + 2e-10, "unsat"), (1 + 5e-11, "sat")])
def test_a_network_of_double_precision_is_not_rounded(tmp_path, capsys, limit, status):
    """y = (1 + 1e-10) x, of which float32 makes x."""
    network(tmp_path / "net.onnx", ([[1 + 1e-10]], [0.0], [[1.0]], [0.0]), dtype=np.float64)
    (tmp_path / "prop.vnnlib").write_text(
        "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n"
        f"(assert (>= X_0 0))\n(assert (<= X_0 1))\n(assert (>= Y_0 {limit!r}))\n"
    )
    main(["verify", str(tmp_path / "net.onnx"), str(tmp_path / "prop.vnnlib")])
    first, _, rest = capsys.readouterr().out.partition("\n")
    assert first == status
    if status == "sat":
        (x,), (y,) = counterexample(rest)
        assert y >= limit
        assert y == (1 + 1e-10) * x


def test_the_result_is_written_to_a_file_as_printed(ask, tmp_path):
    for unsafe in (">= Y_0 0.9", ">= Y_0 2.5"):
        _, first, rest = ask(RAMP, -1, 2, unsafe, "--out", str(tmp_path / "result"))
        assert (tmp_path / "result").read_text() == f"{first}\n{rest}"


def test_time_that_is_up_is_a_timeout(ask, monkeypatch):
    def endless(*_):
        while True:
            pass

    monkeypatch.setattr(certify.property, "answer", endless)
    assert ask(RAMP, -1, 2, ">= Y_0 0.9", "--timeout", "0.2") == (Exit.INCONCLUSIVE, "timeout", "")


@pytest.mark.parametrize("benchmark", ["test", "safenlp", "rl_benchmarks", "collins_rul_cnn"])
def test_answers_never_contradict_the_competitions(benchmark, data_dir, capsys, tmp_path):
    folder = data_dir / "vnncomp"
    with (folder / "manifest.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["benchmark"] == benchmark][:6]
    assert rows
    for row in rows:
        main(["verify", str(folder / row["onnx"]), str(folder / row["vnnlib"]), "--timeout", "20"])
        first, rest = capsys.readouterr().out.split("\n", 1)
        assert first in {row["expected"], "unknown", "timeout"}
        if first == "sat":
            x, y = counterexample(rest)
            replayed = replay(folder / row["onnx"], x)
            assert replayed == pytest.approx(y, rel=1e-4, abs=1e-5)
            region, _ = read_vnnlib(folder / row["vnnlib"])
            lower, upper = region.lower.numpy(), region.upper.numpy()
            near = np.abs(x - np.clip(x, lower, upper)) <= np.spacing(np.abs(x).astype(np.float32))
            assert near.all(axis=1).any()


def replay(path, x):
    """The output of onnxruntime on a flat input."""
    session = onnxruntime.InferenceSession(gzip.decompress(path.read_bytes()))
    (entry,) = session.get_inputs()
    shape = [size if isinstance(size, int) else 1 for size in entry.shape]
    return session.run(None, {entry.name: x.astype(np.float32).reshape(shape)})[0].flatten()
