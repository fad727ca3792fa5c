"""Bad input: one clear line on stderr, the documented exit code, and nothing that was finished is lost."""

import gzip
import json
import pickle

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

import certify.decide
import certify.job
from certify.cli import main
from certify.contradiction import Reproducer
from certify.errors import Exit
from certify.ledger import Ledger
from tests.certify.cli import project


@pytest.fixture
def failing_run(config, refuse):
    """Run the project; returns (exit code, the line)."""
    return lambda: refuse("run", config, "--out", config.parent / "out")


def spoil(config, key, change):
    arrays = project.samples()
    arrays[key] = change(arrays[key])
    np.savez(config.parent / "data.npz", **arrays)


def put(place, value):
    """A change of one element."""

    def changed(array):
        array = array.copy()
        array[place] = value
        return array

    return changed


@pytest.mark.parametrize(
    ("key", "change", "words"),
    [
        ("x", put((4, 2), np.nan), ["sample 4", "NaN"]),
        ("x", put((7, 0), np.inf), ["sample 7", "Inf"]),
        ("x", put((3, 1), 1.5), ["sample 3", "outside", "[0, 1]"]),
        ("x", lambda x: x.reshape(20, 2, 3), ["(20, 2, 3)", "6"]),
        ("x", lambda x: x[:, :5], ["(20, 5)", "6"]),
        ("x", lambda x: (x * 255).astype(np.uint8), ["uint8", "255"]),
        ("y", put(5, 3), ["label 3", "sample 5", "0..2"]),
        ("y", put(5, -1), ["label -1", "sample 5"]),
        ("y", lambda y: y[:-1], ["one label per sample"]),
        ("y", lambda y: y.astype(np.float64), ["float64", "integers"]),
    ],
)
def test_samples_that_no_statement_can_be_made_about(config, failing_run, key, change, words):
    spoil(config, key, change)
    code, line = failing_run()
    assert code == Exit.USAGE
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (str(list(project.EPS)), "-0.1", ["threat.eps", "-0.1"]),
        (str(list(project.EPS)), "[0.1, nan]", ["threat.eps", "finite"]),
        (str(list(project.EPS)), "[]", ["threat.eps"]),
        (str(list(project.EPS)), "{first = 0, last = 1, points = 1}", ["threat.eps.points", "not 1"]),
        (
            str(list(project.EPS)),
            "{first = 0, lst = 1, points = 3}",
            ["threat.eps.lst", "did you mean 'last'?"],
        ),
        ("eps = [", "epsilon = [", ["unknown key threat.epsilon", "did you mean 'eps'?"]),
        ("[threat]", "[treat]", ["unknown key treat", "did you mean 'threat'?"]),
        ("batch_size", "batchsize", ["unknown key run.batchsize", "did you mean 'batch_size'?"]),
        ("steps = 5", "step = 5", ["unknown key deciders.pgd.step", "did you mean 'steps'?"]),
        ("steps = 5", "steps = 0", ["steps", "0"]),
        ("steps = 5", 'steps = "many"', ["deciders.pgd.steps", "many"]),
        ('"crown"', '"krown"', ["unknown decider 'krown'", "did you mean 'crown'?"]),
        ('use = ["pgd", "crown"]', 'use = ["crown"]', ["[deciders.pgd]", "not in deciders.use"]),
        ('use = ["pgd", "crown"]', "", ["missing key deciders.use"]),
        ('"linf"', '"l7"', ["threat.norm", "l7"]),
        ('path = "data.npz"', "", ["missing key data.path"]),
        ("seed = 3", "seed = -3", ["run.seed"]),
        ("seed = 3", 'device = "quantum"', ["quantum"]),
        ("n = 100", "n = 0", ["smoothing.n"]),
        ("n = 100", 'mode = {use = "gird"}', ["smoothing.mode.use", "grid"]),
        ("n = 100", 'mode = {use = "grid", radius = 1}', ["unknown key smoothing.mode.radius", "'radii'"]),
        ("n = 100", 'mode = {use = "grid", radii = [0.2, 0.1]}', ["radii"]),
        ("n = 100", 'n = 100\nmode = {use = "anytime"}', ["leave n out"]),
        ("n = 100", 'law = "laplace"\nexact = true', ["exact"]),
        ("sigma = 0.1", "sigma = 0", ["smoothing.sigma"]),
        ("[data]", "[data", ["no TOML file", "line"]),
        ('path = "data.npz"', 'path = "data.npz"\nx = "images"', ["no 'images'", "x, y"]),
    ],
)
def test_configurations_with_a_mistake(config, failing_run, old, new, words):
    project.change(config, old, new)
    code, line = failing_run()
    assert code == Exit.USAGE
    assert all(word in line for word in words), line


