"""The evidence ledger of a run folder: one SQLite file that grows by one transaction per finished batch.

Rows are only ever added. A process that is killed loses the batch it was working on and nothing else; the
next one reads what is finished and goes on. The file belongs to one model, data set and configuration.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from bounds.rounding import Level
from certify.contradiction import Reproducer
from certify.diagnosis import Health
from certify.errors import ArtefactRejected, CertifyError, RunMismatch, UsageError
from certify.rows import RadiusRow, VerdictRow
from certify.smoothing.intervals import IntArray
from certify.smoothing.votes import Piece
from certify.verdict import Verdict
from certify.versions import Writer

FORMAT = 5
FILE = "ledger.sqlite"
Json = dict[str, Any]

_APPLICATION = 0x63747279  # tells a ledger from any other SQLite file
_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE writers (id INTEGER PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE finished (stage TEXT, batch INTEGER, seconds REAL NOT NULL, PRIMARY KEY (stage, batch));
CREATE TABLE verdicts (
    eps REAL, sample INTEGER, verdict TEXT NOT NULL, decided_by TEXT, margin REAL, level TEXT,
    alpha REAL NOT NULL, detail TEXT NOT NULL, witness BLOB, witness_dtype TEXT, witness_shape TEXT,
    x BLOB, seconds TEXT NOT NULL,
    PRIMARY KEY (eps, sample)
);
CREATE TABLE proofs (eps REAL, sample INTEGER, file BLOB NOT NULL, PRIMARY KEY (eps, sample));
CREATE TABLE radii (
    sigma REAL, sample INTEGER, truth INTEGER NOT NULL, label INTEGER NOT NULL, radius REAL NOT NULL,
    alpha REAL NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (sigma, sample)
);
CREATE TABLE contradictions (sample INTEGER, eps REAL, file BLOB NOT NULL, PRIMARY KEY (sample, eps));
CREATE TABLE health (eps REAL PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE votes (
    law TEXT, sample INTEGER, stream TEXT, first INTEGER, count INTEGER NOT NULL, votes BLOB NOT NULL,
    PRIMARY KEY (law, sample, stream, first)
);
"""


@dataclass(frozen=True)
class Identity:
    """What a run folder belongs to: SHA-256 digests, in hex, of the model, the data and the configuration."""

    model: str
    data: str
    config: str


