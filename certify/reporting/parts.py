"""Parts of ``report.json``: rates, samples, model and data, threats, methods, smoothed classifiers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from bounds.rounding import Level
from certify.verdict import Verdict

Count = Annotated[int, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
Budget = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Radius = Annotated[float, Field(ge=0)]
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

    eps: Budget
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

    eps: Budget
    label: Count
    counts: Counts


class Settled(Part):
    """A row of the gap table: how many samples a method settled, or why nobody did; sums to n at each eps."""

    eps: Budget
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

    adversarial: the model's class at the counterexample. by: the method that settled it. margin: a lower
    bound of the smallest margin that holds at ``level``. distances: of the counterexample from the sample,
    per norm, measured again. witness_sha256: of the counterexample's little-endian bytes. from_eps: the eps
    that the verdict was carried over from, where its findings are.
    """

    eps: Budget
    sample: Count
    label: int | None = None
    predicted: int | None = None
    adversarial: int | None = None
    verdict: Verdict
    by: str | None = None
    margin: float | None = None
    level: Level | None = None
    alpha: Probability = 0.0
    distances: dict[str, Budget] | None = None
    witness_sha256: Sha256 | None = None
    from_eps: Budget | None = None
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
    verified: Budget | None = None
    attacked: Budget | None = None


class Proofs(Part):
    """How many of the samples that are verified at one eps, or at a larger one, come with a checked proof.

    proved: a file in the run folder shows it, which the checker accepted; see ``certify check``.
    """

    eps: Budget
    verified: Count
    proved: Count


class AttackResult(Part):
    """One attack at one eps, over the samples that it was tried on."""

    eps: Budget
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
    input_shape: tuple[Count, ...] | None = None
    num_classes: Count | None = None
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
    eps: tuple[Budget, ...]
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
    kind: Literal["certifier", "attack", "certifier and attack", "smoothing"]
    parameters: Detail = {}
    completeness: Literal["complete", "incomplete"]
    determinism: Literal["deterministic", "non-deterministic"]
    access: Literal["glass box", "closed box"]
    arithmetic: Literal["real", "computer"]
    reference: str | None = None
    sentence: str

    @property
    def proves(self) -> bool:
        """Whether it may prove that the network is robust."""
        return self.kind in ("certifier", "certifier and attack")

    @property
    def attacks(self) -> bool:
        """Whether it searches for counterexamples."""
        return self.kind in ("attack", "certifier and attack")


class RadiusStep(Part):
    """Certified accuracy at a radius, of certificates one by one, and of all together."""

    radius: Radius
    certified_accuracy: Share
    jointly: Probability


class Guarantee(Part):
    """A statement about all samples or their population; see ``certify.smoothing.statements``."""

    method: str
    radius: Radius
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
    radius: Radius
    alpha: Probability
    detail: Detail = {}


class SmoothedModel(Part):
    """A smoothed classifier: another model than the network, with accuracies of its own.

    alpha: the chance that a certificate is wrong, for each sample separately. joint_failure: the chance that
    a joint statement is wrong.
    """

    sigma: Annotated[float, Field(gt=0, allow_inf_nan=False)]
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
