"""Audits: what is changed in a report is found, by its numbers, its signature or its replay."""

import json
import random
import shutil
from dataclasses import replace

import pytest
import torch

from bounds.rounding import Level
from certify.audit import Outcome, Scene, Signature, audit, exit_code, replayed, require
from certify.audit.rates import interval
from certify.contradiction import Cause, Reproducer, Side
from certify.errors import ArtefactRejected, Exit
from certify.ledger import Ledger
from certify.reporting.build import build
from certify.reporting.canonical import canonical
from certify.reporting.compliance import with_maps
from certify.reporting.findings import Findings, _without
from certify.reporting.rates import share
from certify.threat import Linf
from certify.verdict import Verdict
from tests.certify.audit.tampering import changed, leaves, outcome, put
from tests.certify.cli import project


def row(tree, verdict, carried=False):
    return next(
        r for r in tree["samples"] if r["verdict"] == verdict and carried == (r["from_eps"] is not None)
    )


def point(tree, eps):
    return next(p for p in tree["curve"] if p["eps"] == eps)


def recount(tree, eps, old, new):
    """Make one count of the curve right again, with all its rates."""
    p = point(tree, eps)
    p["counts"][old] -= 1
    p["counts"][new] += 1
    c, n = p["counts"], p["n"]
    right = n - c["misclassified"]
    for name, count in (
        ("clean_accuracy", right),
        ("attacked_accuracy", right - c["falsified"]),
        ("verified_accuracy", c["verified"]),
        ("undecided", c["unknown"] + c["error"]),
    ):
        p[name] = share(count, n).model_dump()


def verdict_alone(tree):
    row(tree, "unknown")["verdict"] = "verified"


def verdict_with_margin_and_counts(tree):
    some = row(tree, "unknown")
    some.update(verdict="verified", margin=1.0, level="real", by=row(tree, "verified")["by"])
    recount(tree, some["eps"], "unknown", "verified")


def falsified_as_unknown(tree):
    some = row(tree, "falsified")
    some.update(verdict="unknown", witness_sha256=None, by=None, distances=None)
    recount(tree, some["eps"], "falsified", "unknown")


def falsified_as_verified_at_the_larger_eps(tree):
    some = next(r for r in tree["samples"] if r["verdict"] == "falsified")
    proof = row(tree, "verified")
    some.update({k: proof[k] for k in ("verdict", "margin", "level", "by", "alpha")})
    some.update(witness_sha256=None, distances=None, findings=proof["findings"], from_eps=None)
    recount(tree, some["eps"], "falsified", "verified")


def count(tree):
    tree["curve"][0]["counts"]["verified"] += 1


def interval_bound(tree):
    tree["curve"][0]["verified_accuracy"]["low"] += 0.01


def confidence(tree):
    tree["interval"]["confidence"] = 0.99


def radius(tree):
    next(s for s in tree["smoothing"][0]["samples"] if s["radius"] > 0)["radius"] *= 1.01


def lower_bound(tree):
    detail = next(s for s in tree["smoothing"][0]["samples"] if s["radius"] > 0)["detail"]
    detail["p_lower"] = min(detail["p_lower"] * 1.001, 0.9999)


def hits(tree):
    tree["smoothing"][0]["samples"][0]["detail"]["hits"] -= 1


def selection(tree):
    votes = tree["smoothing"][0]["samples"][0]["detail"]["selection"]
    votes.append(votes.pop(0))


def step(tree):
    tree["smoothing"][0]["steps"][-1]["jointly"] = 1.0


def guarantee(tree):
    tree["smoothing"][0]["guarantees"][0]["certified"] += 1


def abstained(tree):
    tree["smoothing"][0]["abstained"] += 1


def witness_hash(tree):
    shown = {(e["eps"], e["sample"]) for e in tree["gallery"]}
    some = next(r for r in tree["samples"] if (r["eps"], r["sample"]) in shown)
    some["witness_sha256"] = "0" * 64


def witness(tree):
    some = tree["gallery"][0]
    some["witness"] = some["clean"]


def distance(tree):
    row(tree, "falsified")["distances"]["linf"] = 0.9


def margin(tree):
    row(tree, "verified")["margin"] *= 2


def method(tree):
    row(tree, "verified")["by"] = "Oracle()"


def policy_rule(tree):
    tree["policy"]["rules"]["rules"][0]["at_least"] = 0.1


def policy_hash(tree):
    tree["policy"]["sha256"] = "0" * 64


def model_hash(tree):
    tree["identity"]["model"] = "0" * 64


def bracket(tree):
    tree["brackets"][0]["verified"] = 0.9


def class_counts(tree):
    counts = tree["per_class"][0]["counts"]
    counts["verified"], counts["unknown"] = counts["verified"] + 1, counts["unknown"]


