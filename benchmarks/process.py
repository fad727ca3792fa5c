"""A worker's process: lines of JSON in, lines of JSON out, with a limit on each answer."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class WorkerFailed:
    """A worker could not do its case, and why."""

    reason: str


@dataclass(frozen=True)
class Program:
    """How to start a worker: the Python to run and the module under ``benchmarks.baselines``."""

    python: str
    module: str


class Process:
    """A started worker. After a question that it failed to answer it has ended."""

    def __init__(self, program: Program, threads: int) -> None:
        # A file and not a pipe, which a worker that says much would fill and then wait for ever.
        self._messages = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in __exit__
        self._process = subprocess.Popen(
            [program.python, "-m", f"benchmarks.baselines.{program.module}"],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            text=True,
        )
        self._answers = cast(IO[str], self._process.stdout)

    def ask(self, line: str, limit: float) -> str | WorkerFailed:
        """The worker's answer to one line. limit: seconds after which it is killed."""
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(limit, stop)
        timer.start()
        try:
            print(line, file=self._process.stdin, flush=True)
            answer = self._answers.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            timer.cancel()
        if answer:
            return answer
        return WorkerFailed(f"no answer in {limit:g} s" if late.is_set() else self._last_words())

    def _last_words(self) -> str:
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return "killed by the system, as it does for memory"
        self._messages.seek(0)
        lines = self._messages.read().strip().splitlines() or ["no message"]
        return f"ended with code {code}: {lines[-1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._messages.close()