def test_files_that_are_missing(config, failing_run, refuse):
    project.change(config, "net.onnx", "nott.onnx")
    code, line = failing_run()
    assert (code, "nott.onnx" in line) == (Exit.ARTEFACT_REJECTED, True)
    project.change(config, "nott.onnx", "net.onnx")
    project.change(config, "data.npz", "dada.npz")
    code, line = failing_run()
    assert (code, "dada.npz" in line) == (Exit.ARTEFACT_REJECTED, True)
    code, line = refuse("run", config.parent / "none.toml", "--out", config.parent / "out")
    assert (code, "none.toml" in line) == (Exit.USAGE, True)
    for command in ("curve", "report"):
        code, line = refuse(command, config.parent)
        assert (code, "not a run folder" in line) == (Exit.USAGE, True)


def test_an_operator_that_is_not_supported_is_named_with_node_and_file(config, failing_run):
    onnx.save(project.network(activation="Hardmax"), config.parent / "net.onnx")
    code, line = failing_run()
    assert code == Exit.ARTEFACT_REJECTED
    assert all(word in line for word in ("Hardmax", "middle", "net.onnx"))


@pytest.mark.parametrize("size", [0, 40, 400])
def test_an_onnx_file_that_is_cut_off(config, failing_run, size):
    path = config.parent / "net.onnx"
    path.write_bytes(path.read_bytes()[:size])
    code, line = failing_run()
    assert (code, "net.onnx" in line) == (Exit.ARTEFACT_REJECTED, True)


def use_weights(config, name):
    project.change(
        config, '"net.onnx"', f'"{name}"\ninput_shape = [6]\nfactory = "{project.__name__}:module"'
    )
    return config.parent / name


def test_weights_that_do_not_fit_the_module(config, failing_run):
    path = use_weights(config, "net.safetensors")
    state = project.state()
    del state["2.bias"]
    save_file(state, path)
    code, line = failing_run()
    assert code == Exit.ARTEFACT_REJECTED
    assert "2.bias" in line
    save_file({**project.state(), "0.weight": torch.zeros(4, 6)}, path)
    code, line = failing_run()
    assert code == Exit.ARTEFACT_REJECTED
    assert "0.weight" in line
    save_file(project.state(), path)
    path.write_bytes(path.read_bytes()[:-20])
    code, line = failing_run()
    assert (code, "net.safetensors" in line) == (Exit.ARTEFACT_REJECTED, True)


def test_a_checkpoint_that_would_run_code(config, failing_run):
    path = use_weights(config, "net.pt")

    class Bomb:
        def __reduce__(self):
            return (open, (str(config.parent / "ran"), "w"))

    torch.save({"0.weight": Bomb()}, path)
    code, line = failing_run()
    assert (code, "net.pt" in line) == (Exit.ARTEFACT_REJECTED, True)
    path.write_bytes(pickle.dumps(Bomb()))
    code, line = failing_run()
    assert (code, "net.pt" in line) == (Exit.ARTEFACT_REJECTED, True)
    assert not (config.parent / "ran").exists()


def test_a_factory_that_is_not_there(config, failing_run):
    path = use_weights(config, "net.safetensors")
    save_file(project.state(), path)
    project.change(config, ":module", ":nodule")
    code, line = failing_run()
    assert (code, "nodule" in line) == (Exit.USAGE, True)


