"""Radii of every mode follow again from the votes that are recorded, and from no others."""

import copy
import dataclasses

import pytest

import certify.reporting
from certify.cli import main
from certify.errors import Exit, UsageError
from certify.reporting.canonical import parsed
from certify.smoothing.laws import Gaussian
from certify.smoothing.modes import MODES, Fixed, retraced
from tests.certify.audit.tampering import outcome
from tests.certify.cli import project

SECTIONS = {
    "fixed": "n = 300",
    "anytime": "n = 300",
    "two-sided": "n = 300",
    "planned": "tolerance = 0.2\nn_max = 600\npilot = 50",
    "decide": "radius = 0.03\nn_max = 600",
    "grid": "radii = [0.02, 0.05, 0.1]\nn_max = 600",
}


def test_every_mode_is_tried():
    assert SECTIONS.keys() == MODES.keys()


@pytest.mark.parametrize("mode", sorted(SECTIONS))
def test_radii_follow_from_their_votes_alone(tmp_path, monkeypatch, mode):
    monkeypatch.setattr(certify.reporting, "render", lambda report, folder: None)
    config = project.make(tmp_path)
    project.change(config, "n = 100\n", "")
    config.write_text(f'{config.read_text()}\n[smoothing.mode]\nuse = "{mode}"\n{SECTIONS[mode]}\n')
    assert main(["run", str(config), "--out", str(tmp_path / "run")]) == 0
    tree = parsed((tmp_path / "run" / "report.json").read_bytes())
    assert outcome(tree) == (Exit.PASS, "")
    certified = [k for k, each in enumerate(tree["smoothing"][0]["samples"]) if each["radius"] > 0]
    assert certified
    for name, change in CHANGES.items():
        other = copy.deepcopy(tree)
        change(other["smoothing"][0]["samples"][certified[0]])
        code, told = outcome(other)
        assert code is Exit.FAILED, name
        assert "radii (sigma 0.1)" in told, name


def _more_hits(each):
    each["detail"]["votes"][0][0] += 10_000


def _fewer_hits(each):
    for answer in each["detail"]["votes"]:
        answer[0] = 0


CHANGES = {
    "radius": lambda each: each.update(radius=each["radius"] * 1.01),
    "more hits": _more_hits,
    "fewer hits": _fewer_hits,
    "more draws": lambda each: each["detail"].update(n=each["detail"]["n"] + 1),
    "a vote less": lambda each: each["detail"]["votes"].pop(),
    "a vote more": lambda each: each["detail"]["votes"].append([1, 0]),
    "no votes": lambda each: each["detail"].pop("votes"),
    "words for votes": lambda each: each["detail"].update(votes="many"),
    "bound": lambda each: each["detail"].update(p_lower=0.999),
}


def test_votes_that_were_not_asked_for_conclude_nothing():
    law = Gaussian(0.25)
    assert retraced(Fixed(10), law, 0.001, ((10, 0),)).hits == 10
    for trace in ((), ((11, 0),), ((-1, 0),), ((5, 6),), ((10, 0), (10, 0))):
        with pytest.raises(UsageError):
            retraced(Fixed(10), law, 0.001, trace)


def test_what_is_retraced_is_what_was_estimated():
    """A vote more or less gives another estimate, so that the votes are those that count."""
    law, estimates = Gaussian(0.25), set()
    for hits in range(60, 101):
        estimates.add(dataclasses.astuple(retraced(Fixed(100), law, 0.001, ((hits, 100 - hits),))))
    assert len(estimates) == 41
