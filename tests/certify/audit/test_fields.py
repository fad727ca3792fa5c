"""Every field of a report, one by one: what can be changed unseen is what only its author can know."""

import copy
import random
from collections import defaultdict

import pytest

from certify.audit import Outcome, Scene, audit, replayed
from certify.errors import ArtefactRejected, Exit
from certify.reporting.canonical import canonical
from tests.certify.audit.tampering import changed, leaves, outcome, put

# Names that the author gives, and where evidence was written: only a signature vouches for these.
AUTHOR = {
    "data.hub", "data.name", "data.selection", "data.source", "data.split", "model.name", "complete",
    "writers.hardware.machine", "writers.hardware.processor", "writers.hardware.system",
    "writers.versions.certify", "writers.versions.numpy", "writers.versions.python", "writers.versions.torch",
    "policy.fixed_before_run",
}  # fmt: skip
# What was measured and cannot be derived: seen by whoever replays it, or examines the attacks again.
MEASURED = {
    "health.samples", "health.checks.fail", "health.checks.measured", "health.checks.method",
    "health.checks.name", "health.checks.sentence", "health.checks.warn",
    "samples.findings.alpha", "samples.findings.detail.smallest_margin", "samples.findings.margin",
    "samples.findings.backwards", "samples.findings.forwards",
    "samples.findings.detail.method", "samples.margin",
}  # fmt: skip
# Seen with the model, the data and the run folder at hand.
REPLAYED = {
    "model.input_shape", "model.parameters", "settings.batch_size",
    "samples.distances.linf", "samples.distances.l2", "samples.distances.l1", "samples.distances.l0",
    "smoothing.law", "smoothing.mode", "samples.adversarial",
}  # fmt: skip


def by_field(tree):
    """The leaves of each field, which are those at one place but for their numbers."""
    found = defaultdict(list)
    for path, value in leaves(tree):
        if path[0] != "volatile":
            found[".".join(key for key in path if isinstance(key, str))].append((path, value))
    return found


def tampered(tree, path, value):
    other = copy.deepcopy(tree)
    put(other, path, value)
    return other


@pytest.mark.slow
def test_no_field_can_be_changed_unseen_but_what_only_its_author_knows(tree):
    draw = random.Random(4)
    unseen = {
        field
        for field, places in by_field(tree).items()
        for path, value in draw.sample(places, min(2, len(places)))
        if outcome(tampered(tree, path, changed(value)))[0] is Exit.PASS
    }
    assert unseen <= AUTHOR | MEASURED | REPLAYED


def test_lists_cannot_lose_or_repeat_an_entry_unseen(tree):
    lists = (
        "samples",
        "curve",
        "per_class",
        "gap",
        "brackets",
        "attacks",
        "methods",
        "claimed",
        "not_claimed",
    )
    lists += ("compliance", "not_measured", "smoothing", "health")
    for name in lists:
        for change in (tree[name][:-1], [*tree[name], tree[name][-1]]):
            assert outcome({**tree, name: change})[0] is not Exit.PASS, name


@pytest.mark.parametrize("field", sorted(REPLAYED))
def test_what_the_numbers_do_not_tell_a_replay_does(folder, tree, field):
    path, value = next(each for each in by_field(tree)[field] if each[1] is not None)
    changes = {"smoothing.law": "Laplace(scale=0.1)", "smoothing.mode": "Anytime(n=100)"}
    other = tampered(tree, path, changes.get(field, changed(value)))
    try:
        report, items = audit(canonical(other))
    except ArtefactRejected:
        return
    items += replayed(Scene.of(report, folder / "config.toml"), folder / "run", 100, seed=1)
    assert any(each.outcome is Outcome.FAILED for each in items)