def gap_table(tree):
    tree["gap"][0]["count"] += 1


def attack(tree):
    tree["attacks"][0]["succeeded"] = 0
    tree["attacks"][-1]["succeeded"] += 1


def dropped_sample(tree):
    some = tree["samples"].pop()
    eps = some["eps"]
    p = point(tree, eps)
    p["n"] -= 1
    p["counts"][some["verdict"]] += 1
    recount(tree, eps, some["verdict"], some["verdict"])
    p["counts"][some["verdict"]] -= 1


def data_hash(tree):
    tree["identity"]["data"] = "0" * 64


def reliability(tree):
    tree["attacked_accuracy_is"] = "exact"


def odd_votes(tree):
    tree["smoothing"][0]["samples"][0]["detail"]["selection"][0] = "many"


def predicted(tree):
    some = row(tree, "verified")
    some["predicted"] = some["label"] + 1


CHANGES = [
    verdict_alone, verdict_with_margin_and_counts, falsified_as_unknown,
    falsified_as_verified_at_the_larger_eps, count, interval_bound, confidence, radius, lower_bound, hits,
    selection, step, guarantee, abstained, witness_hash, witness, distance, margin, method, policy_rule,
    policy_hash, model_hash, bracket, class_counts, gap_table, attack, dropped_sample, predicted,
    data_hash, reliability, odd_votes,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_a_changed_report_fails_even_without_its_signature(tree, change):
    assert outcome(tree) == (Exit.PASS, "")
    change(tree)
    code, _ = outcome(tree)
    assert code in (Exit.FAILED, Exit.ARTEFACT_REJECTED, Exit.HASH_MISMATCH, Exit.SOUNDNESS_VIOLATION)


@pytest.mark.parametrize("change", [policy_rule, policy_hash])
def test_hashes_that_fail_have_their_code(tree, change):
    change(tree)
    assert outcome(tree)[0] is Exit.HASH_MISMATCH


def test_verdicts_that_contradict_across_eps_are_a_soundness_violation(tree):
    falsified_as_verified_at_the_larger_eps(tree)
    sample = next(r for r in tree["samples"] if r["verdict"] == "falsified")
    proof = row(tree, "verified")
    larger = next(r for r in tree["samples"] if r["sample"] == sample["sample"] and r["eps"] > sample["eps"])
    old = larger["verdict"]
    larger.update({k: proof[k] for k in ("margin", "level", "by", "alpha", "findings")})
    larger.update(verdict="verified", witness_sha256=None, distances=None, from_eps=None)
    recount(tree, larger["eps"], old, "verified")
    code, told = outcome(tree)
    assert code is Exit.SOUNDNESS_VIOLATION
    assert f"soundness: sample {sample['sample']} is verified" in told


def test_no_leaf_of_a_signed_report_can_be_changed(folder, tree):
    signature = Signature(folder / "run" / "attestation.dsse.json", folder / "key.pub")
    _, items = audit(canonical(tree), signature)
    assert exit_code(items) is Exit.PASS
    for path, value in random.Random(0).sample(list(leaves(tree)), 60):
        other = json.loads(json.dumps(tree))
        put(other, path, changed(value))
        try:
            _, items = audit(canonical(other), signature)
        except ArtefactRejected:
            continue
        assert exit_code(items) in (Exit.HASH_MISMATCH, Exit.SOUNDNESS_VIOLATION), path


def test_values_of_other_types_never_break_the_audit(tree):
    draw = random.Random(2)
    places = list(leaves(tree))
    for path, _ in draw.sample(places, 60):
        other = json.loads(json.dumps(tree))
        put(other, path, draw.choice([None, "x", -1, 1e300, "NaN", [], [1, "a"], {}, 10**30]))
        code, _ = outcome(other)
        assert code in Exit


def test_no_byte_of_a_signed_report_can_be_changed(folder):
    data = (folder / "run" / "report.json").read_bytes()
    signature = Signature(folder / "run" / "attestation.dsse.json", folder / "key.pub")
    draw = random.Random(1)
    for _ in range(60):
        place = draw.randrange(len(data))
        other = data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :]
        try:
            _, items = audit(other, signature)
        except ArtefactRejected:
            continue
        assert exit_code(items) in (Exit.HASH_MISMATCH, Exit.SOUNDNESS_VIOLATION), place


def again(folder, tree, k=100):
    report, _ = audit(canonical(tree))
    items = replayed(Scene.of(report, folder / "config.toml"), folder / "run", k, seed=7)
    return exit_code(items), {each.what: each for each in items if each.outcome is Outcome.FAILED}