def test_data_that_would_run_code(config, failing_run):
    class Bomb:
        def __reduce__(self):
            return (open, (str(config.parent / "ran"), "w"))

    np.savez(config.parent / "data.npz", x=np.array([Bomb()], dtype=object), y=np.zeros(1, dtype=int))
    code, line = failing_run()
    assert (code, "data.npz" in line) == (Exit.ARTEFACT_REJECTED, True)
    assert not (config.parent / "ran").exists()


@pytest.mark.usefixtures("no_pictures")
def test_a_run_folder_of_another_model_data_or_configuration(config, failing_run):
    assert main(["run", str(config), "--out", str(config.parent / "out")]) == 0

    def refused(word):
        code, line = failing_run()
        assert code == Exit.HASH_MISMATCH
        assert word in line

    onnx.save(project.network(seed=1), config.parent / "net.onnx")
    refused("another model")
    onnx.save(project.network(), config.parent / "net.onnx")
    spoil(config, "x", put((0, 0), 0.5))
    refused("other data")
    spoil(config, "x", lambda x: x)
    project.change(config, "steps = 5", "steps = 6")
    refused("another config")
    project.change(config, "steps = 6", "steps = 5")
    (config.parent / "config.toml").write_text("# a comment\n" + config.read_text())
    assert main(["run", str(config), "--out", str(config.parent / "out")]) == 0


def test_a_failure_midway_keeps_finished_samples(config, failing_run, monkeypatch):
    calls = []
    real = certify.job.evaluate_batch

    def failing(*args):
        calls.append(args)
        if len(calls) == 4:
            raise MemoryError
        return real(*args)

    monkeypatch.setattr(certify.job, "evaluate_batch", failing)
    code, line = failing_run()
    assert (code, "out of memory" in line) == (Exit.INTERNAL, True)
    with Ledger.read(config.parent / "out") as ledger:
        assert len(ledger.verdicts()) >= 3 * 6  # the first batch at every eps


@pytest.fixture
def contradicted(config, monkeypatch, capsys, one_picture):
    """The folder of a run whose judge takes every margin for a proof; what it said on stderr."""
    project.change(config, '["pgd", "crown"]', '["crown", "pgd"]')
    with monkeypatch.context() as patched:
        patched.setattr(certify.decide, "proves", lambda evidence: evidence.margin is not None)
        assert main(["run", str(config), "--out", str(config.parent / "out")]) == Exit.SOUNDNESS_VIOLATION
    return config.parent / "out", capsys.readouterr()


def test_a_contradiction_ends_the_run_with_its_own_code_and_loses_nothing(config, contradicted):
    folder, (out, err) = contradicted
    assert err.count("\n") == 1
    for part in ("error: ALARM: sample", "CROWN", "PGD", "margin at the counterexample is -"):
        assert part in err
    assert "ALARM" in out
    with Ledger.read(folder) as ledger:
        rows, found = ledger.verdicts(), ledger.contradictions()
    assert len(rows) == len(project.EPS) * project.SAMPLES
    assert len({each.sample for each in found}) == len(found) > 1
    report = json.loads((folder / "report.json").read_text())
    assert report["status"] == "INVALID"
    assert [each["sample"] for each in report["contradictions"]] == [each.sample for each in found]
    assert all(p["counts"]["error"] == len(found) for p in report["curve"])
    text = (folder / "report.html").read_text()
    assert "INVALID" in text
    assert "both proved robust and attacked" in text
    x, net = project.samples(), project.forward
    for each in found:
        loaded = Reproducer.load(folder / each.file_name)
        assert loaded.record() == each.record()
        assert np.array_equal(loaded.x, x["x"][each.sample])
        assert np.abs(loaded.witness.numpy().astype(float) - x["x"][each.sample]).max() <= max(project.EPS)
        assert net(loaded.witness.numpy()[None]).argmax() != x["y"][each.sample] == each.proof.label


