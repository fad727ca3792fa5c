"""``certify verify`` on bad input, and on limits: each has its outcome and its exit code."""

import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import certify.property
from certify.cli import main
from certify.errors import Exit
from tests.certify.cli.test_verify import RAMP, network

HEAD = "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n"
WITHIN = "(assert (>= X_0 -1))\n(assert (<= X_0 2))\n"
UNSAFE = "(assert (>= Y_0 2.5))\n"


@pytest.fixture
def files(tmp_path):
    """Write a network and a property; returns their paths."""

    def write(text=HEAD + WITHIN + UNSAFE, parameters=RAMP, operator="Relu"):
        network(tmp_path / "net.onnx", parameters, operator)
        (tmp_path / "prop.vnnlib").write_text(text)
        return tmp_path / "net.onnx", tmp_path / "prop.vnnlib"

    return write


NONFINITE = ([[1.0, np.inf]], *RAMP[1:])


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ({"operator": "Det"}, Exit.ARTEFACT_REJECTED, ["Det"]),
        ({"parameters": NONFINITE}, Exit.ARTEFACT_REJECTED, ["NaN or Inf"]),
        ({"text": HEAD + UNSAFE}, Exit.ARTEFACT_REJECTED, ["X_0 has no lower bound"]),
        ({"text": HEAD + "(assert (>= X_0 -1e999))" + UNSAFE}, Exit.ARTEFACT_REJECTED, ["beyond float64"]),
        ({"text": HEAD + "(assert (>= X_0 -inf))" + UNSAFE}, Exit.ARTEFACT_REJECTED, ["-inf"]),
        ({"text": HEAD + WITHIN + "(assert (>= (* Y_0 Y_0) 1))"}, Exit.ARTEFACT_REJECTED, ["multiplies"]),
        ({"text": HEAD + WITHIN + "(assert (>= Y_0 X_0))"}, Exit.ARTEFACT_REJECTED, ["mixes"]),
        ({"text": HEAD + WITHIN + "(assert"}, Exit.ARTEFACT_REJECTED, ["truncated"]),
        (
            {"text": "(declare-const X_1 Real)\n(assert (<= 0 X_1 1))\n" + HEAD + WITHIN + UNSAFE},
            Exit.ARTEFACT_REJECTED,
            ["comparison"],
        ),
        (
            {
                "text": "(declare-const X_1 Real)(assert (<= X_1 1))(assert (>= X_1 0))"
                + HEAD
                + WITHIN
                + UNSAFE
            },
            Exit.USAGE,
            ["2 inputs", "has 1 and 1"],
        ),
        (
            {"text": "(vnnlib-version <2.0>)\n(declare-network N (declare-input X real [1]))"},
            Exit.ARTEFACT_REJECTED,
            ["not VNN-LIB 2.0"],
        ),
    ],
)
def test_refusals_name_what_is_wrong(files, refuse, given, code, words):
    found, line = refuse("verify", *files(**given))
    assert found == code
    for word in words:
        assert word in line


def test_a_property_of_no_input_holds_with_a_warning(files, capsys):
    text = HEAD + "(assert (>= X_0 1))\n(assert (<= X_0 -1))\n" + UNSAFE
    assert main(["verify", *map(str, files(text))]) == Exit.PASS
    out, err = capsys.readouterr()
    assert out == "unsat\n"
    assert err.startswith("warning: ")
    assert "no input satisfies" in err


def test_some_empty_boxes_are_left_out(files, capsys):
    def box(low, high):
        return f"(and (>= X_0 {low}) (<= X_0 {high}) (>= Y_0 0.9))"

    for low, status in ((0.95, "sat"), (0.5, "unsat")):
        text = HEAD + f"(assert (or {box(3, 2)} {box(-1, low)}))"
        main(["verify", *map(str, files(text))])
        assert capsys.readouterr().out.split("\n")[0] == status


@pytest.mark.parametrize(
    "option",
    [
        ("--timeout", "0"),
        ("--timeout", "-1"),
        ("--timeout", "nan"),
        ("--timeout", "1e300"),
        ("--memory", "0"),
    ],
)
def test_limits_that_are_none_are_refused(files, option, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["verify", *map(str, files()), *option])
    assert ended.value.code == Exit.USAGE
    assert "give a number > 0" in capsys.readouterr().err


def test_time_that_is_over_at_once(files):
    """Nothing of the deadline is left behind that could end the process otherwise."""
    program = (
        "import sys, time\n"
        "from certify.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "time.sleep(2)\n"
        "sys.exit(code)\n"
    )
    command = [sys.executable, "-c", program, "verify", *map(str, files()), "--timeout", "1e-9"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (Exit.INCONCLUSIVE, "timeout\n")


@pytest.mark.parametrize("option", ["--out", "--proof"])
@pytest.mark.parametrize("place", ["no-such-folder/file", "."])
def test_files_that_cannot_be_written_are_refused_before_the_work(files, refuse, tmp_path, option, place):
    code, line = refuse("verify", *files(), option, tmp_path / place)
    assert code == Exit.USAGE
    assert "cannot be written" in line


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the cap is the kernel's")
def test_too_little_memory_to_start_is_refused(files, refuse):
    code, line = refuse("verify", *files(), "--memory", "0.001")
    assert code == Exit.USAGE
    assert "memory cap" in line


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the cap is the kernel's")
def test_memory_that_does_not_suffice_is_unknown(files, capsys, monkeypatch):
    def greedy(*_):
        return torch.empty(2**36).sum()

    monkeypatch.setattr(certify.property, "answer", greedy)
    assert main(["verify", *map(str, files()), "--memory", "16"]) == Exit.INCONCLUSIVE
    out, err = capsys.readouterr()
    assert out == "unknown\n"
    assert "memory" in err
    assert float(torch.ones(10).sum()) == 10  # the cap is gone


def test_a_call_that_does_not_return_is_ended_in_time(files, tmp_path):
    """Even where Python never gets to see the alarm, the process says what it has and ends."""
    program = (
        "import sys, time, ctypes, certify.property\n"
        "def deaf(*_):\n"
        "    import signal\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n"
        "    time.sleep(60)\n"
        "certify.property.answer = deaf\n"
        "from certify.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    result = tmp_path / "result"
    command = [sys.executable, "-c", program, "verify", *map(str, files())]
    began = time.monotonic()
    done = subprocess.run(
        [*command, "--timeout", "3", "--out", str(result)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (Exit.INCONCLUSIVE, "timeout\n")
    assert result.read_text() == "timeout\n"
    assert time.monotonic() - began < 50  # of 60, on a busy machine