def test_a_forged_proof_with_all_its_records_fails_its_replay(folder, tree):
    """Whoever makes all numbers agree is left with a proof that nobody can make again."""
    some = row(tree, "unknown")
    proof = next(f for f in row(tree, "verified")["findings"] if f["margin"] is not None)
    some.update(verdict="verified", margin=proof["margin"], level=proof["level"], by=proof["method"])
    some["findings"] = [proof]
    recount(tree, some["eps"], "unknown", "verified")
    assert outcome(tree)[0] is Exit.FAILED  # tables beside the curve still tell
    code, failed = again(folder, tree)
    assert code is Exit.FAILED
    assert f"sample {some['sample']} at eps {some['eps']:g} is not proved" in failed["certificates"].sentence


def test_margins_predictions_and_counterexamples_are_replayed(folder, tree):
    assert again(folder, tree) == (Exit.PASS, {})
    some = row(tree, "verified")
    some["margin"] += 0.5
    for finding in some["findings"]:
        finding["margin"] = some["margin"]
    code, failed = again(folder, tree)
    assert (code, failed.keys()) == (Exit.FAILED, {"certificates"})


def test_a_smaller_region_than_the_counterexample_needs_is_found(folder, tree):
    falsified = [r for r in tree["samples"] if r["verdict"] == "falsified"]
    first, second = (falsified[0], next(r for r in falsified if r["sample"] != falsified[0]["sample"]))
    first["witness_sha256"], second["witness_sha256"] = second["witness_sha256"], first["witness_sha256"]
    code, failed = again(folder, tree)
    assert (code, failed.keys()) == (Exit.FAILED, {"counterexamples"})


def test_votes_drawn_anew_speak_against_a_forged_radius(folder, tree):
    for each in tree["smoothing"][0]["samples"]:
        if each["radius"] > 0 and each["detail"]["p_lower"] < 0.9:
            each["radius"] = 0.3  # three times the scale of the noise: a share of 0.9987
    code, failed = again(folder, tree)
    assert (code, failed.keys()) == (Exit.FAILED, {"radii"})


def test_counterexamples_that_are_not_at_hand_are_told(folder, tree):
    report, _ = audit(canonical(tree))
    items = replayed(Scene.of(report, folder / "config.toml"), None, 1, seed=0)
    assert exit_code(items) is Exit.PASS
    skipped = [each for each in items if each.outcome is Outcome.NOT_CHECKED]
    assert any("run folder" in each.sentence for each in skipped)


def test_a_run_on_another_device_is_checked_on_the_cpu(folder, tmp_path):
    """The configuration names another device; its digest is the written one all the same."""
    from certify.config import read_config

    shutil.copytree(folder, tmp_path / "copy")
    config = tmp_path / "copy" / "config.toml"
    report, _ = audit((folder / "run" / "report.json").read_bytes())
    plain = Scene.of(report, config)
    assert plain.config == read_config(config).digest()
    project.change(config, "seed = 3", 'seed = 3\ndevice = "meta"')
    other = Scene.of(report, config)
    assert other.run.device == "cpu"
    assert other.config == read_config(config).digest() != plain.config


def test_a_report_that_calls_itself_invalid_agrees_with_itself_too(folder):
    """Samples that are contradicted anywhere count as errors at every eps, and no part tells otherwise."""
    with Ledger.read(folder / "run") as ledger:
        found = Findings.of(ledger)
    attacked = next(row for row in found.verdicts if row.verdict is Verdict.FALSIFIED)
    side = Side("CROWN()", found.about["identity"]["model"], Linf(0.15), 0, 0.1, Level.REAL, 0.0)
    x, witness = torch.tensor(attacked.x), torch.tensor(attacked.witness)
    told = Reproducer(attacked.sample, x, witness, side, side, 0, Cause.ALARM, "r")
    without = _without({attacked.sample}, found.verdicts)
    report = with_maps(build(replace(found, verdicts=without, contradictions=[told]), 2))
    assert report.status == "INVALID"
    _, items = audit(report.to_bytes())
    assert {each.what for each in items if each.outcome is Outcome.FAILED} == {"soundness"}
    require(report, "it")
    alone = report.model_copy(update={"status": "VALID", "contradictions": ()})
    with pytest.raises(ArtefactRejected, match="no contradiction is told"):
        require(alone, "it")


@pytest.mark.parametrize(("count", "n"), [(0, 10), (3, 10), (10, 10), (199, 200)])
def test_intervals_are_those_of_exact_tails(count, n):
    from tests.certify.gate.test_rules import tail

    low, high = interval(count, n, 0.95)
    if count:
        assert float(tail(count, n, low)) == pytest.approx(0.025, rel=1e-6)
    if count < n:
        assert float(1 - tail(count + 1, n, high)) == pytest.approx(0.025, rel=1e-6)
