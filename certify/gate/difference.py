"""What changed between two reports, sample by sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from certify.errors import UsageError
from certify.reporting.schema import Report
from certify.verdict import Verdict

FORMAT = "certify-diff/1"


@dataclass(frozen=True)
class Change:
    """One sample whose verdict at one eps is another one; None where a report does not have it."""

    eps: float
    sample: int
    before: Verdict | None
    after: Verdict | None


@dataclass(frozen=True)
class RadiusChange:
    """One sample of a smoothed classifier whose label or radius is another; -1: it abstains."""

    sigma: float
    sample: int
    before: tuple[int, float]
    after: tuple[int, float]


@dataclass(frozen=True)
class Difference:
    """changes: of verdicts, by eps, then sample. radii: of smoothed classifiers that both reports have.

    notes: what the two do not share, so that a reader does not blame the model for it.
    """

    before: str
    after: str
    notes: tuple[str, ...]
    changes: tuple[Change, ...]
    radii: tuple[RadiusChange, ...]

    def transitions(self) -> Counter[tuple[float, Verdict, Verdict]]:
        """How many samples went from which verdict to which, by eps."""
        return Counter(
            (each.eps, each.before, each.after)
            for each in self.changes
            if each.before is not None and each.after is not None
        )

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "format": FORMAT,
            "before": self.before,
            "after": self.after,
            "notes": list(self.notes),
            "changes": [
                {
                    "eps": each.eps,
                    "sample": each.sample,
                    "before": None if each.before is None else each.before.value,
                    "after": None if each.after is None else each.after.value,
                }
                for each in self.changes
            ],
            "radii": [
                {
                    "sigma": each.sigma,
                    "sample": each.sample,
                    "before": {"label": each.before[0], "radius": each.before[1]},
                    "after": {"label": each.after[0], "radius": each.after[1]},
                }
                for each in self.radii
            ],
        }


def difference(before: Report, after: Report) -> Difference:
    """Compare two reports; raises ``UsageError`` for other data or another kind of threat."""
    ours, theirs = before.identity.data, after.identity.data
    if ours is None or ours != theirs:
        raise UsageError(
            f"the reports are of other samples: {(ours or 'unknown')[:12]} and {(theirs or 'unknown')[:12]}; "
            "compare runs on the same data"
        )
    kinds = before.threat.perturbation.name, after.threat.perturbation.name
    if kinds[0] != kinds[1]:
        raise UsageError(f"the reports are of {kinds[0]} and {kinds[1]} threats; compare runs of one kind")
    return Difference(
        _name(before),
        _name(after),
        tuple(_notes(before, after)),
        tuple(_changes(before, after)),
        tuple(_radii(before, after)),
    )


def _name(report: Report) -> str:
    return f"{report.model.name} ({report.model.sha256[:12]})"


def _notes(before: Report, after: Report) -> Iterator[str]:
    if before.identity.model == after.identity.model:
        yield "both are of the same model"
    if before.identity.config != after.identity.config:
        yield "they were made by different configurations"
    for name, report in (("first", before), ("second", after)):
        if report.status == "INVALID":
            yield f"the {name} is INVALID: it has contradictions"
        if not report.complete:
            yield f"the {name} is not complete"


def _changes(before: Report, after: Report) -> Iterator[Change]:
    then, now = ({(row.eps, row.sample): row.verdict for row in each.samples} for each in (before, after))
    shared = {eps for eps, _ in then} & {eps for eps, _ in now}
    for eps, sample in sorted(then.keys() | now.keys()):
        old, new = then.get((eps, sample)), now.get((eps, sample))
        if eps in shared and old is not new:
            yield Change(eps, sample, old, new)


def _radii(before: Report, after: Report) -> Iterator[RadiusChange]:
    then, now = (
        {(m.sigma, m.law, s.sample): (s.label, s.radius) for m in each.smoothing for s in m.samples}
        for each in (before, after)
    )
    for key in sorted(then.keys() & now.keys()):
        if then[key] != now[key]:
            yield RadiusChange(key[0], key[2], then[key], now[key])
