"""``certify gate``, ``check``, ``diff``, ``export`` and ``keygen`` from end to end, and every exit code."""

import datetime
import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from junitparser import JUnitXml
from onnx import numpy_helper

import certify.decide
import certify.gate
import certify.job
import certify.reporting
from bounds import read_vnnlib
from certify.cli import main
from certify.errors import Exit
from certify.gate.ruling import lower
from certify.job import prepare
from certify.ledger import Ledger
from certify.reporting import Report
from certify.verdict import Verdict
from certify.versions import Writer
from tests.certify.cli import project

RULES = """
[[rules]]
id = "proof"
kind = "verified-accuracy"
norm = "linf"
eps = 0.02
at_least = {proof}

[[rules]]
id = "gap"
kind = "gap"
norm = "linf"
eps = 0.05
at_most = {gap}
"""
WAIVER = '\n[[waivers]]\nrule = "{}"\nreason = "known"\nowner = "Ada"\nexpires = {}\n'


def policy(folder, proof=0.3, gap=0.9, head="", tail=""):
    path = folder / "policy.toml"
    path.write_text(f'name = "toy"\n{head}\n' + RULES.format(proof=proof, gap=gap) + tail)
    return path


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    """Only report.json is looked at here."""
    with project.without_pictures():
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a project, keys, and a run that passed the gate in the release profile, signed."""
    folder = tmp_path_factory.mktemp("gate")
    config = project.make(folder)
    rules = policy(folder, head='profile = "release"')
    assert main(["keygen", str(folder / "key")]) == 0
    arguments = ["--out", str(folder / "run"), "--policy", str(rules), "--sign", str(folder / "key")]
    assert main(["gate", str(config), *arguments]) == Exit.PASS
    return folder


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of that folder."""
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


def gate(folder, *extra, target="run", rules=None):
    rules = folder / "policy.toml" if rules is None else rules
    return main(["gate", str(folder / target), "--policy", str(rules), *map(str, extra)])


def check(folder, *extra):
    return main(["check", str(folder / "run" / "report.json"), *map(str, extra)])


def replay(folder, *extra):
    return check(folder, "--config", folder / "config.toml", "--run", folder / "run", *extra)


def test_what_passed_is_written_for_people_and_machines(whole):
    run = whole / "run"
    judged = json.loads((run / "gate.json").read_text())
    assert (judged["exit"], judged["result"], judged["profile"]) == (0, "PASSED", "release")
    report = Report.read(run / "report.json")
    assert report.policy.fixed_before_run
    assert judged["policy_sha256"] == report.policy.sha256
    (point,) = (p for p in report.curve if p.eps == 0.02)
    proof = judged["rulings"][0]
    assert proof["count"] == point.counts.verified
    assert proof["bound"] == lower(point.counts.verified, point.n, 1 - 0.95) >= 0.3
    (suite,) = JUnitXml.fromfile(str(run / "junit.xml"))
    assert (suite.tests, suite.failures, suite.errors) == (5, 0, 0)
    text = (run / "mlbom.cdx.json").read_text()
    from cyclonedx.schema import SchemaVersion  # slow to load: its parser of addresses is made anew
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_a_third_party_confirms_all_of_it(whole, capsys):
    assert replay(whole, "--key", whole / "key.pub", "--samples", 3) == Exit.PASS
    out = capsys.readouterr().out
    assert "failed" not in out
    assert "not checked" not in out
    falsified = sum(
        r.verdict is Verdict.FALSIFIED for r in Report.read(whole / "run" / "report.json").samples
    )
    for part in ("attests PASSED", f"{falsified} lie in their region", "3 drawn at random were proved again"):
        assert part in out


def test_without_key_and_model_the_rest_is_told(whole, capsys):
    assert check(whole) == Exit.PASS
    out = capsys.readouterr().out
    assert "not checked  signature: no key was given" in out
    assert "not checked  replay: no configuration was given" in out
    assert check(whole, "--config", whole / "config.toml", "--samples", 0) == Exit.PASS
    out = capsys.readouterr().out
    for part in ("certificates: none were drawn", "counterexamples: "):
        assert f"not checked  {part}" in out


