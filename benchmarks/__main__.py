"""``python -m benchmarks SUITE``: run one suite, write its table as markdown and CSV."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from benchmarks.measure import Repeats, machine, peer
from benchmarks.options import BadRequest, Options
from benchmarks.suites import SUITES
from benchmarks.table import Row, Table, describe, read


def main(argv: list[str]) -> int:
    """0 when the table is written, 2 for a command that cannot be carried out."""
    given = _parser().parse_args(argv)
    data = given.data or os.environ.get("CERTIFY_TEST_DATA")
    if data is None:
        print("benchmarks: give --data or set CERTIFY_TEST_DATA to the data folder", file=sys.stderr)
        return 2
    suite = SUITES[given.suite]
    blank: Row = dict.fromkeys(suite.shown)  # an earlier version may not have had all columns
    done = read(given.out / f"{given.suite}.csv") if given.resume else []
    options = Options(
        data=Path(data),
        nets=tuple(given.nets),
        methods=tuple(given.methods),
        batches=tuple(given.batch),
        dtypes=tuple(given.dtypes),
        threads=given.threads,
        memory_gb=given.memory,
        repeats=Repeats(least=given.repeats, seconds=given.seconds),
        limit=given.limit,
        peer_python=given.peer_python,
        done=[{**blank, **row} for row in done],
    )
    source = [f"Machine: {machine(given.threads)}."]
    source += [f"Peer: {peer(given.peer_python)}."] if given.peer_python is not None else []
    source += [f"Command: `python -m benchmarks {shlex.join(argv)}`"]
    rows: list[Row] = []
    try:
        for row in suite.rows(options):
            rows.append(row)
            print(describe(row), file=sys.stderr, flush=True)
            # After every row, so that a run cut short leaves what it measured.
            notes = (*source, *suite.notes)
            found = [*rows, *suite.remaining(options.done, rows)]
            table = Table(suite.title, notes, suite.shown, found, suite.groups, suite.summary, suite.overall)
            table.write(given.out, given.suite)
    except BadRequest as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    print(given.out / f"{given.suite}.md")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suite", choices=sorted(SUITES))
    parser.add_argument("--nets", nargs="+", default=[], metavar="NET", help="default: every recorded one")
    parser.add_argument("--methods", nargs="+", default=[], metavar="METHOD", help="default: all")
    parser.add_argument("--batch", nargs="+", type=int, default=[], metavar="N", help="default: the suite's")
    parser.add_argument("--dtypes", nargs="+", default=["float32"], choices=["float32", "float64"])
    parser.add_argument("--threads", type=int, default=2, help="of each program; default: 2")
    parser.add_argument("--memory", type=float, default=12, metavar="GB", help="of each program; default: 12")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs at least; default: 3")
    parser.add_argument("--seconds", type=float, default=20, help="for more runs of a case; default: 20")
    parser.add_argument("--limit", type=float, help="seconds of one run; default: the suite's")
    parser.add_argument("--peer-python", metavar="PATH", help="a Python that imports the peer: runs it live")
    parser.add_argument("--data", metavar="DIR", help="default: the environment's CERTIFY_TEST_DATA")
    parser.add_argument("--resume", action="store_true", help="keep the rows of the table that is there")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "tables", metavar="DIR")
    return parser


def _threaded(argv: list[str]) -> None:
    """Begin anew where the environment allows other numbers of threads: libraries read it as they load."""
    mine = {
        name: str(_parser().parse_args(argv).threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    }
    if any(os.environ.get(name) != value for name, value in mine.items()):
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks", *argv], {**os.environ, **mine})


if __name__ == "__main__":
    _threaded(sys.argv[1:])
    sys.exit(main(sys.argv[1:]))
