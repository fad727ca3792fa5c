"""``certify curve``: the pictures of a run folder, finished or not, drawn again."""

from __future__ import annotations

import argparse
from pathlib import Path

from certify.errors import Exit

HELP = "draw the curves and other pictures of a run folder again (CSV, SVG, PNG)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", type=Path, metavar="RUN", help="a run folder")


def execute(arguments: argparse.Namespace) -> int:
    """Run the command: exit code 6 for a report that is INVALID."""
    from certify.cli.console import show
    from certify.reporting import report_of, write_pictures

    report = report_of(arguments.folder)
    write_pictures(report, arguments.folder)
    show(report, arguments.folder)
    return Exit.PASS if report.status == "VALID" else Exit.SOUNDNESS_VIOLATION
