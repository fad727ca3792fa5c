"""The report as PDF, from the same page; WeasyPrint is an extra."""

from __future__ import annotations

import importlib

from certify.errors import UsageError
from certify.reporting.html import page
from certify.reporting.schema import Report


def pdf(report: Report) -> bytes:
    """The page as PDF; raises ``UsageError`` where WeasyPrint or one of its libraries is not installed."""
    try:
        weasyprint = importlib.import_module("weasyprint")
    except (ImportError, OSError) as error:  # OSError: Pango is missing
        raise UsageError(
            "PDF needs WeasyPrint and Pango; install them with pip install 'certify-bounds[pdf]', or print "
            "report.html from a browser"
        ) from error
    data: bytes = weasyprint.HTML(string=page(report)).write_pdf()
    return data
