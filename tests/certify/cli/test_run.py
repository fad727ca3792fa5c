"""``certify run``: what it writes, and that interruptions change nothing."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import certify.job
from bounds import read_onnx
from certify.cli import main
from certify.config import read_config
from certify.ledger import Ledger
from certify.reporting import Report
from certify.verdict import Verdict
from tests.certify.cli import project


def run(config, folder):
    return main(["run", str(config), "--out", str(folder)])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(project.make(folder), folder / "out") == 0
    return folder / "out"


def digest(folder):
    return Report.read(folder / "report.json").digest()


def verdicts(folder):
    with Ledger.read(folder) as ledger:
        return ledger.verdicts()


@pytest.mark.usefixtures("one_picture")
def test_a_run_may_count_changed_elements(config):
    project.change(config, '"linf"', '"l0"')
    project.change(config, str(list(project.EPS)), "[0, 1, 3]")
    folder = config.parent / "out"
    assert run(config, folder) == 0
    rows, x = verdicts(folder), project.samples()["x"]
    assert {Verdict.FALSIFIED, Verdict.VERIFIED} <= {r.verdict for r in rows}
    for row in rows:
        if row.verdict is Verdict.FALSIFIED:
            assert 0 < (row.witness != x[row.sample]).sum() <= row.eps
    assert "other than L0 threats" in (folder / "report.html").read_text()


def test_a_run_writes_evidence_that_stands_on_its_own(config, capsys):
    folder = config.parent / "out"
    assert run(config, folder) == 0
    out, err = capsys.readouterr()
    assert "report.html" in out
    assert err == ""
    rows = verdicts(folder)
    assert {Verdict.MISCLASSIFIED, Verdict.FALSIFIED, Verdict.VERIFIED} <= {r.verdict for r in rows}
    assert [(r.eps, r.sample) for r in rows] == [(e, s) for e in project.EPS for s in range(project.SAMPLES)]
    data, net = project.samples(), read_onnx(config.parent / "net.onnx")
    answers = project.forward(data["x"].astype(np.float64)).argmax(1)
    rng = np.random.default_rng(5)
    for row in rows:
        x, y = data["x"][row.sample], data["y"][row.sample]
        assert (row.verdict is Verdict.MISCLASSIFIED) == (answers[row.sample] != y)
        if row.verdict is Verdict.FALSIFIED:
            assert np.abs(row.witness.astype(np.float64) - x).max() <= row.eps
            assert net(torch.from_numpy(row.witness.copy())[None]).argmax() != y
        if row.verdict is Verdict.VERIFIED:
            noise = rng.choice([-row.eps, row.eps], size=(500, project.INPUTS))
            logits = project.forward(np.clip(x + noise, 0, 1))
            others = np.delete(logits, y, axis=1)
            assert (logits[:, y] - others.max(1)).min() >= row.margin > 0


def test_evenly_spaced_budgets(config):
    project.change(config, str(list(project.EPS)), "{first = 0.1, last = 0.4, points = 4}")
    assert read_config(config).budgets == (0.1, 0.2, 0.3, 0.4)


def test_the_report_counts_the_ledger(whole):
    report = json.loads((whole / "report.json").read_text())
    rows = verdicts(whole)
    for point in report["curve"]:
        assert point["n"] == project.SAMPLES
        for verdict in Verdict:
            expected = sum(r.eps == point["eps"] and r.verdict is verdict for r in rows)
            assert point["counts"][verdict.value] == expected
    shares = [(p["verified_accuracy"]["count"], p["attacked_accuracy"]["count"]) for p in report["curve"]]
    assert shares == sorted(shares, reverse=True)
    assert all(verified <= attacked for verified, attacked in shares)
    assert (report["smoothing"][0]["n"], report["smoothing"][0]["sigma"]) == (8, 0.1)


@pytest.mark.usefixtures("no_pictures")
def test_verdicts_do_not_depend_on_which_other_budgets_are_asked(config, whole):
    together = {(r.eps, r.sample): r.verdict for r in verdicts(whole)}
    proved, attacked = Verdict.VERIFIED, Verdict.FALSIFIED
    for eps in project.EPS:
        text = project.CONFIG.replace(str(list(project.EPS)), str(eps))
        config.write_text(text)
        run(config, config.parent / str(eps))
        for row in verdicts(config.parent / str(eps)):
            # one asked alone may know less, never something else
            pair = {row.verdict, together[eps, row.sample]}
            assert pair != {proved, attacked}
            assert row.verdict in (together[eps, row.sample], Verdict.UNKNOWN)


@pytest.mark.usefixtures("one_picture")
def test_a_finished_run_computes_nothing_again(config, monkeypatch):
    folder = config.parent / "out"
    run(config, folder)
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "ledger.sqlite"}
    monkeypatch.setattr(certify.job, "evaluate_batch", None)
    monkeypatch.setattr(certify.job, "_radii", None)
    assert run(config, folder) == 0
    assert before == {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "ledger.sqlite"}


KILLED = """
    import os, signal, sys
    from certify.cli import main
    from certify.ledger import Ledger
    left = int(sys.argv[3])
    record = Ledger.record
    def dying(self, *args, **kwargs):
        global left
        left -= 1
        if left == 0 and sys.argv[4] == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        record(self, *args, **kwargs)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    Ledger.record = dying
    main(["run", sys.argv[1], "--out", sys.argv[2]])
