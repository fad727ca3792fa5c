"""Compliance maps: which evidence of a report speaks to which clause of a standard or a law.

A map is a data file with its own version and date. It says where evidence is, never that a clause is met.
"""

from __future__ import annotations

import importlib.resources
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from certify.errors import UsageError
from certify.reporting.schema import Clause, ComplianceMap, Part, Report


class Item(NamedTuple):
    """A kind of evidence. section: of the page that has it. holds: whether a report has it."""

    title: str
    section: str
    holds: Callable[[Report], bool]


EVIDENCE: dict[str, Item] = {
    "clean-accuracy": Item("clean accuracy with intervals", "accuracy", lambda r: bool(r.curve)),
    "attacked-accuracy": Item(
        "accuracy under attack with intervals", "accuracy", lambda r: any(m.attacks for m in r.methods)
    ),
    "verified-accuracy": Item(
        "verified accuracy with intervals", "accuracy", lambda r: any(m.proves for m in r.methods)
    ),
    "certified-accuracy": Item(
        "certified accuracy of the smoothed classifier", "smoothing", lambda r: bool(r.smoothing)
    ),
    "gap": Item("the gap between proof and attack, by method", "gap", lambda r: bool(r.gap)),
    "per-class": Item("verdicts per class", "classes", lambda r: bool(r.per_class)),
    "per-sample": Item("evidence per sample", "samples", lambda r: bool(r.samples)),
    "counterexamples": Item(
        "replayed counterexamples", "samples", lambda r: any(s.witness_sha256 for s in r.samples)
    ),
    "attack-health": Item("health checks of the attacks", "health", lambda r: bool(r.health)),
    "threat-model": Item("threat model and perturbation set", "threat", lambda r: True),
    "methods": Item("method cards with the four axes", "methods", lambda r: bool(r.methods)),
    "model": Item("model identity by hashes", "facts", lambda r: True),
    "data": Item("data sheet", "facts", lambda r: r.data.sha256 is not None),
    "reproducibility": Item(
        "seed, software versions and hardware", "facts", lambda r: r.settings is not None and bool(r.writers)
    ),
    "intervals": Item("confidence intervals of all rates", "accuracy", lambda r: bool(r.curve)),
    "limits": Item("the list of what is not claimed", "limits", lambda r: True),
    "costs": Item("queries per attack", "attacks", lambda r: bool(r.attacks)),
    "policy": Item("acceptance rules fixed before the run", "policy", lambda r: (
        r.policy is not None and r.policy.fixed_before_run
    )),
    "none": Item("nothing in this report", "unmeasured", lambda r: False),
}  # fmt: skip


class _Row(Part):
    """A ``[[clause]]`` of a map file."""

    clause: str
    topic: str
    evidence: tuple[str, ...]
    note: str = ""


class _File(Part):
    """A map file."""

    key: str
    title: str
    version: str
    as_of: str
    status: str
    source: str
    clause: tuple[_Row, ...]


def with_maps(report: Report, added: Sequence[Path] = ()) -> Report:
    """The report with all maps that come along and those of further files.

    Raises ``UsageError`` for a file that cannot be read or names evidence that there is none of.
    """
    folder = importlib.resources.files("certify.reporting") / "maps"
    own = sorted((each for each in folder.iterdir() if each.name.endswith(".toml")), key=lambda e: e.name)
    files = [_read(each.read_text(encoding="utf-8"), each.name) for each in own]
    files += [_read(_text(path), str(path)) for path in added]
    maps = tuple(_applied(each, report) for each in files)
    missing = tuple(
        f"{each.title}, {c.clause}: {c.topic}" for each in maps for c in each.clauses if not c.shown
    )
    return report.model_copy(update={"compliance": maps, "not_measured": missing})


def _applied(file: _File, report: Report) -> ComplianceMap:
    clauses = [
        Clause(
            clause=row.clause,
            topic=row.topic,
            evidence=tuple(key for key in row.evidence if EVIDENCE[key].holds(report)),
            shown=any(EVIDENCE[key].holds(report) for key in row.evidence),
            note=row.note,
        )
        for row in file.clause
    ]
    return ComplianceMap(
        key=file.key,
        title=file.title,
        version=file.version,
        as_of=file.as_of,
        status=file.status,
        source=file.source,
        clauses=tuple(clauses),
    )


def _read(text: str, title: str) -> _File:
    try:
        found = _File.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        first = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else None
        reason = str(error) if first is None else f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise UsageError(f"{title} is no compliance map: {reason}") from error
    for row in found.clause:
        for key in row.evidence:
            if key not in EVIDENCE:
                raise UsageError(f"{title}: unknown evidence {key!r}; known are {', '.join(EVIDENCE)}")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as a compliance map: {error}") from error
