"""``certify verify``: one network and one property, in the manner of VNN-COMP."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from certify.errors import Exit, UsageError

if TYPE_CHECKING:
    from certify.property import Status

HELP = "decide a VNN-LIB property of an ONNX network: unsat, sat (with a counterexample), unknown or timeout"


class _TimeUp(BaseException):
    """The time that was given is over; no ``Exception``, so that nothing on the way handles it."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "network", type=Path, metavar="NET.onnx", help="a network with one input and one output"
    )
    parser.add_argument(
        "property", type=Path, metavar="PROP.vnnlib", help="a VNN-LIB 1.0 property; may be gzipped"
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=60.0, metavar="SECONDS", help="time limit (default: %(default)g)"
    )
    parser.add_argument("--out", type=Path, metavar="RESULT", help="write what is printed to a file, too")


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from certify.property import LEVEL, Status
    from certify.verdict import SENTENCES

    try:
        with _deadline(arguments.timeout):
            status, text = _answer(arguments.network, arguments.property, arguments.timeout)
    except _TimeUp:
        status, text = Status.TIMEOUT, ""
    result = f"{status.value}\n{text}"
    sys.stdout.write(result)
    if status is Status.UNSAT:
        print(f"level {LEVEL.value}: {SENTENCES[LEVEL]}", file=sys.stderr)
    if arguments.out is not None:
        _write(arguments.out, result)
    codes = {Status.UNSAT: Exit.PASS, Status.SAT: Exit.FAILED}
    return codes.get(status, Exit.INCONCLUSIVE)


def _answer(network: Path, prop: Path, timeout: float) -> tuple[Status, str]:
    """The status and, for sat, the counterexample as text."""
    began = time.monotonic()
    from bounds import read_onnx
    from bounds.vnnlib import format_counterexample, read_vnnlib
    from certify.cli.console import progress
    from certify.property import answer
    from certify.run import Run

    graph = read_onnx(network)
    region, spec = read_vnnlib(prop)
    with progress() as listener:
        left = max(0.0, timeout - (time.monotonic() - began))
        found = answer(graph, region, spec, Run(progress=listener), left)
    if found.x is None or found.y is None:
        return found.status, ""
    return found.status, format_counterexample(found.x, found.y) + "\n"


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise ``_TimeUp`` in the body after some seconds, where the system has alarm signals."""
    if sys.platform == "win32":
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise _TimeUp

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again each second, should one get lost in a callback
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text} is no time limit; give seconds > 0")
    return value


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