"""


@pytest.mark.parametrize(
    ("batches", "moment"),
    [
        (6, "after"),
        pytest.param(1, "before", marks=pytest.mark.slow),
        pytest.param(13, "before", marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_resumes_to_the_same_report(config, whole, batches, moment):
    folder = config.parent / "killed"
    arguments = [str(config), str(folder), str(batches), moment]
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), *arguments], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not (folder / "report.json").exists()
    with Ledger.read(folder) as ledger:
        done = sum(len(ledger.finished(stage)) for stage in ledger.seconds())
    assert done == batches - (moment == "before")
    assert run(config, folder) == 0
    assert digest(folder) == digest(whole)
    for name in ("curve.csv", "curve.svg", "radius.csv", "radius.svg", "gallery.svg"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    facts = [
        [(r.by, r.margin, r.detail, r.witness is None or r.witness.tobytes()) for r in verdicts(each)]
        for each in (folder, whole)
    ]
    assert facts[0] == facts[1]


@pytest.mark.usefixtures("no_pictures")
def test_an_interrupted_run_says_how_to_go_on(config, whole, monkeypatch, refuse):
    calls = []
    real = certify.job.evaluate_batch

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(certify.job, "evaluate_batch", interrupted)
        code, line = refuse("run", config, "--out", config.parent / "out")
    assert code == 130
    assert "finished samples are kept" in line
    assert run(config, config.parent / "out") == 0
    assert digest(config.parent / "out") == digest(whole)


@pytest.mark.usefixtures("one_picture")
def test_curve_and_report_write_their_files_again(config, capsys):
    folder = config.parent / "out"
    run(config, folder)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    for name in before.keys() - {"ledger.sqlite"}:
        (folder / name).unlink()
    assert main(["curve", str(folder)]) == 0
    assert {p.suffix for p in folder.iterdir()} == {".csv", ".svg", ".png", ".sqlite"}
    assert main(["report", str(folder)]) == 0
    assert before == {p.name: p.read_bytes() for p in folder.iterdir()}
    assert capsys.readouterr().err == ""


def test_a_run_without_smoothing_or_proofs(config):
    project.change(config, "[smoothing]\nsigma = 0.1\nn0 = 20\nn = 100\nsamples = 8\n", "")
    project.change(config, 'use = ["pgd", "crown"]', 'use = ["pgd"]')
    assert run(config, config.parent / "out") == 0
    report = Report.read(config.parent / "out" / "report.json")
    assert report.smoothing == ()
    assert not any(each.word.startswith("verified") for each in report.claimed)
    assert not (config.parent / "out" / "radius.csv").exists()


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_weight_file_with_its_factory_gives_the_verdicts_of_the_onnx_file(config, whole, suffix):
    path = config.parent / f"net.{suffix}"
    save = {"safetensors": save_file, "pt": torch.save}[suffix]
    save(project.state(), path)
    project.change(
        config, '"net.onnx"', f'"{path.name}"\ninput_shape = [6]\nfactory = "{project.__name__}:module"'
    )
    assert run(config, config.parent / "out") == 0
    assert [r.verdict for r in verdicts(config.parent / "out")] == [r.verdict for r in verdicts(whole)]


@pytest.mark.usefixtures("one_picture")
def test_the_working_directory_does_not_matter(config, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert run(os.path.relpath(config), "out") == 0
    assert os.path.exists("out/report.json")


@pytest.mark.usefixtures("one_picture")
@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ('{use = "grid", radii = [0.05, 0.1], n_max = 2000}', "Grid(radii=(0.05, 0.1)"),
        ('{use = "anytime", n = 500}', "Anytime(n=500)"),
    ],
)
def test_a_run_in_another_mode_of_smoothing(config, mode, words):
    project.change(config, "n = 100\n", f"mode = {mode}\n")
    folder = config.parent / "out"
    assert run(config, folder) == 0
    with Ledger.read(folder) as ledger:
        rows = ledger.radii()
    assert len(rows) == 8
    assert all(words in row.detail["mode"] for row in rows)
    assert any(row.radius > 0 for row in rows)


# --- health of the attacks


@pytest.mark.usefixtures("one_picture")
def test_attacks_of_a_run_are_examined_once_and_told_of(config, monkeypatch, capsys):
    folder = config.parent / "out"
    config.write_text(project.CONFIG + "\n[health]\nsamples = 7\n")
    assert run(config, folder) == 0
    with Ledger.read(folder) as ledger:
        ((eps, found),) = ledger.health().items()
    assert eps == sorted(project.EPS)[1]
    assert found.attacks == (
        "PGD(steps=5, restarts=1, step_size=1.0, loss='cross-entropy', targets=0, schedule='linear')",
    )
    assert found.samples == 7
    assert found.summary in capsys.readouterr().out
    text = (folder / "report.html").read_text()
    assert "Are the attacks to be believed?" in text
    for each in found.findings:
        assert each.name in text
        assert each.method.split(",")[0].replace("&", "&amp;") in text
    (recorded,) = json.loads((folder / "report.json").read_text())["health"]
    checks = recorded.pop("checks")
    assert checks == json.loads(json.dumps(found.record()["findings"]))
    assert (recorded["eps"], recorded["attacks"], recorded["samples"]) == (eps, list(found.attacks), 7)
    assert (recorded["reliable"], recorded["summary"]) == (found.reliable, found.summary)
    monkeypatch.setattr(certify.job, "health", None)
    assert run(config, folder) == 0


@pytest.mark.usefixtures("one_picture")
def test_attacks_that_fail_a_check_downgrade_every_number_of_theirs(config, whole):
    folder = config.parent / "out"
    config.write_text(project.CONFIG.replace("steps = 5", "steps = 1") + "\n[health]\nsamples = 9\n")
    words = "upper bound only, unreliable"
    assert run(config, folder) == 0
    text, report = (folder / "report.html").read_text(), Report.read(folder / "report.json")
    assert f"Accuracy under attack is an {words}: failed health checks: " in text
    assert f"attacked curve ({words})" in text
    assert report.attacked_accuracy_is == words
    assert Report.read(whole / "report.json").attacked_accuracy_is == "upper bound"
    assert words not in (whole / "report.html").read_text()


def test_health_needs_attacks_and_a_number_of_samples(config, refuse):
    for section, deciders, word in (
        ("samples = 4", '["crown"]', "health examines attacks"),
        ("", '["pgd", "crown"]', "health.samples"),
        ("sample = 4", '["pgd", "crown"]', "did you mean 'samples'"),
        ("samples = 0", '["pgd", "crown"]', "health.samples"),
    ):
        text = project.CONFIG.replace('["pgd", "crown"]', deciders)
        text = text.replace("[deciders.pgd]\nsteps = 5\n", "")
        config.write_text(f"{text}\n[health]\n{section}\n")
        code, line = refuse("run", config, "--out", config.parent / "none")
        assert (code, word in line) == (2, True)


def test_two_runs_of_one_seed_give_the_same_bytes_but_for_times(config):
    """All files: record, page, pictures, tables."""
    project.change(config, "[run]", "[report]\ntimes = false\n\n[run]")
    folders = [config.parent / name for name in ("one", "two")]
    for folder in folders:
        assert main(["run", str(config), "--out", str(folder)]) == 0
    names = {path.name for path in folders[0].iterdir()} - {"ledger.sqlite"}
    assert {"report.json", "report.html", "report.md", "curve.svg", "curve.png", "curve.csv"} <= names
    assert "cactus.svg" not in names
    for name in names:
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second, name
    assert "Computing time" not in (folders[0] / "report.html").read_text()


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("switch", ["--trust-code", "trust_code = true"])
def test_a_program_is_run_only_if_it_is_trusted(config, whole, refuse, switch):
    network = project.module()
    network.load_state_dict(project.state())
    program = torch.export.export(network.eval(), (torch.zeros(1, 6),))
    torch.export.save(program, config.parent / "net.pt2")
    project.change(config, '"net.onnx"', '"net.pt2"\ninput_shape = [6]')
    code, line = refuse("run", config, "--out", config.parent / "out")
    assert code == 7
    assert "is a torch.export program, which is code" in line
    assert "--trust-code" in line
    options = [switch] if switch.startswith("--") else []
    if not options:
        project.change(config, '"net.pt2"', f'"net.pt2"\n{switch}')
    assert main(["run", str(config), "--out", str(config.parent / "out"), *options]) == 0
    assert [r.verdict for r in verdicts(config.parent / "out")] == [r.verdict for r in verdicts(whole)]
    if options:
        _use_a_program(config, options, refuse)


def _use_a_program(config, options, refuse):
    """Every command that loads the model asks for trust, and takes it."""
    out, rules = config.parent / "out", config.parent / "policy.toml"
    rules.write_text('name = "p"\n[[rules]]\nid = "c"\nkind = "clean-accuracy"\nat_least = 0.1\n')
    for command in (
        ["gate", config, "--policy", rules, "--out", out],
        ["export", out, config, "--out", config.parent / "queries"],
        ["check", out / "report.json", "--config", config, "--run", out, "--samples", 1],
    ):
        assert refuse(*command)[0] == 7
        assert main([*map(str, command), *options]) == 0
