"""The summary that commands show on stdout."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from certify.reporting.digits import rounded_down, thinned
from certify.reporting.schema import Report
from certify.reporting.words import UNFINISHED
from certify.verdict import Verdict


def show(report: Report, folder: Path) -> None:
    """The summary tables, and where the rest is."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(_table(report))
    if not report.complete:
        console.print(UNFINISHED, markup=False)
    for health in report.health:
        console.print(health.summary, markup=False)
    for each in report.contradictions:
        console.print(each.sentence, markup=False)
    for model in report.smoothing:
        certified = model.steps[0].certified_accuracy
        console.print(
            f"smoothed classifier, sigma = {model.sigma:g}: {certified.at_least:.1f}% of {certified.n} "
            f"samples certified, largest {model.norm} radius {rounded_down(model.steps[-1].radius)}, "
            f"{model.abstained} abstained"
        )
    console.print(f"report: {folder / 'report.html'}")


def _table(report: Report) -> Table:
    title = f"{report.model.name}, {report.threat.perturbation.name} threat, {report.data.n} samples\n"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("eps", *(v.value for v in Verdict), "robust", "clean"):
        table.add_column(heading, justify="right", no_wrap=True)
    for p in thinned(report.curve):
        counts = [str(p.counts[v]) for v in Verdict]
        robust = f"{p.verified_accuracy.at_least:.1f}-{p.attacked_accuracy.at_most:.1f}%"
        table.add_row(f"{p.eps:.6g}", *counts, robust, f"{100 * p.clean_accuracy.value:.1f}%")
    return table
