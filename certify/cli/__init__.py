"""The command line. One file per command; each loads what it needs when it runs."""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple

from certify.cli import (
    check,
    curve,
    demo,
    diff,
    export,
    gate,
    keygen,
    replay,
    report,
    run,
    scatter,
    verify,
    verify_all,
)
from certify.errors import CertifyError, Exit

_EPILOG = """exit codes:
  0  done (verify-all: all have a result); verify: unsat, the property holds; gate: passed; check: nothing
     failed
  1  verify: sat, the property is violated; gate: failed; check: a number or a proof failed
  2  bad input or usage
  3  internal error
  4  verify: unknown, timeout, or no proof where --proof wants one; gate: inconclusive
  5  nothing was evaluated
  6  contradiction: one sample was both proved robust and attacked (see `certify replay`)
  7  a model, data, property, report or key file was refused; verify-all: some were
  8  a signature or hash failed, or the run folder belongs to another model, data or configuration
  130  interrupted; finished samples are kept
"""


class _Command(NamedTuple):
    help: str
    configure: Callable[[argparse.ArgumentParser], None]
    execute: Callable[[argparse.Namespace], int]


_COMMANDS = {
    "demo": _Command(demo.HELP, demo.configure, demo.execute),
    "run": _Command(run.HELP, run.configure, run.execute),
    "verify": _Command(verify.HELP, verify.configure, verify.execute),
    "verify-all": _Command(verify_all.HELP, verify_all.configure, verify_all.execute),
    "curve": _Command(curve.HELP, curve.configure, curve.execute),
    "replay": _Command(replay.HELP, replay.configure, replay.execute),
    "report": _Command(report.HELP, report.configure, report.execute),
    "gate": _Command(gate.HELP, gate.configure, gate.execute),
    "check": _Command(check.HELP, check.configure, check.execute),
    "diff": _Command(diff.HELP, diff.configure, diff.execute),
    "export": _Command(export.HELP, export.configure, export.execute),
    "keygen": _Command(keygen.HELP, keygen.configure, keygen.execute),
    "scatter": _Command(scatter.HELP, scatter.configure, scatter.execute),
}


class _Version(argparse.Action):
    """Prints the installed version; looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        try:
            version = importlib.metadata.version("certify-bounds")
        except importlib.metadata.PackageNotFoundError:
            version = "(not installed)"
        parser.exit(message=f"certify {version}\n")


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(
        prog="certify",
        description="Certify and attack neural networks: what is provable, what is attackable, and the "
        "evidence for both.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in _COMMANDS.items():
        command.configure(commands.add_parser(name, help=command.help, description=command.help))
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (see ``certify.errors.Exit``).

    Errors that a user can cause are one line on stderr.
    """
    arguments = parser().parse_args(argv)
    try:
        return _COMMANDS[arguments.command].execute(arguments)
    except KeyboardInterrupt:
        return _fail("interrupted; finished samples are kept, run the same command again to resume", 130)
    except CertifyError as error:
        return _fail(str(error), error.exit_code)
    except MemoryError:
        return _fail("out of memory; give a smaller batch_size or a machine with more memory", Exit.INTERNAL)
    except Exception as error:
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    """Errors of the engine, which is loaded by now if it raised them; all others are faults of ours."""
    from bounds.errors import BoundsError, InvalidInput

    if isinstance(error, BoundsError):
        return _fail(str(error), Exit.USAGE if isinstance(error, InvalidInput) else Exit.ARTEFACT_REJECTED)
    traceback.print_exception(error)
    return _fail("this is a fault in certify; please report it with the lines above", Exit.INTERNAL)


def _fail(message: str, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return int(code)