def test_rules_that_fail_or_stay_open(copy, capsys):
    assert gate(copy, rules=policy(copy, proof=1.0)) == Exit.FAILED
    assert "required is at least 1" in capsys.readouterr().out
    assert gate(copy, rules=policy(copy, gap=0.05)) == Exit.INCONCLUSIVE
    # judged by other rules than those fixed before the run
    assert gate(copy, "--profile", "release", rules=policy(copy)) == Exit.PASS
    assert gate(copy, "--profile", "release", rules=policy(copy, proof=0.29)) == Exit.INCONCLUSIVE
    assert not Report.read(copy / "run" / "report.json").policy.fixed_before_run


def test_waivers_let_through_until_they_expire(copy, capsys):
    today = datetime.datetime.now(datetime.UTC).date()
    days = [today + datetime.timedelta(days=d) for d in (1, -1)]
    good, late = (policy(copy, proof=1.0, tail=WAIVER.format("proof", day)).read_text() for day in days)
    (copy / "policy.toml").write_text(good)
    assert gate(copy, "--sign", copy / "key") == Exit.PASS
    assert "waived by Ada" in capsys.readouterr().out
    assert check(copy, "--key", copy / "key.pub") == Exit.PASS
    assert f"attests WARNED (standard profile, on {today}, 1 rules waived)" in capsys.readouterr().out
    (copy / "policy.toml").write_text(late)
    assert gate(copy) == Exit.FAILED
    assert "expired on" in capsys.readouterr().out


def test_the_quick_profile_runs_few_samples_and_attests_no_pass(config, tmp_path):
    project.change(config, "samples = 8", "samples = 3")
    x = project.samples()
    many = {name: np.concatenate([value] * 2) for name, value in x.items()}
    np.savez(config.parent / "data.npz", **many)
    arguments = ["--out", str(tmp_path / "quick"), "--policy", str(policy(tmp_path)), "--profile", "quick"]
    assert main(["gate", str(config), *arguments]) == Exit.PASS
    assert Report.read(tmp_path / "quick" / "report.json").data.n == 32
    assert json.loads((tmp_path / "quick" / "gate.json").read_text())["result"] == "WARNED"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("verified-accuracy", "verified-accurcy"), "did you mean"),
        (lambda text: text.replace('kind = "gap"', 'kind = "no-regression"'), "at_most"),
        (lambda text: text + WAIVER.format("none", "2030-01-01"), "none"),
    ],
)
def test_bad_policies_are_usage_errors(copy, refuse, change, message):
    path = copy / "policy.toml"
    path.write_text(change(path.read_text()))
    code, line = refuse("gate", copy / "run", "--policy", path)
    assert (code, message in line) == (Exit.USAGE, True)


def test_rules_that_compare_need_a_baseline(copy, refuse, capsys):
    path = policy(copy, tail='\n[[rules]]\nid="r"\nkind="no-regression"\nnorm="linf"\neps=0.05\n')
    code, line = refuse("gate", copy / "run", "--policy", path)
    assert (code, "--baseline" in line) == (Exit.USAGE, True)
    assert gate(copy, "--baseline", copy / "run") == Exit.PASS
    assert "regressions at linf eps 0.05: 0 of 20" in capsys.readouterr().out


def test_an_empty_run_evaluated_nothing(config, tmp_path, refuse):
    job = prepare(certify.config.read_config(config))
    folder = tmp_path / "empty"
    Ledger.open(folder, job.identity, job.about(), Writer.here()).close()
    code, line = refuse("gate", folder, "--policy", policy(tmp_path))
    assert (code, "no finished samples" in line) == (Exit.NOTHING_EVALUATED, True)


