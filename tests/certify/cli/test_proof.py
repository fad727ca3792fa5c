"""``certify verify --proof`` and ``certify check`` of what it writes, end to end."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from bounds.proof import Proof, Witness, digest
from bounds.proof.check import check
from bounds.proof.file import read
from bounds.proving.written import write
from certify.cli import main
from certify.errors import Exit

from .test_verify import RAMP, ZERO, network


@pytest.fixture
def files(tmp_path):
    """Write a network and a property about x in [-1, 2]; returns their paths and that of the proof."""

    def files(parameters, unsafe, name="net"):
        net, prop = tmp_path / f"{name}.onnx", tmp_path / f"{name}.vnnlib"
        network(net, parameters)
        prop.write_text(
            "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n"
            f"(assert (>= X_0 -1))\n(assert (<= X_0 2))\n(assert {unsafe})\n"
        )
        return str(net), str(prop), tmp_path / f"{name}.proof"

    return files


EITHER = "(or (and (>= Y_0 1.3) (<= Y_0 5.0)) (<= Y_0 -0.3))"


@pytest.mark.parametrize(
    ("parameters", "unsafe"), [(RAMP, "(>= Y_0 2.5)"), (RAMP, EITHER), (ZERO, "(>= Y_0 0.1)")]
)
def test_a_proof_is_written_and_accepted(files, capsys, parameters, unsafe):
    net, prop, proof = files(parameters, unsafe)
    assert main(["verify", net, prop, "--proof", str(proof)]) == Exit.PASS
    told = capsys.readouterr()
    assert told.out == "unsat\n"
    assert "proved and checked" in told.err
    assert main(["check", str(proof), "--network", net, "--property", prop]) == Exit.PASS
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["confirmed"] * 3
    assert "For every real x in the region" in lines[2]


def test_the_checker_alone_needs_no_engine(files):
    net, prop, proof = files(RAMP, "(>= Y_0 2.5)")
    main(["verify", net, prop, "--proof", str(proof)])
    code = (
        "import sys; from bounds.proof.__main__ import main\n"
        f"assert main(['check', {str(proof)!r}, '--network', {net!r}]) == 0\n"
        "assert not {'torch', 'onnx', 'certify'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_counterexample_is_written_and_confirmed(files, capsys):
    net, prop, proof = files(RAMP, "(>= Y_0 0.9)")
    assert main(["verify", net, prop, "--proof", str(proof)]) == Exit.FAILED
    assert main(["check", str(proof), "--network", net]) == Exit.PASS
    assert "counterexample: the property fails there in exact arithmetic" in capsys.readouterr().out


def test_a_counterexample_of_float32_alone_is_replayed(files, capsys):
    """x + 1e9 - 1e9 is 0 in float32, where x is at least 0.25."""
    net, prop, proof = files(([[1.0]], [1e9], [[1.0]], [-1e9]), "(and (<= Y_0 0.2))")
    text = (proof.parent / "net.vnnlib").read_text().replace("(>= X_0 -1)", "(>= X_0 0.25)")
    (proof.parent / "net.vnnlib").write_text(text)
    main(["verify", net, prop, "--proof", str(proof), "--timeout", "5"])
    capsys.readouterr()
    claim = read(proof).statement
    write(proof, Proof(claim, witness=Witness(0, np.array([0.5]))))
    assert main(["check", str(proof), "--network", net]) == Exit.PASS
    assert "fails when the network is run" in capsys.readouterr().out
    other, _, _ = files(RAMP, "(<= Y_0 0.2)", "other")
    named = replace(claim, model=digest((proof.parent / "other.onnx").read_bytes()))
    write(proof, Proof(named, witness=Witness(0, np.array([0.5]))))
    assert main(["check", str(proof), "--network", other]) == Exit.FAILED


def test_proofs_of_other_things_are_refused(files, capsys):
    net, prop, proof = files(RAMP, "(>= Y_0 2.5)")
    other, weaker, _ = files(ZERO, "(>= Y_0 3.5)", "other")
    main(["verify", net, prop, "--proof", str(proof)])
    capsys.readouterr()
    assert main(["check", str(proof), "--network", other]) == Exit.HASH_MISMATCH
    assert main(["check", str(proof), "--network", net, "--property", weaker]) == Exit.HASH_MISMATCH
    assert "another property" in capsys.readouterr().out
    assert main(["check", str(proof)]) == Exit.USAGE


def test_proofs_of_too_much_fail(files, capsys):
    net, prop, proof = files(RAMP, "(>= Y_0 2.5)")
    main(["verify", net, prop, "--proof", str(proof)])
    found = read(proof)
    [part] = found.statement.parts
    stronger = replace(part, clauses=tuple(replace(c, offset=c.offset - 1.6) for c in part.clauses))
    write(proof, Proof(replace(found.statement, parts=(stronger,)), found.trees))
    assert main(["check", str(proof), "--network", net]) == Exit.FAILED
    assert "is not > 0" in capsys.readouterr().out


@pytest.mark.parametrize("damage", [lambda d: d[:-5], lambda d: d[:40], lambda d: d[:9] + b"\x07" + d[10:]])
def test_damaged_files_are_refused(files, capsys, damage):
    net, prop, proof = files(RAMP, "(>= Y_0 2.5)")
    main(["verify", net, prop, "--proof", str(proof)])
    proof.write_bytes(damage(proof.read_bytes()))
    assert main(["check", str(proof), "--network", net]) == Exit.ARTEFACT_REJECTED
    assert "refused" in capsys.readouterr().err


def test_what_is_not_proved_is_said(files, capsys, monkeypatch):
    net, prop, proof = files(ZERO, "(>= Y_0 0.1)")
    monkeypatch.setattr("bounds.proving.notary.Notary.accept", lambda self, found: ~found.empty & False)
    assert main(["verify", net, prop, "--proof", str(proof), "--timeout", "2"]) == Exit.INCONCLUSIVE
    told = capsys.readouterr()
    assert told.out == "unsat\n"
    assert "verified, not proved" in told.err
    assert not proof.exists()


def test_a_proof_without_enough_memory(files, capsys, monkeypatch):
    def write(*_):
        raise MemoryError

    net, prop, proof = files(RAMP, "(>= Y_0 2.5)")
    monkeypatch.setattr("certify.proofs.write", write)
    assert main(["verify", net, prop, "--proof", str(proof)]) == Exit.INCONCLUSIVE
    assert "no proof: the memory did not suffice" in capsys.readouterr().err


def test_functions_that_the_checker_does_not_know(tmp_path, capsys):
    net, prop = tmp_path / "net.onnx", tmp_path / "prop.vnnlib"
    network(net, RAMP, "Softplus")
    prop.write_text(
        "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n"
        "(assert (>= X_0 -1))\n(assert (<= X_0 2))\n(assert (>= Y_0 100))\n"
    )
    assert main(["verify", str(net), str(prop), "--proof", str(tmp_path / "p")]) == Exit.INCONCLUSIVE
    told = capsys.readouterr()
    assert told.out == "unsat\n"
    assert "the checker refuses; Softplus" in told.err


def test_a_proof_is_checked_as_it_lies_there(files):
    net, prop, proof = files(ZERO, "(>= Y_0 0.1)")
    main(["verify", net, prop, "--proof", str(proof)])
    found = check(read(proof), (proof.parent / "net.onnx").read_bytes())
    assert found.leaves > 1


def test_the_level_that_was_asked_for_is_the_one_that_is_told(files, capsys):
    net, prop, proof = files(RAMP, "(>= Y_0 2.5)")
    assert main(["verify", net, prop, "--level", "deployed", "--proof", str(proof)]) == Exit.PASS
    told = capsys.readouterr()
    assert told.out == "unsat\n"
    assert "level deployed: For every float32 x" in told.err
    assert "proved and checked" in told.err
    assert main(["check", str(proof), "--network", net, "--property", prop]) == Exit.PASS
    assert "level deployed: For every float32 x" in capsys.readouterr().out
    assert main(["verify", net, prop, "--level", "float"]) == Exit.PASS
    assert "not a proof" in capsys.readouterr().err
    assert main(["verify", net, prop, "--level", "float", "--proof", str(proof)]) == Exit.USAGE
    assert "level float is no proof" in capsys.readouterr().err
