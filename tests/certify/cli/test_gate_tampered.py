"""Attempts to have the gate pass what it must not: forged reports and ledgers, swapped files."""

import shutil
import sqlite3

import pytest

import certify.job
import certify.reporting
from certify.cli import main
from certify.errors import Exit
from certify.reporting.canonical import canonical, parsed
from certify.reporting.rates import share
from tests.certify.cli import project


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a project whose run fails the policy."""
    folder = tmp_path_factory.mktemp("tampered")
    assert project.judged(folder, 0.15) == Exit.FAILED
    with project.without_pictures():
        yield folder


@pytest.fixture
def copy(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


def arguments(folder, target, *extra, out=None):
    rest = () if out is None else ("--out", str(out))
    return ["gate", str(folder / target), "--policy", str(folder / "policy.toml"), *rest, *map(str, extra)]


def gate(folder, *extra, target="run", out=None):
    return main(arguments(folder, target, *extra, out=out))


def forged(folder):
    """A report with all counts of the curve and the verdicts as its forger wants them."""
    path = folder / "run" / "report.json"
    tree = parsed(path.read_bytes())
    proof = next(row for row in tree["samples"] if row["verdict"] == "verified")
    for row in tree["samples"]:
        if row["eps"] == 0.15:
            row.update({k: proof[k] for k in ("verdict", "margin", "level", "by", "alpha", "findings")})
            row.update(witness_sha256=None, distances=None, from_eps=None, predicted=row["label"])
    point = next(p for p in tree["curve"] if p["eps"] == 0.15)
    n = point["n"]
    point["counts"] = {"misclassified": 0, "falsified": 0, "verified": n, "unknown": 0, "error": 0}
    for name in ("clean_accuracy", "attacked_accuracy", "verified_accuracy"):
        point[name] = share(n, n).model_dump()
    point["undecided"] = share(0, n).model_dump()
    path.write_bytes(canonical(tree))
    return path


def test_a_forged_report_is_not_judged(copy, refuse):
    path = forged(copy)
    code, _ = refuse(*arguments(copy, path))
    assert code in (Exit.ARTEFACT_REJECTED, Exit.SOUNDNESS_VIOLATION)
    assert (
        not (copy / "run" / "gate.json").exists() or "PASSED" not in (copy / "run" / "gate.json").read_text()
    )


def test_a_forged_baseline_is_not_compared_with(copy, refuse):
    baseline = forged(copy).rename(copy / "baseline.json")
    code, _ = refuse(*arguments(copy, "run", "--baseline", baseline))
    assert code in (Exit.ARTEFACT_REJECTED, Exit.SOUNDNESS_VIOLATION)


def test_the_report_of_a_run_folder_is_made_again(copy):
    """Whatever lies in its place."""
    honest = (copy / "run" / "report.json").read_bytes()
    forged(copy)
    assert gate(copy) == Exit.FAILED
    assert (copy / "run" / "report.json").read_bytes() == honest


def test_a_forged_ledger_is_not_judged(copy, refuse):
    with sqlite3.connect(copy / "run" / "ledger.sqlite") as ledger:
        ledger.execute(
            "UPDATE verdicts SET verdict = 'verified', decided_by = (SELECT decided_by FROM verdicts WHERE "
            "verdict = 'verified'), margin = 1.0, level = 'real', witness = NULL, x = NULL WHERE eps = 0.15"
        )
    ledger.close()
    code, _ = refuse(*arguments(copy, "run"))
    assert code in (Exit.ARTEFACT_REJECTED, Exit.SOUNDNESS_VIOLATION)


def test_a_report_alone_is_told_from_a_run_and_never_signed(copy, refuse, capsys):
    path = copy / "run" / "report.json"
    assert gate(copy, target=path) == Exit.FAILED
    assert "judged by the report's own word" in capsys.readouterr().out
    assert gate(copy) == Exit.FAILED
    assert "own word" not in capsys.readouterr().out
    code, line = refuse(*arguments(copy, path, "--sign", copy / "key"))
    assert (code, "whose evidence is elsewhere" in line) == (Exit.USAGE, True)


def test_a_model_that_is_swapped_during_the_run_is_not_attested(copy, refuse, monkeypatch):
    fill = certify.job.fill

    def swapping(*given):
        fill(*given)
        (copy / "net.onnx").write_bytes(b"another")

    monkeypatch.setattr(certify.job, "fill", swapping)
    shutil.rmtree(copy / "run")
    code, line = refuse(*arguments(copy, "config.toml", "--sign", copy / "key", out=copy / "run"))
    assert (code, "was changed while it was evaluated" in line) == (Exit.HASH_MISMATCH, True)
    assert not (copy / "run" / "attestation.dsse.json").exists()


@pytest.mark.parametrize(
    ("old", "new"), [("steps = 5", "steps = 6"), ("seed = 3", "seed = 4"), ("eps = [0.02", "eps = [0.03")]
)
def test_a_run_is_not_resumed_with_another_configuration(copy, refuse, old, new):
    project.change(copy / "config.toml", old, new)
    code, _ = refuse(*arguments(copy, "config.toml", out=copy / "run"))
    assert code == Exit.HASH_MISMATCH


def test_no_samples_are_no_pass(copy, refuse):
    import numpy as np

    arrays = project.samples()
    np.savez(copy / "data.npz", x=arrays["x"][:0], y=arrays["y"][:0])
    code, _ = refuse(*arguments(copy, "config.toml", out=copy / "none"))
    assert code in (Exit.USAGE, Exit.NOTHING_EVALUATED, Exit.ARTEFACT_REJECTED)


def test_samples_of_no_number_are_no_pass(copy, refuse):
    import numpy as np

    arrays = project.samples()
    arrays["x"][3, 2] = np.nan
    np.savez(copy / "data.npz", **arrays)
    code, line = refuse(*arguments(copy, "config.toml", out=copy / "none"))
    assert (code, "NaN" in line) == (Exit.USAGE, True)