def test_a_contradiction_has_its_own_code_and_no_waiver(config, monkeypatch, tmp_path, capsys):
    project.change(config, '["pgd", "crown"]', '["crown", "pgd"]')
    rules = policy(tmp_path)
    arguments = ["--out", str(tmp_path / "run"), "--policy", str(rules)]
    with monkeypatch.context() as patched:
        patched.setattr(certify.decide, "proves", lambda evidence: evidence.margin is not None)
        assert main(["gate", str(config), *arguments]) == Exit.SOUNDNESS_VIOLATION
    assert "ALARM" in capsys.readouterr().out
    assert gate(tmp_path) == Exit.SOUNDNESS_VIOLATION
    (suite,) = JUnitXml.fromfile(str(tmp_path / "run" / "junit.xml"))
    assert suite.failures == 1
    assert check(tmp_path) == Exit.SOUNDNESS_VIOLATION


def test_interruptions_and_faults_have_their_codes(config, monkeypatch, tmp_path, capsys):
    arguments = ["--out", str(tmp_path / "run"), "--policy", str(policy(tmp_path))]

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(certify.job, "evaluate_batch", interrupted)
        assert main(["gate", str(config), *arguments]) == Exit.INTERRUPTED
    with monkeypatch.context() as patched:
        patched.setattr(certify.gate, "judge", None)
        assert main(["gate", str(config), *arguments]) == Exit.INTERNAL
    assert main(["gate", str(config), *arguments]) == Exit.PASS
    assert Report.read(tmp_path / "run" / "report.json").policy.fixed_before_run


def test_files_that_are_none_are_rejected(copy, refuse):
    report = copy / "run" / "report.json"
    report.write_bytes(report.read_bytes()[:-1])
    for command in (["check", report], ["gate", report, "--policy", copy / "policy.toml"]):
        code, line = refuse(*command)
        assert (code, "report.json" in line or "JSON" in line) == (Exit.ARTEFACT_REJECTED, True)
    code, _ = refuse("gate", copy / "run", "--policy", copy / "policy.toml", "--sign", copy / "key.pub")
    assert code == Exit.ARTEFACT_REJECTED


def test_signatures_of_others_and_of_other_reports_fail(copy, capsys):
    assert main(["keygen", str(copy / "other")]) == 0
    assert check(copy, "--key", copy / "other.pub") == Exit.HASH_MISMATCH
    report = copy / "run" / "report.json"
    made = Report.read(report)
    report.write_bytes(made.model_copy(update={"not_claimed": ("nothing",)}).to_bytes())
    capsys.readouterr()
    assert check(copy, "--key", copy / "key.pub") == Exit.HASH_MISMATCH
    assert "about another report" in capsys.readouterr().out
    (copy / "run" / "attestation.dsse.json").unlink()
    assert check(copy, "--key", copy / "key.pub") == Exit.HASH_MISMATCH


def test_another_model_is_not_replayed(copy, capsys):
    import onnx

    onnx.save(project.network(seed=1), copy / "net.onnx")
    assert replay(copy) == Exit.HASH_MISMATCH
    assert "the model has digest" in capsys.readouterr().out


def test_diff_tells_what_changed_per_sample(copy, tmp_path, capsys):
    assert main(["diff", str(copy / "run"), str(copy / "run")]) == Exit.PASS
    assert "no sample changed" in capsys.readouterr().out
    import onnx

    onnx.save(project.network(seed=1), copy / "net.onnx")
    assert main(["run", str(copy / "config.toml"), "--out", str(copy / "second")]) == Exit.PASS
    capsys.readouterr()
    assert main(["diff", str(copy / "run"), str(copy / "second"), "--json"]) == Exit.PASS
    told = json.loads(capsys.readouterr().out)
    rows = [
        {(r.eps, r.sample): r.verdict.value for r in Report.read(copy / run / "report.json").samples}
        for run in ("run", "second")
    ]
    found = {(c["eps"], c["sample"]): (c["before"], c["after"]) for c in told["changes"]}
    assert found == {k: (rows[0][k], rows[1][k]) for k in rows[0] if rows[0][k] != rows[1][k]}
    assert found


