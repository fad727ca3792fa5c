"""``certify scatter``: clean against verified accuracy of several reports."""

from __future__ import annotations

import argparse
from pathlib import Path

from certify.errors import Exit

HELP = "draw clean against verified accuracy of several reports at one eps (CSV, SVG, PNG)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("reports", type=Path, nargs="+", metavar="REPORT.json", help="reports to compare")
    parser.add_argument("--eps", type=float, required=True, help="the budget to compare at")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder for scatter.csv, .svg and .png (default: the working directory)",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Run the command; a report is shown under its model's name, or its folder's where names repeat."""
    from certify.cli.sources import report_at
    from certify.reporting import write_picture
    from certify.reporting.pictures import scatter

    reports = [(path, report_at(path)) for path in arguments.reports]
    names = [report.model.name for _, report in reports]
    titles = [
        name if names.count(name) == 1 else path.parent.name
        for name, (path, _) in zip(names, reports, strict=True)
    ]
    picture = scatter(
        [(title, report) for title, (_, report) in zip(titles, reports, strict=True)], arguments.eps
    )
    write_picture(picture, arguments.out)
    print(f"scatter: {arguments.out / 'scatter.svg'}")
    return Exit.PASS
