"""The ledger: what is recorded is there again, whoever is killed, and only for whom it belongs to."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from bounds.rounding import Level
from certify.errors import ArtefactRejected, RunMismatch, UsageError
from certify.ledger import FILE, Identity, Ledger
from certify.rows import RadiusRow, VerdictRow
from certify.verdict import Verdict
from certify.versions import Writer

IDENTITY = Identity(model="a" * 64, data="b" * 64, config="c" * 64)
WRITER = Writer({"certify": "1"}, {"system": "Linux"})


def open_ledger(folder, identity=IDENTITY, writer=WRITER):
    return Ledger.open(folder, identity, {"model": {"name": "net"}}, writer)


def test_rows_come_back_as_they_were(tmp_path):
    witness = np.array([[0.1, -0.0], [np.nextafter(np.float32(1), np.float32(0)), 3.5]], dtype=np.float32)
    row = VerdictRow(
        0.1, 7, Verdict.FALSIFIED, "PGD(steps=3)", None, None, 0.0, {"steps": 3}, witness, witness - 1, (1.5,)
    )
    proved = VerdictRow(0.1, 8, Verdict.VERIFIED, "CROWN()", 0.1 + 0.2, Level.REAL)
    infinite = VerdictRow(0.1, 9, Verdict.UNKNOWN, None, -np.inf, Level.FLOAT)
    radius = RadiusRow(0.25, 7, 3, -1, 0.0, 0.001, {"counts": [1, 2]})
    with open_ledger(tmp_path) as ledger:
        ledger.record("eps=0.1", 0, 1.5, [row, proved, infinite], [radius])
    with Ledger.read(tmp_path) as ledger:
        falsified, verified, unknown = ledger.verdicts()
        assert falsified.witness.dtype == np.float32
        assert falsified.witness.tobytes() == witness.tobytes()
        assert falsified.witness.shape == (2, 2)
        assert falsified.x.tobytes() == (witness - 1).tobytes()
        assert (falsified.seconds, verified.seconds) == ((1.5,), ())
        assert (falsified.by, falsified.detail) == ("PGD(steps=3)", {"steps": 3})
        assert (verified.margin, verified.level, verified.witness) == (0.1 + 0.2, Level.REAL, None)
        assert unknown.margin == -np.inf
        assert [vars(r) for r in ledger.radii()] == [vars(radius)]
        assert ledger.finished("eps=0.1") == {0}
        assert ledger.finished("eps=0.2") == set()
        assert ledger.seconds() == {"eps=0.1": 1.5}
        assert ledger.identity == IDENTITY
        assert ledger.description == {"model": {"name": "net"}}


def test_big_endian_witnesses_are_stored_little_endian(tmp_path):
    with open_ledger(tmp_path) as ledger:
        ledger.record(
            "s", 0, 0.0, [VerdictRow(0.1, 0, Verdict.FALSIFIED, witness=np.array([1.5], dtype=">f4"))]
        )
        ((raw, dtype),) = ledger._select("SELECT witness, witness_dtype FROM verdicts")
    assert (raw, dtype) == (np.array([1.5], dtype="<f4").tobytes(), "<f4")


def test_a_batch_is_recorded_whole_or_not_at_all(tmp_path):
    twice = [VerdictRow(0.1, 0, Verdict.UNKNOWN), VerdictRow(0.1, 0, Verdict.VERIFIED)]
    with open_ledger(tmp_path) as ledger:
        with pytest.raises(ArtefactRejected):
            ledger.record("s", 0, 0.0, twice)
        assert ledger.finished("s") == set()
        assert ledger.verdicts() == []


def test_rows_of_some_samples(tmp_path):
    with open_ledger(tmp_path) as ledger:
        ledger.record("s", 0, 0.0, [VerdictRow(0.1, i, Verdict.UNKNOWN) for i in range(9)])
        assert [r.sample for r in ledger.verdicts([3, 4, 5])] == [3, 4, 5]


@pytest.mark.parametrize(
    ("part", "word"), [("model", "another model"), ("data", "other data"), ("config", "another config")]
)
def test_another_identity_is_refused_and_named(tmp_path, part, word):
    open_ledger(tmp_path).close()
    other = Identity(**{**vars(IDENTITY), part: "f" * 64})
    with pytest.raises(RunMismatch, match=word):
        open_ledger(tmp_path, other)
    open_ledger(tmp_path).close()  # and the refusal left it usable


def test_each_writer_is_listed_once(tmp_path):
    first, second = (Writer({"torch": version}, {}) for version in ("1", "2"))
    for writer in (first, second, first):
        open_ledger(tmp_path, writer=writer).close()
    with Ledger.read(tmp_path) as ledger:
        assert ledger.writers == [first, second]


def test_another_process_is_told_that_the_folder_is_in_use(tmp_path):
    code = f"""
        import sys; from pathlib import Path
        from certify.ledger import Ledger, Identity
        from certify.versions import Writer
        Ledger.open(Path({str(tmp_path)!r}), Identity("a" * 64, "b" * 64, "c" * 64), {{}}, Writer({{}}, {{}}))
        print("open", flush=True); sys.stdin.read()
    """
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout.readline() == "open\n"
        for attempt in (lambda: open_ledger(tmp_path), lambda: Ledger.read(tmp_path)):
            with pytest.raises(UsageError, match="in use by another process"):
                attempt()
        holder.send_signal(signal.SIGKILL)
    open_ledger(tmp_path).close()  # the lock went with the process


def test_a_process_killed_while_writing_loses_only_its_open_batch(tmp_path):
    code = f"""
        import os, signal; from pathlib import Path
        from certify.ledger import Ledger, Identity, VerdictRow
        from certify.verdict import Verdict
        from certify.versions import Writer
        identity = Identity("a" * 64, "b" * 64, "c" * 64)
        ledger = Ledger.open(Path({str(tmp_path)!r}), identity, {{}}, Writer({{}}, {{}}))
        ledger.record("s", 0, 0.0, [VerdictRow(0.1, 0, Verdict.UNKNOWN)])
        with ledger._transaction():
            ledger._insert("finished", 3, [("s", 1, 0.0)])
            ledger._connection.execute("PRAGMA cache_spill = 1")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert ended.returncode == -signal.SIGKILL
    with open_ledger(tmp_path) as ledger:
        assert ledger.finished("s") == {0}
        assert len(ledger.verdicts()) == 1


def test_files_that_are_no_ledger_are_refused(tmp_path):
    (tmp_path / FILE).write_bytes(b"not a database at all, but longer than a header would be" * 20)
    for attempt in (lambda: open_ledger(tmp_path), lambda: Ledger.read(tmp_path)):
        with pytest.raises(ArtefactRejected, match=r"ledger\.sqlite"):
            attempt()
    (tmp_path / FILE).unlink()
    with sqlite3.connect(tmp_path / FILE) as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(ArtefactRejected, match="not a ledger"):
        open_ledger(tmp_path)


def test_a_later_format_is_refused(tmp_path):
    open_ledger(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as raw:
        raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(RunMismatch, match="format 99"):
        open_ledger(tmp_path)


def test_a_folder_that_is_no_run_and_one_that_cannot_be_made(tmp_path):
    with pytest.raises(UsageError, match="not a run folder"):
        Ledger.read(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="run folder"):
        open_ledger(tmp_path / "file")


def test_the_ledger_is_a_single_file(tmp_path):
    open_ledger(tmp_path).close()
    assert os.listdir(tmp_path) == [FILE]