def test_a_run_with_a_contradiction_never_ends_well_later(config, contradicted, capsys):
    folder, (_, err) = contradicted
    (kept,) = sorted(folder.glob("contradiction-*.npz"))[:1]
    before = kept.read_bytes()
    kept.unlink()
    assert main(["run", str(config), "--out", str(folder)]) == Exit.SOUNDNESS_VIOLATION
    assert capsys.readouterr().err == err
    assert kept.read_bytes() == before
    for source in (folder, folder / "report.json"):
        assert main(["report", str(source)]) == Exit.SOUNDNESS_VIOLATION
    assert main(["curve", str(folder)]) == Exit.SOUNDNESS_VIOLATION


def test_nothing_is_exported_as_decided_that_is_contradicted(config, contradicted):
    folder, queries = contradicted[0], config.parent / "queries"
    assert main(["export", str(folder), str(config), "--out", str(queries)]) == Exit.PASS
    with Ledger.read(folder) as ledger:
        found = {each.sample for each in ledger.contradictions()}
    for path in queries.glob("*.result"):
        if int(path.name.split("-")[1]) in found:
            assert path.read_text() == "unknown\n"


def test_a_contradiction_is_replayed(config, contradicted, capsys, monkeypatch, refuse):
    (kept,) = sorted(contradicted[0].glob("contradiction-*.npz"))[:1]
    assert main(["replay", str(kept), str(config)]) == Exit.PASS  # the judge is well again
    assert "now: no contradiction" in capsys.readouterr().out
    with monkeypatch.context() as patched:
        patched.setattr(certify.decide, "proves", lambda evidence: evidence.margin is not None)
        assert main(["replay", str(kept), str(config)]) == Exit.SOUNDNESS_VIOLATION
    assert "now: ALARM" in capsys.readouterr().out
    onnx.save(project.network(seed=1), config.parent / "net.onnx")
    code, line = refuse("replay", kept, config)
    assert (code, "about model" in line) == (Exit.HASH_MISMATCH, True)
    for spoiled in (kept.read_bytes()[:-30], b"", (config.parent / "data.npz").read_bytes()):
        kept.write_bytes(spoiled)
        code, line = refuse("replay", kept, config)
        assert (code, "no reproducer" in line) == (Exit.ARTEFACT_REJECTED, True)
    code, line = refuse("replay", kept.with_name("none.npz"), config)
    assert (code, "none.npz" in line) == (Exit.ARTEFACT_REJECTED, True)


def test_faults_of_our_own_keep_their_traceback(config, monkeypatch, capsys):
    monkeypatch.setattr(certify.job, "evaluate_batch", None)
    assert main(["run", str(config), "--out", str(config.parent / "out")]) == Exit.INTERNAL
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: this is a fault in certify")


@pytest.mark.parametrize(
    "arguments", [[], ["run"], ["rum"], ["run", "x", "--out"], ["verify", "a", "b", "--timeout", "-1"]]
)
def test_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == Exit.USAGE
    assert "Traceback" not in capsys.readouterr().err


def test_verify_refuses_what_it_cannot_read(config, refuse):
    net, prop = config.parent / "net.onnx", config.parent / "prop.vnnlib"
    prop.write_text("(declare-const X_0 Real)\n(assert (<= X_0 1.0")
    code, line = refuse("verify", net, prop)
    assert (code, "prop.vnnlib" in line) == (Exit.ARTEFACT_REJECTED, True)
    code, line = refuse("verify", net, config.parent / "none.vnnlib")
    assert (code, "none.vnnlib" in line) == (Exit.ARTEFACT_REJECTED, True)
    prop.write_text(
        "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n"
        "(assert (>= X_0 0))\n(assert (<= X_0 1))\n(assert (>= Y_0 0))\n"
    )
    code, line = refuse("verify", net, prop)
    assert (code, "1 inputs" in line) == (Exit.USAGE, True)
    packed = config.parent / "cut.vnnlib.gz"
    packed.write_bytes(gzip.compress(prop.read_bytes())[:-9])
    code, line = refuse("verify", net, packed)
    assert (code, "cut.vnnlib.gz" in line) == (Exit.ARTEFACT_REJECTED, True)