class Ledger:
    """An open ledger; use it as a context manager.

    One process at a time: the file stays locked while a ledger is open for writing, and the lock goes with
    the process, however it ends.
    """

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        self._connection = connection
        self._folder = folder

    @classmethod
    def open(cls, folder: Path, identity: Identity, description: Json, writer: Writer) -> Ledger:
        """Open the ledger of a run folder for writing; both are created where they do not exist.

        description: what the run is about, for its report. writer: the software and machine that write now.
        Raises ``RunMismatch`` if the folder belongs to another model, data set, configuration or format,
        ``UsageError`` if another process has it open, ``ArtefactRejected`` if it is no readable ledger.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder}: cannot be made a run folder: {error.strerror}") from error
        ledger = cls._connect(folder, "rwc")
        try:
            with ledger._transaction():
                if ledger._is_empty():
                    ledger._create(identity, description)
                ledger._check_format()
                ledger._check_identity(identity)
                ledger._add_writer(writer)
        except BaseException:
            ledger.close()
            raise
        return ledger

    @classmethod
    def read(cls, folder: Path) -> Ledger:
        """Open the ledger of an existing run folder to read it.

        Raises ``UsageError`` if there is none or a process is writing it, and ``ArtefactRejected`` or
        ``RunMismatch`` if it cannot be read.
        """
        if not (folder / FILE).is_file():
            raise UsageError(f"{folder} is not a run folder: it has no {FILE}; make one with `certify run`")
        ledger = cls._connect(folder, "rw")
        try:
            ledger._check_format()
        except BaseException:
            ledger.close()
            raise
        return ledger

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    @property
    def identity(self) -> Identity:
        """What the run belongs to."""
        return Identity(**{f.name: self._about(f.name) for f in fields(Identity)})

    @property
    def description(self) -> Json:
        """What the run is about, as given when it was made."""
        described: Json = json.loads(self._about("description"))
        return described

    @property
    def writers(self) -> list[Writer]:
        """What wrote this ledger, without repetitions."""
        rows = self._select("SELECT record FROM writers GROUP BY record ORDER BY min(id)")
        return [Writer(**json.loads(text)) for (text,) in rows]

    def finished(self, stage: str) -> set[int]:
        """The batches of a stage that are done."""
        return {batch for (batch,) in self._select("SELECT batch FROM finished WHERE stage = ?", stage)}

    def seconds(self) -> dict[str, float]:
        """Computing time per stage."""
        return dict(
            self._select("SELECT stage, sum(seconds) FROM finished GROUP BY stage ORDER BY min(rowid)")
        )

    def record(
        self,
        stage: str,
        batch: int,
        seconds: float,
        verdicts: Sequence[VerdictRow] = (),
        radii: Sequence[RadiusRow] = (),
        contradictions: Sequence[tuple[float, Reproducer]] = (),
        health: Sequence[tuple[float, Health]] = (),
    ) -> None:
        """Add a finished batch: all of it or nothing, on disk when this returns.

        contradictions, health: each with the eps that it was found at.
        """
        with self._transaction():
            self._connection.execute("INSERT INTO finished VALUES (?, ?, ?)", (stage, batch, seconds))
            self._insert("verdicts", 13, [_verdict_values(row) for row in verdicts])
            proofs = [(row.eps, row.sample, row.proof) for row in verdicts if row.proof is not None]
            self._insert("proofs", 3, proofs)
            self._insert("radii", 7, [_radius_values(row) for row in radii])
            self._insert("contradictions", 3, [(c.sample, eps, c.to_bytes()) for eps, c in contradictions])
            self._insert("health", 2, [(eps, json.dumps(h.record())) for eps, h in health])

    def verdicts(self, samples: Sequence[int] | None = None) -> list[VerdictRow]:
        """Verdict rows by eps, then sample; only those of ``samples`` (ascending) if given."""
        low, high = (samples[0], samples[-1]) if samples else (0, 2**62)
        query = (
            "SELECT verdicts.*, file FROM verdicts LEFT JOIN proofs USING (eps, sample) "
            "WHERE sample BETWEEN ? AND ? ORDER BY eps, sample"
        )
        return [_verdict_row(values) for values in self._select(query, low, high)]

    def radii(self) -> list[RadiusRow]:
        """Rows of the smoothed classifiers by sigma, then sample."""
        rows = self._select("SELECT * FROM radii ORDER BY sigma, sample")
        return [_radius_row(values) for values in rows]

    def contradictions(self) -> list[Reproducer]:
        """What was both proved and attacked, one for each sample."""
        rows = self._select("SELECT file, min(eps) FROM contradictions GROUP BY sample ORDER BY sample")
        title = f"a contradiction in {self._folder / FILE}"
        return [Reproducer.from_bytes(data, title) for data, _ in rows]

    def health(self) -> dict[float, Health]:
        """How far the attacks are to be believed, by eps."""
        rows = self._select("SELECT eps, record FROM health ORDER BY eps")
        return {eps: Health.of(json.loads(text)) for eps, text in rows}

    def record_policy(self, policy: Json) -> None:
        """Keep the policy that the run is judged by now; before anything is finished, it is fixed, too."""
        text = json.dumps(policy, sort_keys=True)
        with self._transaction():
            started = self._select("SELECT 1 FROM finished LIMIT 1")
            for name in ("policy",) if started else ("policy", "policy before the run"):
                self._connection.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, text))

    def policy(self) -> tuple[Json, bool] | None:
        """The policy that the run is judged by, and whether it is the one fixed before the run."""
        found = dict(self._select("SELECT name, value FROM about WHERE name LIKE 'policy%'"))
        if "policy" not in found:
            return None
        return json.loads(found["policy"]), found["policy"] == found.get("policy before the run")

    def claim_votes(self, law: str, use: str) -> str:
        """What the votes under a law are for: what was claimed first, by this process and all before it."""
        name = f"votes under {law}"
        with self._transaction():
            self._connection.execute("INSERT OR IGNORE INTO about VALUES (?, ?)", (name, use))
        return self._about(name)

    def record_votes(self, law: str, pieces: Sequence[tuple[Piece, IntArray]]) -> None:
        """Add votes over noisy copies, all of them or nothing; a piece that is there is replaced."""
        with self._transaction():
            self._connection.executemany(
                "INSERT OR REPLACE INTO votes VALUES (?, ?, ?, ?, ?, ?)",
                [(law, p.sample, p.stream, p.first, p.count, _packed(votes)) for p, votes in pieces],
            )

    def votes(self, law: str) -> list[tuple[Piece, IntArray]]:
        """All votes under one law of noise."""
        rows = self._select("SELECT sample, stream, first, count, votes FROM votes WHERE law = ?", law)
        with _translated(self._folder):
            return [(Piece(*place), _unpacked(data)) for *place, data in rows]

    @classmethod
    def _connect(cls, folder: Path, mode: str) -> Ledger:
        uri = f"{(folder / FILE).resolve().as_uri()}?mode={mode}"
        with _translated(folder):
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=1.0)
            try:
                # the locks of the first read and the first write are kept until the file is closed
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                connection.execute("PRAGMA synchronous = FULL")
            except sqlite3.Error:
                connection.close()
                raise
        return cls(connection, folder)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _translated(self._folder):
            self._connection.execute("BEGIN EXCLUSIVE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _select(self, query: str, *values: object) -> list[Any]:
        with _translated(self._folder):
            return self._connection.execute(query, values).fetchall()

    def _insert(self, table: str, columns: int, rows: Sequence[tuple[object, ...]]) -> None:
        places = ", ".join("?" * columns)
        self._connection.executemany(f"INSERT INTO {table} VALUES ({places})", rows)

    def _is_empty(self) -> bool:
        return not self._select("SELECT 1 FROM sqlite_master LIMIT 1")

    def _create(self, identity: Identity, description: Json) -> None:
        for statement in _SCHEMA.split(";"):
            self._connection.execute(statement)
        self._connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        self._connection.execute(f"PRAGMA user_version = {FORMAT}")
        about = {f.name: str(getattr(identity, f.name)) for f in fields(Identity)}
        about["description"] = json.dumps(description, sort_keys=True)
        self._insert("about", 2, list(about.items()))

    def _check_format(self) -> None:
        ((application,),) = self._select("PRAGMA application_id")
        ((found,),) = self._select("PRAGMA user_version")
        if application != _APPLICATION:
            raise ArtefactRejected(f"{self._folder / FILE} is not a ledger; choose another folder")
        if found != FORMAT:
            raise RunMismatch(
                f"{self._folder} has ledger format {found}, this version writes format {FORMAT}; "
                "use the version that made it, or a new folder"
            )

    def _check_identity(self, identity: Identity) -> None:
        there = self.identity
        for part, name in (("model", "another model"), ("data", "other data"), ("config", "another config")):
            old, new = getattr(there, part), getattr(identity, part)
            if old != new:
                raise RunMismatch(
                    f"{self._folder} belongs to {name} ({part} {old[:12]} there, {new[:12]} here); "
                    "give a new folder, or the original files to resume"
                )

    def _add_writer(self, writer: Writer) -> None:
        text = json.dumps(vars(writer), sort_keys=True)
        self._connection.execute("INSERT INTO writers (record) VALUES (?)", (text,))

    def _about(self, name: str) -> str:
        rows = self._select("SELECT value FROM about WHERE name = ?", name)
        if not rows:
            raise ArtefactRejected(f"{self._folder / FILE} lacks its {name}; restore it or use a new folder")
        return str(rows[0][0])


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    """SQLite's errors as errors that name the folder and a remedy."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise UsageError(f"{folder} is in use by another process; wait for it, or stop it") from error
        raise CertifyError(f"{folder / FILE} cannot be used: {error}; check disk space and rights") from error
    except sqlite3.DatabaseError as error:
        raise ArtefactRejected(
            f"{folder / FILE} is damaged or not a ledger ({error}); move it away or restore it"
        ) from error


