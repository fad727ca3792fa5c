"""Votes in the ledger: an interrupted sampling goes on where it was, with the same counts."""

import signal
import sqlite3
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import Tensor

from certify.checkpoint import checkpointed
from certify.errors import ArtefactRejected, UsageError
from certify.ledger import FILE, Identity, Ledger
from certify.smoothing import Smoothing
from certify.versions import Writer
from tests.certify.smoothing.models import thirds

CERTIFIER = Smoothing(sigma=0.5, n0=50, n=25_000, batch_size=1000)
X = torch.linspace(-0.4, 0.6, 6).view(3, 2)


def opened(folder) -> Ledger:
    return Ledger.open(folder, Identity("m", "d", "c"), {}, Writer({}, {}))


def resumed(folder) -> tuple[list[int], int]:
    """The hits of a run over what the folder holds, and how many rows it classified."""
    rows = []

    def watched(z: Tensor) -> Tensor:
        rows.append(len(z))
        return thirds(z)

    with opened(folder) as ledger, checkpointed(ledger, repr(CERTIFIER.noise)) as votes:
        return CERTIFIER.certify(watched, X, votes=votes).hits.tolist(), sum(rows)


def test_an_interruption_keeps_what_was_counted(tmp_path):
    calls = []

    def stopped(z: Tensor) -> Tensor:
        calls.append(len(z))
        if len(calls) == 40:
            raise KeyboardInterrupt
        return thirds(z)

    with (
        pytest.raises(KeyboardInterrupt),
        opened(tmp_path) as ledger,
        checkpointed(ledger, repr(CERTIFIER.noise)) as votes,
    ):
        CERTIFIER.certify(stopped, X, votes=votes)
    hits, rows = resumed(tmp_path)
    assert hits == CERTIFIER.certify(thirds, X).hits.tolist()
    assert 30_000 < rows < 60_000  # of 75,150
    again, rows = resumed(tmp_path)
    assert again == hits
    assert rows < 100  # the probe's


KILLED = """
    import os, signal, sys
    from certify.checkpoint import checkpointed
    from tests.certify.test_checkpoint import CERTIFIER, X, opened, thirds
    from pathlib import Path
    left = int(sys.argv[2])
    def dying(z):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return thirds(z)
    with opened(Path(sys.argv[1])) as ledger, checkpointed(ledger, repr(CERTIFIER.noise), 0) as votes:
        CERTIFIER.certify(dying, X, votes=votes)
"""


@pytest.mark.parametrize("calls", [5, 33, 70])
def test_a_killed_sampling_resumes_to_the_same_counts(tmp_path, calls):
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), str(calls)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    hits, rows = resumed(tmp_path)
    assert hits == CERTIFIER.certify(thirds, X).hits.tolist()
    assert rows <= 75_200 - max(0, calls - 30) * 1000


def test_laws_are_kept_apart(tmp_path):
    resumed(tmp_path)
    with opened(tmp_path) as ledger:
        assert ledger.votes(repr(CERTIFIER.noise))
        assert not ledger.votes("another")


def test_damaged_votes_are_refused(tmp_path):
    resumed(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("UPDATE votes SET votes = x'00' WHERE sample = 1")
    with opened(tmp_path) as ledger, pytest.raises(ArtefactRejected, match="unreadable votes"):
        ledger.votes(repr(CERTIFIER.noise))


def test_votes_are_for_one_use_also_after_a_restart(tmp_path):
    """A fixed number of draws that was looked at must not be continued, whichever process looked."""
    resumed(tmp_path)
    longer = Smoothing(sigma=0.5, n0=50, n=50_000)
    with (
        opened(tmp_path) as ledger,
        checkpointed(ledger, repr(CERTIFIER.noise)) as votes,
        pytest.raises(UsageError, match=r"drawn for Fixed\(n=25000\)"),
    ):
        longer.certify(thirds, X, votes=votes)
