"""The worker's side of a probe: one subject in one process, and stages of work on it, each answered alone.

The first line from stdin is the subject; preparing it is the first stage. Each further line names a stage.
Like ``worker``, it imports nothing of the product.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from benchmarks.baselines.worker import answers, first_line, limit_memory


@dataclass(frozen=True)
class Subject:
    """What is probed: a name that the worker understands and, where it takes one, a property of it.

    memory_gb: what the process may hold. threads: of torch.
    """

    name: str
    memory_gb: float
    threads: int
    detail: str = ""

    def line(self) -> str:
        """The subject as one line of JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Finding:
    """What one stage gave. value: what the stage measures, if anything. error: why it failed."""

    seconds: float = 0.0
    value: float | None = None
    error: str | None = None

    def line(self) -> str:
        """The finding as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, line: str) -> Finding:
        """The finding that ``line`` gave as text."""
        return cls(**json.loads(line))


class StageFailed(Exception):
    """A stage gave something, and it is wrong; the message says how."""


Stage = Callable[[], float | None]


def serve_stages(prepare: Callable[[Subject], tuple[float | None, Mapping[str, Stage]]]) -> None:
    """Answer on stdout until stdin closes. ``prepare`` gives the first stage's value, and the others."""
    with answers() as out:
        subject = Subject(**json.loads(sys.stdin.readline()))
        limit_memory(subject.memory_gb)
        stages: Mapping[str, Stage] = {}

        def first() -> float | None:
            nonlocal stages
            value, stages = prepare(subject)
            return value

        print(_find(first).line(), file=out)
        for line in sys.stdin:
            print(_find(stages[line.strip()]).line(), file=out)


def _find(stage: Stage) -> Finding:
    start = time.perf_counter()
    try:
        value = stage()
    except StageFailed as error:
        return Finding(time.perf_counter() - start, error=str(error))
    # Whatever a library raises is what the table is about.
    except Exception as error:
        return Finding(time.perf_counter() - start, error=first_line(error))
    return Finding(time.perf_counter() - start, value)
