"""Where commands take reports from."""

from __future__ import annotations

from pathlib import Path

from certify.audit import require
from certify.reporting import Report, report_of


def report_at(path: Path) -> Report:
    """The report of a run folder, or the one in a file; either one's parts agree.

    Raises the errors of ``certify.audit.require`` where they do not.
    """
    report = report_of(path) if path.is_dir() else Report.read(path)
    require(report, str(path))
    return report
