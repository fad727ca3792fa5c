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
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

Margins = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Case:
    """One computation: margin lower bounds of the first ``batch`` recorded samples of a network.

    net: the ONNX file; its samples, labels and boxes lie in the .npz file beside it.
    method: "IBP", "CROWN-IBP" or "CROWN". dtype: "float32" or "float64". threads: of torch.
    memory_gb: what the process may hold; asking for more fails the case and not the machine.
    """

    net: str
    method: str
    batch: int
    dtype: str
    threads: int
    memory_gb: float

    def samples(self) -> dict[str, npt.NDArray[np.generic]]:
        """The first ``batch`` of ``y``, ``lo`` and ``hi``."""
        with np.load(Path(self.net).with_suffix(".npz")) as recorded:
            return {name: recorded[name][: self.batch] for name in ("y", "lo", "hi")}

    def line(self) -> str:
        """The case as one line of JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Answer:
    """What one run gave. seconds: wall time of the call. margins: (batch, rows). peak_mb: since the start.

    error: why there is no result; then the worker has ended.
    """

    name: str
    seconds: float = 0.0
    margins: list[list[float]] = field(default_factory=list)
    peak_mb: int = 0
    error: str | None = None


def serve(name: str, prepare: Callable[[Case], Callable[[], Margins]]) -> None:
    """Answer on stdout until stdin closes. ``prepare`` gives the call to be timed, margins (batch, rows)."""
    # What libraries print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        case = Case(**json.loads(sys.stdin.readline()))
        allowed = int(case.memory_gb * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
        compute = prepare(case)
        print(_run(name, compute), file=answers)
        for _ in sys.stdin:
            print(_run(name, compute), file=answers)
    except Exception as error:
        # A peer that cannot do a case is a line of the table, not the end of the suite.
        print(json.dumps(asdict(Answer(name, error=f"{type(error).__name__}: {error}"))), file=answers)


def _run(name: str, compute: Callable[[], Margins]) -> str:
    start = time.perf_counter()
    margins = compute()
    seconds = time.perf_counter() - start
    return json.dumps(asdict(Answer(name, seconds, margins.tolist(), peak_mb())))


def peak_mb() -> int:
    """The process' largest resident size so far, in MB, libraries included."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike ru_maxrss, which starts from the size of the process that started this one.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**20