def test_exported_queries_and_answers_read_back(copy, capsys):
    out = copy / "vnnlib"
    assert main(["export", str(copy / "run"), str(copy / "config.toml"), "--out", str(out)]) == Exit.PASS
    rows = Report.read(copy / "run" / "report.json").samples
    data = project.samples()
    words = {Verdict.VERIFIED: "unsat", Verdict.FALSIFIED: "sat", Verdict.MISCLASSIFIED: "sat"}
    for row in rows:
        stem = out / f"sample-{row.sample}-eps-{row.eps!r}"
        region, spec = read_vnnlib(stem.with_name(stem.name + ".vnnlib"))
        first, *rest = stem.with_name(stem.name + ".result").read_text().splitlines()
        assert first == words.get(row.verdict, "unknown")
        x = torch.from_numpy(data["x"][row.sample]).double()
        assert bool(region.contains(x[None]))
        right = torch.nn.functional.one_hot(torch.tensor(data["y"][row.sample]), project.CLASSES).double()
        assert bool(spec.worst(spec.evaluate(right[None])) > 0)
        assert not bool(spec.worst(spec.evaluate(-right[None])) > 0)
        if first == "sat":
            values = dict(line.strip(" ()").split(" ") for line in rest)
            point = np.array([[float(values[f"X_{i}"]) for i in range(project.INPUTS)]])
            assert bool(region.contains(torch.from_numpy(point)))
            assert project.forward(point).argmax() != data["y"][row.sample]


@pytest.mark.parametrize(("verdict", "code"), [(Verdict.VERIFIED, 0), (Verdict.FALSIFIED, 1)])
def test_exported_queries_have_their_answers_from_verify(copy, verdict, code):
    out = copy / "vnnlib"
    assert main(["export", str(copy / "run"), str(copy / "config.toml"), "--out", str(out)]) == Exit.PASS
    rows = [r for r in Report.read(copy / "run" / "report.json").samples if r.verdict is verdict]
    for row in rows[:3]:
        query = out / f"sample-{row.sample}-eps-{row.eps!r}.vnnlib"
        assert main(["verify", str(copy / "net.onnx"), str(query)]) == code


def test_only_what_is_proved_is_exported_as_unsat(copy, capsys):
    config = copy / "config.toml"
    project.change(config, "steps = 5", 'steps = 5\n[deciders.crown]\nlevel = "float"')
    assert main(["run", str(config), "--out", str(copy / "floats")]) == Exit.PASS
    assert main(["export", str(copy / "floats"), str(config), "--out", str(copy / "x")]) == Exit.PASS
    words = {path.read_text().split("\n")[0] for path in (copy / "x").glob("*.result")}
    assert words == {"sat", "unknown"}


def test_export_refuses_a_network_that_has_one_output(copy, refuse):
    w = project.weights()
    one = {"w2": w["w2"][:, :1] - w["w2"][:, 1:2], "b2": w["b2"][:1] - w["b2"][1:2]}
    model = project.network()
    for place, tensor in enumerate(model.graph.initializer):
        if tensor.name in one:
            model.graph.initializer[place].CopyFrom(numpy_helper.from_array(one[tensor.name], tensor.name))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    onnx.save(model, copy / "net.onnx")
    with np.load(copy / "data.npz") as data:
        np.savez(copy / "data.npz", x=data["x"], y=np.minimum(data["y"], 1))
    code, line = refuse("export", copy / "run", copy / "config.toml", "--out", copy / "x")
    assert (code, "has one output" in line) == (Exit.USAGE, True)


def test_export_refuses_another_run_and_steps_before_the_network(copy, refuse):
    code, line = refuse("export", copy / "run", copy / "config.toml", "--out", copy / "key" / "x")
    assert (code, "folder of queries" in line) == (Exit.USAGE, True)
    project.change(copy / "config.toml", "steps = 5", "steps = 6")
    code, _ = refuse("export", copy / "run", copy / "config.toml", "--out", copy / "x")
    assert code == Exit.HASH_MISMATCH
    project.change(
        copy / "config.toml", "input_range = [0, 1]", "input_range = [0, 1]\nmean = 0.5\nstd = 2.0"
    )
    code, line = refuse("export", copy / "run", copy / "config.toml", "--out", copy / "x")
    assert (code, "normalises" in line) == (Exit.USAGE, True)
