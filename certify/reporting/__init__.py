"""Reports: ``report.json``, and everything that is made from it: pages, pictures, tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from certify.errors import CertifyError, NothingEvaluated
from certify.ledger import Json, Ledger
from certify.reporting.build import build
from certify.reporting.compliance import with_maps
from certify.reporting.findings import Findings
from certify.reporting.html import page
from certify.reporting.markdown import eval_results, model_card
from certify.reporting.pictures import NAMES, Picture, pictures
from certify.reporting.schema import Report, Volatile
from certify.result import Result

__all__ = [
    "Contents",
    "Report",
    "configured",
    "render",
    "report",
    "report_of",
    "write_all",
    "write_picture",
    "write_pictures",
]

REPORT = "report.json"
_GALLERY = 6


@dataclass(frozen=True)
class Contents:
    """What a report is to hold besides the evidence.

    gallery: how many counterexamples to show, 0 to keep all inputs out. maps: compliance maps to add. times:
    whether it tells times, which are all that two runs of one seed differ in.
    """

    gallery: int
    maps: Sequence[Path] = ()
    times: bool = True


def report(result: Result, path: str | Path, gallery: int = _GALLERY) -> None:
    """Write one evaluation as a self-contained HTML page, with ``gallery`` counterexamples at most.

    It tells what the result knows; a page with curves, data and settings comes from a run folder. Raises
    ``UsageError`` for a threat that has no budget, ``CertifyError`` where the file cannot be written.
    """
    _write(Path(path), page(with_maps(build(Findings.of_result(result), gallery))))


def report_of(folder: Path, contents: Contents | None = None) -> Report:
    """The report of a run folder, finished or not; raises ``NothingEvaluated`` if nothing is in it yet.

    contents: those that the run was started with, if not given.
    """
    with Ledger.read(folder) as ledger:
        findings = Findings.of(ledger)
    if not findings.verdicts:
        raise NothingEvaluated(f"{folder} holds no finished samples yet; run `certify run` again to go on")
    if contents is None:
        contents = _configured(findings.about)
    made = with_maps(build(findings, contents.gallery), contents.maps)
    return made if contents.times else made.model_copy(update={"volatile": Volatile()})


def configured(folder: Path, gallery: int | None = None, maps: Sequence[Path] | None = None) -> Contents:
    """The contents that a run was started with, but for what is given here."""
    with Ledger.read(folder) as ledger:
        own = _configured(ledger.description)
    gallery = own.gallery if gallery is None else gallery
    return Contents(gallery, own.maps if maps is None else maps, own.times)


def write_all(folder: Path, contents: Contents | None = None) -> Report:
    """Write all outputs of a run folder from its ledger, ``report.json`` first, and return the report.

    See ``report_of``.
    """
    made = report_of(folder, contents)
    _write(folder / REPORT, made.to_bytes())
    render(made, folder)
    return made


def render(made: Report, folder: Path) -> None:
    """Write everything that is made from a report into a folder: the same files for the same report.

    What an earlier report had, and this one has not, is removed.
    """
    drawn = write_pictures(made, folder)
    _write(folder / "report.html", page(made, drawn))
    _write(folder / "report.md", model_card(made))
    results = eval_results(made)
    if results is None:
        (folder / "eval_results.yaml").unlink(missing_ok=True)
    else:
        _write(folder / "eval_results.yaml", results)


def write_pictures(made: Report, folder: Path) -> list[tuple[Picture, str]]:
    """Write each picture as SVG, PNG and CSV into ``folder``; returns them with their SVG.

    Pictures that the report does not have are removed: inputs, for instance, that it is to keep out.
    """
    drawn = [(picture, write_picture(picture, folder)) for picture in pictures(made)]
    for name in set(NAMES) - {picture.name for picture, _ in drawn}:
        for kind in ("csv", "svg", "png"):
            (folder / f"{name}.{kind}").unlink(missing_ok=True)
    return drawn


def write_picture(picture: Picture, folder: Path) -> str:
    """Write a picture as SVG, PNG and CSV into ``folder``; returns the SVG."""
    svg = picture.svg()
    _write(folder / f"{picture.name}.csv", picture.csv)
    _write(folder / f"{picture.name}.svg", svg)
    _write(folder / f"{picture.name}.png", picture.png())
    return svg


def _configured(about: Json) -> Contents:
    section = about["report"]
    return Contents(section["gallery"], [Path(path) for path in section["maps"]], section.get("times", True))


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
