"""``certify report``: all outputs of a run folder, or of a ``report.json`` alone, written again."""

from __future__ import annotations

import argparse
from pathlib import Path

from certify.errors import Exit

HELP = "write report.json and all that is made from it again: HTML, Markdown, pictures, PDF if asked for"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "source",
        type=Path,
        metavar="RUN|REPORT.json",
        help="a run folder; or a report, from which everything else is made again beside it",
    )
    parser.add_argument("--pdf", action="store_true", help="write report.pdf, too (needs WeasyPrint)")
    parser.add_argument(
        "--gallery",
        type=int,
        metavar="N",
        help="counterexamples to show, 0 to keep all inputs out (run folders only; default: as configured)",
    )
    parser.add_argument(
        "--map",
        type=Path,
        action="append",
        metavar="MAP.toml",
        help="a compliance map of your own; may be given again (run folders only; default: as configured)",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Run the command: exit code 6 for a report that is INVALID."""
    from certify.cli.console import show
    from certify.cli.sources import report_at
    from certify.reporting import configured, render, write_all

    source: Path = arguments.source
    if source.suffix == ".json":
        folder, report = source.parent, report_at(source)
        render(report, folder)
    else:
        folder, report = source, write_all(source, configured(source, arguments.gallery, arguments.map))
    if arguments.pdf:
        from certify.reporting.pdf import pdf

        (folder / "report.pdf").write_bytes(pdf(report))
    show(report, folder)
    return Exit.PASS if report.status == "VALID" else Exit.SOUNDNESS_VIOLATION
