"""``report.json``: the one record of a run, from which everything else is made.

Names are the field's and are never mixed: *clean*, *attacked* and *verified* accuracy speak of the network,
*certified* accuracy of a smoothed classifier, which is another model. ``volatile`` is what differs between
two runs that found the same: times. It is no part of the digest.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from certify.contradiction import Cause
from certify.diagnosis import Outcome
from certify.errors import ArtefactRejected
from certify.reporting.canonical import canonical, parsed
from certify.reporting.parts import (
    AttackResult,
    Bracket,
    Budget,
    ClassPoint,
    ClassSize,
    Count,
    Counts,
    DataSheet,
    Detail,
    Finding,
    Guarantee,
    Identity,
    Method,
    ModelCard,
    Part,
    Perturbation,
    Point,
    Preprocessing,
    Probability,
    Proofs,
    RadiusStep,
    SampleRadius,
    SampleVerdict,
    Settled,
    Sha256,
    Share,
    SmoothedModel,
    ThreatModel,
)
from certify.threat import THREATS
from certify.verdict import Verdict

__all__ = [
    "SCHEMA",
    "AttackResult",
    "Bracket",
    "ClassPoint",
    "ClassSize",
    "Clause",
    "ComplianceMap",
    "Contradicted",
    "Count",
    "Counts",
    "DataSheet",
    "Detail",
    "Example",
    "Finding",
    "Guarantee",
    "HealthCheck",
    "HealthRecord",
    "Identity",
    "Interval",
    "Method",
    "ModelCard",
    "Part",
    "Perturbation",
    "Point",
    "Policy",
    "Preprocessing",
    "Probability",
    "Proofs",
    "RadiusStep",
    "Report",
    "SampleRadius",
    "SampleTime",
    "SampleVerdict",
    "Settings",
    "Settled",
    "Sha256",
    "Share",
    "SmoothedModel",
    "ThreatModel",
    "Volatile",
    "Word",
    "Writer",
    "json_schema",
    "rules_digest",
]

SCHEMA: Literal["certify-report/1"] = "certify-report/1"


class HealthCheck(Part):
    """One check of the attacks; see ``certify.diagnosis.Finding``."""

    name: str
    method: str
    outcome: Outcome
    measured: float | None
    warn: float
    fail: float | None
    sentence: str


class HealthRecord(Part):
    """How far the attacks are to be believed, examined at one eps."""

    eps: Budget
    threat: str
    attacks: tuple[str, ...]
    samples: Count
    reliable: bool
    summary: str
    checks: tuple[HealthCheck, ...]


class Contradicted(Part):
    """A sample that was both proved robust and attacked. file: in the run folder, for ``certify replay``."""

    sample: Count
    cause: Cause
    reason: str
    sentence: str
    file: str
    proof: Detail
    attack: Detail


class Settings(Part):
    """How it was computed."""

    seed: Count
    batch_size: Count
    device: str


class Writer(Part):
    """Software and machine that wrote evidence."""

    versions: dict[str, str]
    hardware: dict[str, str] = Field(default_factory=dict)


class Interval(Part):
    """What the intervals of all rates are."""

    method: str
    confidence: Probability
    sentence: str


class Policy(Part):
    """The rules that the report is judged by, and whether they were fixed before the run."""

    sha256: Sha256
    fixed_before_run: bool
    rules: Detail

    @classmethod
    def of(cls, rules: Detail, fixed_before_run: bool) -> Self:
        """The record of a policy's rules, with their digest."""
        return cls(sha256=rules_digest(rules), fixed_before_run=fixed_before_run, rules=rules)


class Example(Part):
    """A counterexample beside its sample: base64 of little-endian numbers, in the model's input shape."""

    eps: Budget
    sample: Count
    label: int
    adversarial: int | None = None
    by: str
    shape: tuple[Count, ...]
    dtype: Annotated[str, Field(pattern="^float(16|32|64)$")] = "float32"
    clean: str
    witness: str
    distances: dict[str, Budget]


class Clause(Part):
    """A clause of a compliance map. evidence: the kinds that this report has; shown: whether it has any."""

    clause: str
    topic: str
    evidence: tuple[str, ...]
    shown: bool
    note: str = ""