def _verdict_values(row: VerdictRow) -> tuple[object, ...]:
    witness: tuple[object, ...] = (None, None, None, None)
    if row.witness is not None:
        dtype = row.witness.dtype.newbyteorder("<")
        data, x = (
            None if each is None else np.ascontiguousarray(each, dtype=dtype).tobytes()
            for each in (row.witness, row.x)
        )
        witness = (data, dtype.str, json.dumps(row.witness.shape), x)
    level = None if row.level is None else row.level.value
    detail = json.dumps(dict(row.detail or {}), sort_keys=True, allow_nan=False)
    head = (row.eps, row.sample, row.verdict.value, row.by, row.margin, level, row.alpha, detail)
    return (*head, *witness, json.dumps(row.seconds))


def _verdict_row(values: tuple[Any, ...]) -> VerdictRow:
    eps, sample, verdict, by, margin, level, alpha, detail, data, dtype, shape, x, seconds, proof = values
    witness, clean = (
        None if each is None else np.frombuffer(each, dtype=dtype).reshape(json.loads(shape))
        for each in (data, x)
    )
    return VerdictRow(
        eps,
        sample,
        Verdict(verdict),
        by,
        margin,
        None if level is None else Level(level),
        alpha,
        json.loads(detail),
        witness,
        clean,
        tuple(json.loads(seconds)),
        proof,
    )


def _packed(votes: IntArray) -> bytes:
    return zlib.compress(np.ascontiguousarray(votes, dtype="<i8").tobytes(), 1)


def _unpacked(data: bytes) -> IntArray:
    try:
        return np.frombuffer(zlib.decompress(data), dtype="<i8").astype(np.int64)
    except (zlib.error, ValueError) as error:
        raise sqlite3.DatabaseError(f"unreadable votes: {error}") from error


def _radius_row(values: tuple[Any, ...]) -> RadiusRow:
    sigma, sample, truth, label, radius, alpha, detail = values
    return RadiusRow(sigma, sample, truth, label, radius, alpha, json.loads(detail))


def _radius_values(row: RadiusRow) -> tuple[object, ...]:
    detail = json.dumps(dict(row.detail), sort_keys=True)
    return (row.sigma, row.sample, row.truth, row.label, row.radius, row.alpha, detail)
