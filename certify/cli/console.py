"""What the commands show: progress on stderr, results on stdout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from certify.reporting.digits import rounded_down
from certify.reporting.schema import Report
from certify.run import Progress as Listener
from certify.verdict import Verdict


@contextmanager
def progress() -> Iterator[Listener]:
    """Bars on stderr, one per stage; nothing where stderr is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def listen(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage)
            bars.update(tasks[stage], completed=done, total=total)

        yield listen


def show(report: Report, folder: Path) -> None:
    """The summary tables, and where the rest is."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(_table(report))
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
    for p in report.curve:
        counts = [str(p.counts[v]) for v in Verdict]
        robust = f"{p.verified_accuracy.at_least:.1f}-{p.attacked_accuracy.at_most:.1f}%"
        table.add_row(f"{p.eps:.6g}", *counts, robust, f"{100 * p.clean_accuracy.value:.1f}%")
    return table
