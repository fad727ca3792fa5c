"""The suite's side of a measurement: workers in processes of their own, timed in turn."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from benchmarks.baselines.worker import Answer, Case, Margins
from benchmarks.process import Process, Program, WorkerFailed

# The libraries that a peer's Python may hold.
PEERS = ("auto_LiRPA", "pyautoattack")


@dataclass(frozen=True, eq=False)
class Result:
    """What a worker gave for one case: every timed run in order, margins (batch, rows), memory in MB.

    grown_mb: what the first run added to the process, at its peak, once libraries and network were loaded.
    """

    name: str
    seconds: tuple[float, ...]
    margins: Margins
    grown_mb: float

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)


class Worker:
    """A worker at one case: ``warm`` once, then ``run``. After an answer with an error it has ended."""

    def __init__(self, process: Process, case: Case, limit: float) -> None:
        self._process = process
        self._case = case
        self._limit = limit

    def warm(self) -> Answer:
        """Prepare and run once."""
        return self._ask(self._case.line())

    def run(self) -> Answer:
        """Run once more, timed."""
        return self._ask("run")

    def _ask(self, line: str) -> Answer:
        answer = self._process.ask(line, self._limit)
        return Answer("", error=answer.reason) if isinstance(answer, WorkerFailed) else Answer.read(answer)


@dataclass(frozen=True)
class Repeats:
    """How often a case is run after its warm-up: what ``seconds`` allow, within ``least`` and ``most``."""

    least: int = 3
    most: int = 15
    seconds: float = 20.0

    def of(self, warm: float) -> int:
        """The number of rounds, given the seconds of the first."""
        return max(self.least, min(self.most, int(self.seconds / max(warm, 1e-9))))


def in_turn(
    sides: Sequence[tuple[Program, Case]], repeats: Repeats, limit: float
) -> tuple[Result | WorkerFailed, ...]:
    """Every side's result, their timed runs alternating: A B A B ... So load that drifts hits all alike.

    A side that fails, or takes more than ``limit`` seconds for a run, gives its failure; the others go on.
    """
    with ExitStack() as stack:
        workers = [
            Worker(stack.enter_context(Process(program, case.threads)), case, limit)
            for program, case in sides
        ]
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
    return Result(last.name, seconds, np.array(last.margins), answers[0].grown_mb)


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


def peer(python: str) -> str:
    """One line that says which peers, on which torch, that Python has."""
    code = (
        "import importlib as i, importlib.util as u\n"
        f"for name in {PEERS!r}:\n"
        "    if u.find_spec(name): print(name, i.import_module(name).__version__, end=', ')\n"
        "import torch; print('torch', torch.__version__)"
    )
    run = subprocess.run([python, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    found = run.stdout.strip().splitlines()[-1] if run.stdout.strip() else ""
    if run.returncode != 0 or found.startswith("torch"):
        return "none that this Python can import"
    return found


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    return names[0].split(":")[1].strip() if names else platform.processor() or platform.machine()
