"""The suite's side of a probe: stages of one subject, in a process that may die at any of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.baselines.stages import Finding, Subject
from benchmarks.process import Process, Program, WorkerFailed


def probe(program: Program, subject: Subject, stages: Sequence[str], limit: float) -> tuple[Finding, ...]:
    """What the first stage and each of ``stages`` found; none of them is tried once the first has failed.

    A stage that kills its process, or takes more than ``limit`` seconds, has failed; the next one gets a
    process of its own.
    """
    with ExitStack() as stack:

        def start() -> tuple[Process, Finding]:
            process = stack.enter_context(Process(program, subject.threads))
            return process, _finding(process.ask(subject.line(), limit))

        process, first = start()
        found = [first]
        alive = True
        for stage in stages:
            if first.error is not None:
                break
            if not alive:
                process, again = start()
                if again.error is not None:
                    break
            answer = process.ask(stage, limit)
            alive = not isinstance(answer, WorkerFailed)
            found.append(_finding(answer))
    return tuple(found)


def _finding(answer: str | WorkerFailed) -> Finding:
    return Finding(error=answer.reason) if isinstance(answer, WorkerFailed) else Finding.read(answer)
