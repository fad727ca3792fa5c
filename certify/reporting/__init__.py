"""Reports: ``summary.json``, curves as CSV, SVG and PNG, and a self-contained HTML page."""

from __future__ import annotations

from pathlib import Path

from certify.curve import radius_csv
from certify.errors import CertifyError, UsageError
from certify.ledger import Ledger
from certify.reporting.findings import Findings, summary_text
from certify.reporting.html import page
from certify.reporting.plots import curve_figure, png, radius_figure, svg
from certify.result import Result

__all__ = ["Findings", "findings_in", "report", "write_all", "write_curves"]


def report(result: Result, path: str | Path) -> None:
    """Write one evaluation as a self-contained HTML page.

    It tells what the result knows; a page with curves, data and settings comes from a run folder. Raises
    ``UsageError`` for a threat that has no budget, ``CertifyError`` where the file cannot be written.
    """
    _write(Path(path), page(Findings.of_result(result)))


def findings_in(folder: Path) -> Findings:
    """The findings of a run folder, finished or not; raises ``UsageError`` if there are none yet."""
    with Ledger.read(folder) as ledger:
        findings = Findings.of(ledger)
    if not findings.verdicts:
        raise UsageError(f"{folder} holds no finished samples yet; run `certify run` again to go on")
    return findings


def write_all(folder: Path) -> Findings:
    """Write all outputs of a run folder from its ledger, and return what they tell."""
    findings = findings_in(folder)
    _write(folder / "summary.json", summary_text(findings))
    write_curves(findings, folder)
    _write(folder / "report.html", page(findings))
    return findings


def write_curves(findings: Findings, folder: Path) -> None:
    """Write ``curve.*`` and, where there are smoothed classifiers, ``radius.*``."""
    figure = curve_figure(findings.curve, findings.norm, findings.unit, findings.attacked_is)
    _write(folder / "curve.csv", findings.curve.csv())
    _write(folder / "curve.svg", svg(figure))
    _write(folder / "curve.png", png(figure))
    if findings.radii:
        figure = radius_figure(findings.radius_curves)
        _write(folder / "radius.csv", radius_csv(findings.radius_curves))
        _write(folder / "radius.svg", svg(figure))
        _write(folder / "radius.png", png(figure))


def _write(path: Path, content: str | bytes) -> None:
    """Replace a file at once, so that no reader sees half of it."""
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise CertifyError(
            f"{path} cannot be written: {error.strerror}; check disk space and rights"
        ) from error
