"""The worker's side of a measurement: one case in one process, run whenever the suite asks.

A worker reads one JSON case from stdin, prepares it, runs it once to warm up and answers; each further line
asks for one more run. It imports nothing of the product, so that a peer's Python, which
has no reason to hold our dependencies, can run it too.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

Margins = npt.NDArray[np.floating]

# A run of less would measure how fast a process wakes up.
SHORTEST_RUN = 0.05


@dataclass(frozen=True)
class Case:
    """One computation: margin lower bounds of the first ``batch`` recorded samples of a network.

    net: the ONNX file; its samples, labels and boxes lie in the .npz file beside it. A batch larger than
        the record repeats it.
    method: as the suite names it. dtype: "float32" or "float64". threads: of torch.
    memory_gb: what the process may hold; asking for more fails the case and not the machine.
    level: what our bounds are to claim; None for the dtype's own.
    """

    net: str
    method: str
    batch: int
    dtype: str
    threads: int
    memory_gb: float
    level: str | None = None

    def samples(self) -> dict[str, npt.NDArray[np.generic]]:
        """The first ``batch`` of ``y``, ``lo`` and ``hi``."""
        with np.load(Path(self.net).with_suffix(".npz")) as recorded:
            which = np.arange(self.batch) % len(recorded["y"])
            return {name: recorded[name][which] for name in ("y", "lo", "hi")}

    def line(self) -> str:
        """The case as one line of JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Answer:
    """What one run gave. seconds: wall time of the call. margins: (batch, rows).

    grown_mb: the largest resident size since the case was ready, above what it then was.
    error: why there is no result; then the worker has ended.
    """

    name: str
    seconds: float = 0.0
    margins: list[list[float]] = field(default_factory=list)
    grown_mb: float = 0.0
    error: str | None = None

    def line(self) -> str:
        """The answer as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, line: str) -> Answer:
        """The answer that ``line`` gave as text."""
        return cls(**json.loads(line))


def serve(name: str, prepare: Callable[[Case], Callable[[], Margins]]) -> None:
    """Answer on stdout until stdin closes. ``prepare`` gives the call to be timed, margins (batch, rows)."""
    with answers() as out:
        try:
            case = Case(**json.loads(sys.stdin.readline()))
            limit_memory(case.memory_gb)
            compute = prepare(case)
            loaded = start_peak()
            first = _run(name, compute, 1, loaded)
            print(first.line(), file=out)
            calls = 0
            for _ in sys.stdin:
                calls = calls or _calls(compute, first.seconds)
                print(_run(name, compute, calls, loaded).line(), file=out)
        except Exception as error:
            # A peer that cannot do a case is a line of the table, not the end of the suite.
            print(Answer(name, error=first_line(error)).line(), file=out)


@contextmanager
def answers() -> Iterator[TextIO]:
    """The stream to answer on; what libraries print from now on goes elsewhere and cannot mix with it."""
    with os.fdopen(os.dup(1), "w", buffering=1) as out:
        os.dup2(2, 1)
        yield out


def limit_memory(gigabytes: float) -> None:
    """From now on, asking for more fails with an error."""
    allowed = int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))


def first_line(error: BaseException) -> str:
    """The error's kind and what it says first."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__


def _run(name: str, compute: Callable[[], Margins], calls: int, loaded: float) -> Answer:
    start = time.perf_counter()
    for _ in range(calls):
        margins = compute()
    seconds = (time.perf_counter() - start) / calls
    return Answer(name, seconds, margins.tolist(), peak_mb() - loaded)


def _calls(compute: Callable[[], Margins], first: float) -> int:
    """How many calls make a run that is long enough to be timed. first: seconds, with all that loads late."""
    if first > 2:
        return 1
    start = time.perf_counter()
    compute()
    return max(1, round(SHORTEST_RUN / max(time.perf_counter() - start, 1e-6)))


def start_peak() -> float:
    """The resident size in MB, from which ``peak_mb`` looks for a larger one. Linux forgets older peaks."""
    forget = Path("/proc/self/clear_refs")
    if forget.exists():
        forget.write_text("5")
    return peak_mb()


def peak_mb() -> float:
    """The process' largest resident size so far, in MB, libraries included."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike ru_maxrss, which starts from the size of the process that started this one.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