class ComplianceMap(Part):
    """Which evidence of this report speaks to which clause of a document; no claim of compliance."""

    key: str
    title: str
    version: str
    as_of: str
    status: str
    source: str
    clauses: tuple[Clause, ...]


class SampleTime(Part):
    """Seconds that the methods spent on a sample, in the order of its findings."""

    eps: Budget
    sample: Count
    seconds: tuple[Budget, ...]


class Volatile(Part):
    """What differs between two runs that found the same; no part of the digest."""

    seconds: dict[str, float] = Field(default_factory=dict)
    samples: tuple[SampleTime, ...] = ()


class Word(Part):
    """A word of the tables and the sentence that it stands for."""

    word: str
    sentence: str


class Report(Part):
    """All evidence of one run. Raises ``pydantic.ValidationError`` for parts that do not agree."""

    format: Literal["certify-report/1"] = SCHEMA
    status: Literal["VALID", "INVALID"]
    complete: bool
    identity: Identity
    model: ModelCard
    data: DataSheet
    threat: ThreatModel
    methods: tuple[Method, ...]
    interval: Interval
    curve: tuple[Point, ...]
    per_class: tuple[ClassPoint, ...] = ()
    gap: tuple[Settled, ...] = ()
    brackets: tuple[Bracket, ...] = ()
    proofs: tuple[Proofs, ...] = ()
    attacks: tuple[AttackResult, ...] = ()
    attacked_accuracy_is: str
    samples: tuple[SampleVerdict, ...]
    smoothing: tuple[SmoothedModel, ...] = ()
    health: tuple[HealthRecord, ...] = ()
    contradictions: tuple[Contradicted, ...] = ()
    settings: Settings | None = None
    writers: tuple[Writer, ...] = ()
    policy: Policy | None = None
    claimed: tuple[Word, ...]
    not_claimed: Annotated[tuple[str, ...], Field(min_length=1)]
    gallery: tuple[Example, ...] = ()
    compliance: tuple[ComplianceMap, ...] = ()
    not_measured: tuple[str, ...] = ()
    volatile: Volatile = Volatile()

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if (self.status == "INVALID") != bool(self.contradictions):
            raise ValueError("a report is INVALID where there are contradictions, and nowhere else")
        if self.identity.model != self.model.sha256:
            raise ValueError("the model card is that of another model than the evidence")
        if self.threat.perturbation.name not in THREATS:
            raise ValueError(f"the threat {self.threat.perturbation.name!r} is none of {', '.join(THREATS)}")
        for p in self.curve:
            rows = [row.verdict for row in self.samples if row.eps == p.eps]
            if any(rows.count(verdict) != p.counts[verdict] for verdict in Verdict):
                raise ValueError(f"the counts at eps = {p.eps} are not those of its samples")
        return self

    def to_bytes(self) -> bytes:
        """The bytes of ``report.json``: canonical, so that they can be hashed and signed."""
        return canonical(self.model_dump(mode="json"))

    def digest(self) -> str:
        """SHA-256, in hex, of the canonical bytes of everything but ``volatile``."""
        return hashlib.sha256(canonical(self.model_dump(mode="json", exclude={"volatile"}))).hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes, title: str = "the report") -> Self:
        """Read and check ``report.json``; raises ``ArtefactRejected`` with the first thing that is wrong."""
        try:
            value = parsed(data)
        except ArtefactRejected as error:
            raise ArtefactRejected(f"{title}: {error}") from error
        _check_format(value, title)
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise ArtefactRejected(f"{title} is refused: {place}: {first['msg']}") from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read ``report.json``; raises ``ArtefactRejected``."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ArtefactRejected(f"{path} cannot be read: {error.strerror}") from error
        return cls.from_bytes(data, str(path))


def rules_digest(rules: Detail) -> str:
    """SHA-256, in hex, of the canonical bytes of a policy's rules."""
    return hashlib.sha256(canonical(rules)).hexdigest()


def json_schema() -> dict[str, Any]:
    """The JSON Schema of ``report.json``, for readers in other languages."""
    return Report.model_json_schema(mode="serialization")


def _check_format(value: Any, title: str) -> None:
    found = value.get("format") if isinstance(value, dict) else None
    if found != SCHEMA:
        raise ArtefactRejected(f"{title} has format {found!r}; this version reads {SCHEMA!r}")
