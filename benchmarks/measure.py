"""The suite's side of a measurement: workers in processes of their own, timed in turn."""

from __future__ import annotations

import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

import numpy as np

from benchmarks.baselines.worker import Answer, Case, Margins

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


@dataclass(frozen=True, eq=False)
class Result:
    """What a worker gave for one case: every timed run in order, margins (batch, rows), peak size."""

    name: str
    seconds: tuple[float, ...]
    margins: Margins
    peak_mb: int

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)


class Worker:
    """A started worker: ``warm`` once, then ``run``. After an answer with an error it has ended."""

    def __init__(self, program: Program, case: Case, limit: float) -> None:
        self._case = case
        self._limit = limit
        # A file and not a pipe, which a worker that says much would fill and then wait for ever.
        self._messages = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in __exit__
        self._process = subprocess.Popen(
            [program.python, "-m", f"benchmarks.baselines.{program.module}"],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(case.threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            text=True,
        )
        self._answers = cast(IO[str], self._process.stdout)

    def warm(self) -> Answer:
        """Prepare and run once."""
        return self._ask(self._case.line())

    def run(self) -> Answer:
        """Run once more, timed."""
        return self._ask("run")

    def _ask(self, line: str) -> Answer:
        timer = threading.Timer(self._limit, self._process.kill)
        timer.start()
        try:
            print(line, file=self._process.stdin, flush=True)
            answer = self._answers.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            timer.cancel()
        return Answer(**json.loads(answer)) if answer else Answer("", error=self._last_words())

    def _last_words(self) -> str:
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return f"killed, after {self._limit:.0f} s or for memory"
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


@dataclass(frozen=True)
class Repeats:
    """How often a case is run after its warm-up: what ``seconds`` allow, within ``least`` and ``most``.

    limit: seconds after which one run is given up.
    """

    least: int = 3
    most: int = 15
    seconds: float = 20.0
    limit: float = 600.0

    def of(self, warm: float) -> int:
        """The number of rounds, given the seconds of the first."""
        return max(self.least, min(self.most, int(self.seconds / max(warm, 1e-9))))


def in_turn(sides: Sequence[tuple[Program, Case]], repeats: Repeats) -> tuple[Result | WorkerFailed, ...]:
    """Every side's result, their timed runs alternating: A B A B ... So load that drifts hits all alike.

    A side that fails gives its failure; the others go on.
    """
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(program, case, repeats.limit)) for program, case in sides]
        given = [[worker.warm()] for worker in workers]
        rounds = repeats.of(sum(first.seconds for [first] in given))
        for _ in range(rounds):
            for worker, answers in zip(workers, given, strict=True):
                if answers[-1].error is None:
                    answers.append(worker.run())
    return tuple(_result(answers) for answers in given)


def _result(answers: Sequence[Answer]) -> Result | WorkerFailed:
    last = answers[-1]
    if last.error is not None:
        return WorkerFailed(last.error)
    seconds = tuple(each.seconds for each in answers[1:])
    return Result(last.name, seconds, np.array(last.margins), last.peak_mb)


def paired_ratio(a: Result, b: Result) -> float:
    """The median over rounds of a's seconds over b's."""
    return statistics.median(x / y for x, y in zip(a.seconds, b.seconds, strict=True))


def machine(threads: int) -> str:
    """One line that says what the seconds are seconds of."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return (
        f"{_cpu()}, {cores} cores, {threads} threads, {platform.system()}, "
        f"Python {platform.python_version()}, torch {metadata.version('torch')}, "
        f"load {os.getloadavg()[0]:.1f} at the start"
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    return names[0].split(":")[1].strip() if names else platform.processor() or platform.machine()
