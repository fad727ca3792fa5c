"""``certify curve``: the curves of a run folder, finished or not, drawn again."""

from __future__ import annotations

import argparse
from pathlib import Path

from certify.errors import Exit

HELP = "draw the certified-versus-empirical curve of a run folder again (CSV, SVG, PNG)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", type=Path, metavar="RUN", help="a run folder")


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from certify.cli.console import show
    from certify.reporting import findings_in, write_curves

    findings = findings_in(arguments.folder)
    write_curves(findings, arguments.folder)
    show(findings, arguments.folder)
    return Exit.PASS
