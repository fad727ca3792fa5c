"""``report.json``: the one record of a run, from which everything else is made.

Names are the field's and are never mixed: *clean*, *attacked* and *verified* accuracy speak of the network,
*certified* accuracy of a smoothed classifier, which is another model. ``volatile`` is what differs between
two runs that found the same: times. It is no part of the digest.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from bounds.rounding import Level
from certify.contradiction import Cause
from certify.diagnosis import Outcome
from certify.errors import ArtefactRejected
from certify.reporting.canonical import canonical, parsed
from certify.verdict import Verdict

SCHEMA: Literal["certify-report/1"] = "certify-report/1"

Count = Annotated[int, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Detail = dict[str, JsonValue]


class Part(BaseModel):
    """Base of all parts: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Share(Part):
    """``count`` of ``n`` samples, with an interval (see ``Report.interval``) for that of the population."""

    count: Count
    n: Annotated[int, Field(ge=1)]
    value: Probability
    low: Probability
    high: Probability

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if (
            self.count > self.n
            or self.value != self.count / self.n
            or not self.low <= self.value <= self.high
        ):
            raise ValueError(f"{self.count} of {self.n} is not {self.value} in [{self.low}, {self.high}]")
        return self

    @property
    def at_least(self) -> float:
        """In percent, rounded down to one decimal: what may be said of a lower bound."""
        return (1000 * self.count // self.n) / 10

    @property
    def at_most(self) -> float:
        """In percent, rounded up to one decimal: what may be said of an upper bound."""
        return -(-1000 * self.count // self.n) / 10


class Counts(Part):
    """How many samples have each of the five verdicts."""

    misclassified: Count = 0
    falsified: Count = 0
    verified: Count = 0
    unknown: Count = 0
    error: Count = 0

    @property
    def n(self) -> int:
        """All samples."""
        return sum(self[verdict] for verdict in Verdict)

    def __getitem__(self, verdict: Verdict) -> int:
        count: int = getattr(self, verdict.value)
        return count


class Point(Part):
    """The network under one threat: five counts that sum to n, and the accuracies that follow from them."""

    eps: float
    n: Annotated[int, Field(ge=1)]
    counts: Counts
    clean_accuracy: Share
    attacked_accuracy: Share
    verified_accuracy: Share
    undecided: Share

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        c = self.counts
        right = c.falsified + c.verified + c.unknown + c.error
        expected = (right, right - c.falsified, c.verified, c.unknown + c.error)
        shares = (self.clean_accuracy, self.attacked_accuracy, self.verified_accuracy, self.undecided)
        if c.n != self.n or any(s.n != self.n for s in shares) or tuple(s.count for s in shares) != expected:
            raise ValueError(f"the counts at eps = {self.eps} do not sum to n, or are not those of its rates")
        return self


class ClassPoint(Part):
    """The counts of the samples of one class at one eps."""

    eps: float
    label: Count
    counts: Counts


class Settled(Part):
    """A row of the gap table: how many samples a method settled, or why nobody did; sums to n at each eps."""

    eps: float
    verdict: Verdict
    method: str | None
    reason: str | None = None
    count: Annotated[int, Field(ge=1)]


class Finding(Part):
    """What one method brought back for a sample. forwards, backwards: queries of the network, if counted."""

    method: str
    margin: float | None = None
    level: Level | None = None
    alpha: Probability = 0.0
    forwards: Count | None = None
    backwards: Count | None = None
    detail: Detail = {}


class SampleVerdict(Part):
    """One sample at one eps.

    by: the method that settled it. margin: a lower bound of the smallest margin that holds at ``level``.
    distances: of the counterexample from the sample, per norm, measured again. witness_sha256: of the
    counterexample's little-endian bytes. from_eps: the eps that the verdict was carried over from, where its
    findings are.
    """

    eps: float
    sample: Count
    label: int | None = None
    predicted: int | None = None
    verdict: Verdict
    by: str | None = None
    margin: float | None = None
    level: Level | None = None
    alpha: Probability = 0.0
    distances: dict[str, float] | None = None
    witness_sha256: Sha256 | None = None
    from_eps: float | None = None
    findings: tuple[Finding, ...] = ()

    @model_validator(mode="after")
    def _has_evidence(self) -> Self:
        if self.verdict is Verdict.FALSIFIED and self.witness_sha256 is None:
            raise ValueError(f"sample {self.sample} is falsified without a counterexample")
        if self.verdict is Verdict.VERIFIED and not (self.margin is not None and self.margin > 0):
            raise ValueError(f"sample {self.sample} is verified without a margin > 0")
        return self


class Bracket(Part):
    """What is known of a sample's distance to the nearest failure: verified <= distance <= attacked.

    verified: the largest eps it is verified at. attacked: the distance of the nearest counterexample in the
    threat's norm, or where that has none, the smallest eps it is falsified at; 0 where it is misclassified.
    """

    sample: Count
    verified: float | None = None
    attacked: float | None = None


class AttackResult(Part):
    """One attack at one eps, over the samples that it was tried on."""

    eps: float
    attack: str
    tried: Count
    succeeded: Count
    forwards: Count | None = None
    backwards: Count | None = None


class Identity(Part):
    """SHA-256 digests of what the evidence belongs to; None where an evaluation in memory does not know."""

    model: Sha256
    data: Sha256 | None = None
    config: Sha256 | None = None


class Preprocessing(Part):
    """The steps between the inputs that eps is measured in and the network: part of the model."""

    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    input_range: tuple[float, float] | None
    sha256: Sha256


class ModelCard(Part):
    """The model: its digest is over graph, exact weights and preprocessing, which have their own, too."""

    name: str
    sha256: Sha256
    weights_sha256: Sha256 | None = None
    graph_sha256: Sha256 | None = None
    preprocessing: Preprocessing | None = None
    input_shape: tuple[int, ...] | None = None
    num_classes: int | None = None
    parameters: Count | None = None


class ClassSize(Part):
    """How many samples a class has."""

    label: Count
    n: Count


class DataSheet(Part):
    """The samples. selection: the rule that chose them. hub: the data set's name on the Hugging Face Hub."""

    name: str
    n: Annotated[int, Field(ge=1)]
    source: str | None = None
    hub: str | None = None
    split: str | None = None
    selection: str | None = None
    per_class: tuple[ClassSize, ...] = ()
    sha256: Sha256 | None = None


class Perturbation(Part):
    """The set of inputs that the adversary may reach. unit: what eps counts. norm: its p, if it is a norm."""

    name: str
    norm: float | None
    unit: str
    eps: tuple[float, ...]
    input_range: tuple[float, float] | None = None
    sentence: str


class ThreatModel(Part):
    """The adversary in the terms of NIST AI 100-2 E2025."""

    attack: str = "evasion"
    stage: str = "deployment"
    objective: str = "integrity violation"
    goal: str = "untargeted misclassification of single samples"
    capability: str = "testing data control within the perturbation set"
    knowledge: str
    perturbation: Perturbation


class Method(Part):
    """A method card with the four axes of ISO/IEC 24029-2.

    name: with all parameters, as it shows itself wherever it is named. sentence: what its answers mean.
    """

    name: str
    kind: Literal["certifier", "attack", "smoothing"]
    parameters: Detail = {}
    completeness: Literal["complete", "incomplete"]
    determinism: Literal["deterministic", "non-deterministic"]
    access: Literal["glass box", "closed box"]
    arithmetic: Literal["real", "computer"]
    reference: str | None = None
    sentence: str


class RadiusStep(Part):
    """Certified accuracy at a radius, of certificates one by one, and of all together."""

    radius: float
    certified_accuracy: Share
    jointly: Probability


class Guarantee(Part):
    """A statement about all samples or their population; see ``certify.smoothing.statements``."""

    method: str
    radius: float
    certified: Count
    samples: Count
    accuracy: Probability
    failure: Probability
    covers: str
    whole_curve: bool
    sentence: str


class SampleRadius(Part):
    """One sample of a smoothed classifier; label -1: it abstains."""

    sample: Count
    truth: int
    label: int
    radius: float
    alpha: Probability
    detail: Detail = {}


class SmoothedModel(Part):
    """A smoothed classifier: another model than the network, with accuracies of its own.

    alpha: the chance that a certificate is wrong, for each sample separately. joint_failure: the chance that
    a joint statement is wrong.
    """

    sigma: float
    law: str
    norm: str
    reference: str
    domain: str
    mode: str
    execution: str
    alpha: Probability
    n: Annotated[int, Field(ge=1)]
    abstained: Count
    wrong: Count
    joint_failure: Probability
    steps: Annotated[tuple[RadiusStep, ...], Field(min_length=1)]
    guarantees: tuple[Guarantee, ...]
    samples: tuple[SampleRadius, ...]

    def at(self, radius: float) -> Share:
        """Certified accuracy at a radius >= 0."""
        return next(s.certified_accuracy for s in reversed(self.steps) if s.radius <= radius)


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

    eps: float
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
    hardware: dict[str, str] = {}


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
    """A counterexample beside its sample: base64 of little-endian float32, in the model's input shape."""

    eps: float
    sample: Count
    label: int
    by: str
    shape: tuple[int, ...]
    clean: str
    witness: str
    distances: dict[str, float]


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

    eps: float
    sample: Count
    seconds: tuple[float, ...]


class Volatile(Part):
    """What differs between two runs that found the same; no part of the digest."""

    seconds: dict[str, float] = {}
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
