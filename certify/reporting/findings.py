"""The evidence of one run, as a ledger or a result in memory holds it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from certify.contradiction import Reproducer
from certify.diagnosis import Health
from certify.ledger import Json, Ledger
from certify.result import Result
from certify.rows import RadiusRow, VerdictRow, verdict_row
from certify.threat import named
from certify.verdict import Verdict
from certify.versions import Writer


@dataclass(frozen=True, eq=False)
class Findings:
    """The evidence of one run and what it is about.

    about: model, data, threat, deciders and settings as JSON values (see ``certify.job``). writers: of the
    evidence. seconds: computing time per stage. contradictions: of samples that were both proved and
    attacked; their verdicts are errors at every eps. health: of the attacks, by the eps that they were
    examined at. policy: that the run is judged by, and whether it was fixed before the run.
    """

    about: Json
    writers: Sequence[Writer]
    verdicts: Sequence[VerdictRow]
    radii: Sequence[RadiusRow] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    contradictions: Sequence[Reproducer] = ()
    health: Mapping[float, Health] = field(default_factory=dict)
    policy: tuple[Json, bool] | None = None

    @classmethod
    def of(cls, ledger: Ledger) -> Findings:
        """The findings of a run folder, finished or not."""
        contradictions = ledger.contradictions()
        return cls(
            {"identity": vars(ledger.identity), **ledger.description},
            ledger.writers,
            _without({each.sample for each in contradictions}, ledger.verdicts()),
            ledger.radii(),
            ledger.seconds(),
            contradictions,
            ledger.health(),
            ledger.policy(),
        )

    @classmethod
    def of_result(cls, result: Result) -> Findings:
        """The findings of one evaluation in memory."""
        name, eps = named(result.threat)
        evidence = [e for each in result.samples for e in each.evidence]
        proving = {e.decider for e in evidence if e.margin is not None}
        attacking = {e.decider for e in evidence if e.witness is not None}
        about = {
            "identity": {"model": result.digest},
            "model": {"name": result.model},
            "data": {"name": "an evaluation in memory", "n": len(result)},
            "threat": {"norm": name, "eps": [eps]},
            "deciders": list(result.deciders),
            "attacks": [d for d in result.deciders if d in attacking or d not in proving],
            "certifiers": [d for d in result.deciders if d in proving],
            "smoothing": {"certifiers": [], "samples": 0},
            "run": None,
        }
        return cls(
            about,
            [Writer.here()],
            [verdict_row(eps, each) for each in result.samples],
            contradictions=result.contradictions,
            health={} if result.health is None else {eps: result.health},
        )


def _unattacked(row: VerdictRow) -> Json:
    """The detail of a row without what it tells of its counterexample."""
    return {k: v for k, v in (row.detail or {}).items() if k not in ("distances", "adversarial")}


def _without(samples: Collection[int], rows: Sequence[VerdictRow]) -> list[VerdictRow]:
    """The rows, where neither proof nor attack counts for some samples."""
    settled = (Verdict.VERIFIED, Verdict.FALSIFIED, Verdict.UNKNOWN)
    return [
        VerdictRow(row.eps, row.sample, Verdict.ERROR, detail=_unattacked(row))
        if row.sample in samples and row.verdict in settled
        else row
        for row in rows
    ]
