"""``certify report``: all outputs of a run folder, finished or not, written again."""

from __future__ import annotations

import argparse
from pathlib import Path

from certify.errors import Exit

HELP = "write summary.json, curves and report.html of a run folder again"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", type=Path, metavar="RUN", help="a run folder")


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from certify.cli.console import show
    from certify.reporting import write_all

    show(write_all(arguments.folder), arguments.folder)
    return Exit.PASS
