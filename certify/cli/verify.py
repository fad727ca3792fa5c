"""``certify verify``: one network and one property, in the manner of VNN-COMP."""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from certify.cli.limits import TimeUp, deadline, memory_cap
from certify.errors import Exit, UsageError

if TYPE_CHECKING:
    from bounds import Box, Graph, Level, Spec
    from certify.property import Answer, Status

    Question = tuple[Graph, Box, Spec]

MOST = 1e9  # seconds, or gigabytes
_LATE = 0.3  # seconds that a search has to notice by itself that its time is over, and to say how far it got
HELP = "decide a VNN-LIB property of an ONNX network: unsat, sat (with a counterexample), unknown or timeout"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "network", type=Path, metavar="NET.onnx", help="a network with one input and one output"
    )
    parser.add_argument(
        "property", type=Path, metavar="PROP.vnnlib", help="a VNN-LIB property; may be gzipped"
    )
    parser.add_argument(
        "--timeout", type=positive, default=60.0, metavar="SECONDS", help="time limit (default: %(default)g)"
    )
    parser.add_argument("--memory", type=positive, metavar="GB", help="memory cap (default: none)")
    parser.add_argument(
        "--level",
        choices=("real", "deployed", "float"),
        default="real",
        help="what unsat claims: of exact arithmetic, of every float32 execution, or nothing (default: real)",
    )
    parser.add_argument(
        "--proof",
        type=Path,
        metavar="FILE",
        help="search for a proof of unsat for as long again, have it checked and write it; "
        "or write the counterexample; see `certify check`",
    )
    parser.add_argument("--out", type=Path, metavar="RESULT", help="write what is printed to a file, too")


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from bounds.rounding import Level
    from certify.property import Answer, Status

    level = Level(arguments.level)
    _check(arguments)

    def tell(status: Status, text: str = "") -> None:
        result = f"{status.value}\n{text}"
        sys.stdout.write(result)
        if arguments.out is not None:
            _write(arguments.out, result)

    question = None
    try:
        last = deadline(arguments.timeout + _LATE, lambda: tell(Status.TIMEOUT))
        with last, memory_cap(arguments.memory):
            found, question = _answer(arguments.network, arguments.property, arguments.timeout, level)
    except TimeUp:
        found = Answer(Status.TIMEOUT)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        print("warning: the memory did not suffice", file=sys.stderr)
        found = Answer(Status.UNKNOWN)
    tell(found.status, _counterexample(found))
    if remark := _remark(found, question, level):
        print(remark, file=sys.stderr)
    codes = {Status.UNSAT: Exit.PASS, Status.SAT: Exit.FAILED}
    if arguments.proof is not None and not _shown(arguments, question, found, level):
        return Exit.INCONCLUSIVE
    return codes.get(found.status, Exit.INCONCLUSIVE)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse, before the work, what would be in vain."""
    if arguments.level == "float" and arguments.proof is not None:
        raise UsageError("level float is no proof; give --level real or deployed with --proof")
    for path in (arguments.out, arguments.proof):
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise UsageError(f"{path} cannot be written; give a file in a folder that there is")


def _answer(network: Path, prop: Path, timeout: float, level: Level) -> tuple[Answer, Question | None]:
    """The answer, and what was asked, None where no input is meant."""
    began = time.monotonic()
    from bounds import read_onnx
    from bounds.errors import EmptyProperty
    from bounds.vnnlib import read_vnnlib
    from certify.cli.progress import progress
    from certify.property import Answer, Status, answer
    from certify.run import Run

    graph = read_onnx(network)
    try:
        region, spec = read_vnnlib(prop)
    except EmptyProperty as error:
        print(f"warning: {error}", file=sys.stderr)
        return Answer(Status.UNSAT), None
    with progress() as listener:
        left = max(0.0, timeout - (time.monotonic() - began))
        return answer(graph, region, spec, Run(progress=listener), left, level), (graph, region, spec)


def _remark(found: Answer, question: Question | None, level: Level) -> str:
    """What the word alone does not say."""
    from certify.property import Status
    from certify.verdict import SENTENCES

    if found.status is Status.UNSAT:
        return f"level {level.value}: {SENTENCES[level]}"
    gap = found.gap
    if gap is not None and math.isfinite(gap.bound):
        return (
            f"undecided after {found.domains:,} domains: lower bound {gap.bound:.3g} ({gap.root:.3g} before "
            f"any cut), least value found {gap.attack:.3g}"
        )
    if found.x is None or question is None:
        return ""
    _, region, _ = question
    inside = bool(region.contains(found.x.expand(len(region), -1)).any())
    return (
        ""
        if inside
        else "warning: next to the region, where an input is pinned to what is no float of the network"
    )


def _counterexample(found: Answer) -> str:
    from bounds.vnnlib import format_counterexample

    if found.x is None or found.y is None:
        return ""
    return format_counterexample(found.x, found.y) + "\n"


def _shown(arguments: argparse.Namespace, question: Question | None, found: Answer, level: Level) -> bool:
    """Whether a file that shows the answer was written."""
    from certify.proofs import write

    if question is None:
        print("no proof: nothing was asked in time, or no input is meant", file=sys.stderr)
        return False
    try:
        with memory_cap(arguments.memory):
            written = write(arguments.network, *question, found, arguments.timeout, arguments.proof, level)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        print("no proof: the memory did not suffice", file=sys.stderr)
        return False
    print(written.sentence, file=sys.stderr)
    return written.size is not None


def positive(text: str) -> float:
    """A number > 0 that clocks and kernels can count to, for the parser of a command line."""
    value = float(text)
    if not 0 < value <= MOST:
        raise argparse.ArgumentTypeError(f"{text} is no limit; give a number > 0, at most {MOST:g}")
    return value


def _is_out_of_memory(error: Exception) -> bool:
    from bounds.bound import is_out_of_memory

    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and is_out_of_memory(error))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
